// Command superctl is superd's command line: it asks superd through the control
// socket, shows what it says, and waits for what was begun.
//
// It holds no rules: what may be done and how is superd's to decide. Start
// reading at root.go; each command has a file of its own, wait.go follows what
// was begun, choose.go turns what the user names into pools and workers.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is set with -ldflags "-X main.version=...".
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := newApp(os.Stdout, os.Stderr, os.Getenv)
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// ownVersion is the version built in, else what the Go tool knows of the build.
func ownVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// variants are builds of superd that differ in a few bytes. They are made when a
// script first asks for one.
var variants = map[string]func() (string, error){
	// Version 2.0. It can be told to fail as a new program; see fault in cmd/superd.
	"2.0": sync.OnceValues(func() (string, error) {
		return buildVariant("2.0", "-tags", "superd_fault", "-ldflags", "-X main.version=2.0")
	}),
	// Versions whose keepers speak newer protocols, each with its own.
	"2.2": sync.OnceValues(func() (string, error) { return buildKeeper("2.2", "2") }),
	"2.3": sync.OnceValues(func() (string, error) { return buildKeeper("2.3", "3") }),
	// Version 9.0, which keeps its state in a format of its own.
	"9.0": sync.OnceValues(func() (string, error) {
		return buildVariant("9.0", "-ldflags", "-X main.version=9.0 -X github.com/superd/superd/supervisor/store.stateVersion=9")
	}),
}

func buildKeeper(version, protocol string) (string, error) {
	return buildVariant(version, "-ldflags", "-X main.version="+version+" -X github.com/superd/superd/supervisor/keeper.newestVersion="+protocol)
}

func buildVariant(version string, flags ...string) (string, error) {
	path := filepath.Join(filepath.Dir(bin), "superd-"+version)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./superd")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build superd %s: %v\n%s", version, err, out)
	}
	return path, nil
}

// build VERSION PATH makes a superd of another version at a path, all of a sudden
// as a package manager does. Version "own" is the one that is built for all scripts.
func build(ts *testscript.TestScript, neg bool, args []string) {
	from := filepath.Join(bin, "superd")
	if args[0] != "own" {
		var err error
		from, err = variants[args[0]]()
		ts.Check(err)
	}
	to := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(to), 0o755))
	data, err := os.ReadFile(from)
	ts.Check(err)
	ts.Check(os.WriteFile(to+".new", data, 0o755))
	ts.Check(os.Rename(to+".new", to))
}

// use PATH has up start that program.
func use(ts *testscript.TestScript, neg bool, args []string) {
	hostOf(ts).program = ts.MkAbs(args[0])
}

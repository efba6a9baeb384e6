//go:build superd_fault

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// fault is how a build for tests fails when it has taken the place of another
// superd: as the file "fault" beside the program says. Without one it does not.
func fault(t *takeover) error {
	if t == nil {
		return nil
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	kind, _ := os.ReadFile(filepath.Join(filepath.Dir(exe), "fault"))
	switch strings.TrimSpace(string(kind)) {
	case "error":
		return errors.New("this build is made to fail")
	case "panic":
		panic("this build is made to panic")
	case "hang":
		select {}
	case "kill":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return nil
}

package cmd_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/superd/superd/supervisor/aim"
)

// variants are builds of superd that differ in a few bytes. They are made when a
// script first asks for one.
var variants = map[string]func() (string, error){
	// Version 2.0. It can be told to fail as a new program; see fault in cmd/superd.
	"2.0": sync.OnceValues(func() (string, error) {
		return buildVariant("2.0", "-tags", "superd_fault", "-ldflags", "-X main.version=2.0")
	}),
	// Versions whose keepers speak newer protocols, each with its own. The first can be
	// told where to be killed; see aimAt.
	"2.2": sync.OnceValues(func() (string, error) { return buildKeeper("2.2", "2", "-tags", "aim") }),
	"2.3": sync.OnceValues(func() (string, error) { return buildKeeper("2.3", "3") }),
	// A version whose keeper speaks no protocol that is spoken today.
	"8.0": sync.OnceValues(func() (string, error) {
		const keeper = " -X github.com/superd/superd/supervisor/keeper."
		return buildVariant("8.0", "-ldflags", "-X main.version=8.0"+keeper+"newestVersion=8"+keeper+"lowestVersion=8")
	}),
	// The superd that was there before keepers had successors.
	"earlier": sync.OnceValues(buildEarlier),
	// Version 9.0, which keeps its state in a format of its own.
	"9.0": sync.OnceValues(func() (string, error) {
		return buildVariant("9.0", "-ldflags", "-X main.version=9.0 -X github.com/superd/superd/supervisor/store.stateVersion=9")
	}),
}

func buildKeeper(version, protocol string, flags ...string) (string, error) {
	return buildVariant(version, append(flags, "-ldflags", "-X main.version="+version+" -X github.com/superd/superd/supervisor/keeper.newestVersion="+protocol)...)
}

// aimAt PROGRAM POINT has a program that is built for it killed when it comes to a
// point, the first time.
func aimAt(ts *testscript.TestScript, neg bool, args []string) {
	path := filepath.Join(filepath.Dir(ts.MkAbs(args[0])), aim.TableName)
	ts.Check(aim.Create(path, args[1:2]))
	table, err := aim.Open(path)
	ts.Check(err)
	table.Arm(args[1], 1, 0)
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

// earlierCommit is from before there were several keepers at once.
const earlierCommit = "c3ccab5"

// hasEarlier tells whether the clone has that commit: a shallow one may lack it.
func hasEarlier() bool {
	return exec.Command("git", "cat-file", "-e", earlierCommit+"^{commit}").Run() == nil
}

// buildEarlier builds superd from the files of that commit, in a folder of their own.
func buildEarlier() (string, error) {
	dir, err := os.MkdirTemp(filepath.Dir(bin), "earlier-")
	if err != nil {
		return "", err
	}
	files := exec.Command("git", "archive", earlierCommit)
	files.Dir = ".."
	unpack := exec.Command("tar", "-x", "-C", dir)
	if unpack.Stdin, err = files.StdoutPipe(); err != nil {
		return "", err
	}
	if err := errors.Join(files.Start(), unpack.Run(), files.Wait()); err != nil {
		return "", fmt.Errorf("cannot take the files of commit %s: %w", earlierCommit, err)
	}
	path := filepath.Join(filepath.Dir(bin), "superd-earlier")
	cmd := exec.Command("go", "build", "-o", path, "-ldflags", "-X main.version=1.0", "./cmd/superd")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build superd of commit %s: %v\n%s", earlierCommit, err, out)
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
	ts.Check(putProgram(to, data))
}

// use PATH has up start that program.
func use(ts *testscript.TestScript, neg bool, args []string) {
	hostOf(ts).program = ts.MkAbs(args[0])
}

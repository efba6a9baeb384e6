package cmd_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/superd/superd/supervisor/proc"
)

// bin is the folder with the real programs, built once for all scripts.
var bin string

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// together is how many tests run at once, unless -parallel says otherwise: more than
// there are processors, since most of them wait most of the time.
const together = 4

func runAll(m *testing.M) (int, error) {
	if err := flag.Set("test.parallel", strconv.Itoa(together)); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "superd-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // other users run them too
		return 0, err
	}
	bin = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", bin+"/", "./superd", "./superctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("cannot build the programs: %v\n%s", err, out)
	}
	return m.Run(), nil
}

// TestScripts runs every scenario of testdata/script with the real programs and
// real workers, each with a superd of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setup,
		Condition: func(name string) (bool, error) {
			switch name {
			case "cgroup":
				return cgroups(), nil
			case "root":
				return os.Geteuid() == 0, nil
			case "mounts":
				return mounts(), nil
			case "oom":
				return oom(), nil
			case "clock": // of a machine of our own
				return os.Getenv("SUPERD_TEST_CLOCK") != "", nil
			case "exitinfo":
				return exitInfo(), nil
			case "reuse":
				return reuse(), nil
			case "earlier":
				return hasEarlier(), nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"up":       up,
			"down":     down,
			"crash":    crash,
			"until":    until,
			"get":      get,
			"alive":    alive,
			"same":     same,
			"ended":    ended,
			"numbers":  numbers,
			"ctl":      ctl,
			"killpid":  killpid,
			"count":    count,
			"atmost":   atmost,
			"comedown": comedown,
			"idle":     idle,
			"users":    users,
			"runas":    runas,
			"as":       as,
			"follow":   follow,
			"memcg":    memcg,
			"nofile":   nofile,
			"notasks":  notasks,
			"inject":   inject,
			"crowd":    crowd,
			"calm":     calm,
			"starve":   starve,
			"waits":    waits,
			"build":    build,
			"use":      use,
			"aim":      aimAt,
			"exits":    exits,
			"once":     once,
		},
	})
}

// exitInfo tells whether the kernel says how a process ended to those who are not its
// parent.
func exitInfo() bool {
	cmd := exec.Command("true")
	if cmd.Start() != nil {
		return false
	}
	fd, err := proc.OpenPIDFD(cmd.Process.Pid)
	if cmd.Wait() != nil || err != nil {
		return false
	}
	defer syscall.Close(fd)
	_, ending := proc.StrangerExit(fd)
	return ending == proc.EndingKnown
}

// cgroups tells whether cgroups can be made here.
func cgroups() bool {
	root, err := proc.CgroupRoot()
	if err != nil {
		return false
	}
	dir := filepath.Join(root, fmt.Sprintf("superd-test-%d", os.Getpid()))
	return proc.MakeCgroup(dir) == nil && proc.RemoveCgroup(dir) == nil
}

// setup gives a script its folders, and a superd that superctl finds by itself.
func setup(env *testscript.Env) error {
	h := &host{dir: filepath.Join(env.WorkDir, "superd")}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	env.Values[hostKey{}] = h
	env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	env.Setenv("SUPERD_SOCKET", h.socket())
	env.Setenv("LOGS", h.dir+"/log")
	env.Setenv("RUN", h.dir+"/run")
	env.Setenv("NO_COLOR", "1")
	env.Defer(func() { h.cleanUp(env.T()) })
	return nil
}

// patience bounds every wait of a script. It is long: it only ever runs out
// when something is broken.
const patience = 30 * time.Second

// eventually waits for a condition.
func eventually(ts *testscript.TestScript, what string, ok func() bool) {
	for late := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			ts.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// hostOf is the script's superd.
func hostOf(ts *testscript.TestScript) *host { return ts.Value(hostKey{}).(*host) }

// superctl runs superctl to its end.
func superctl(ts *testscript.TestScript, args ...string) (stdout, stderr string, code int) {
	cmd := exec.Command(filepath.Join(bin, "superctl"), args...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "SUPERD_SOCKET="+ts.Getenv("SUPERD_SOCKET"), "NO_COLOR=1")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		ts.Fatalf("superctl: %v", err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// ctl CODE ARGS... runs superctl and wants that exit code.
func ctl(ts *testscript.TestScript, neg bool, args []string) {
	stdout, stderr, code := superctl(ts, args[1:]...)
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("superctl %s: exit code %d, not %s\n%s%s", strings.Join(args[1:], " "), code, args[0], stdout, stderr)
	}
}

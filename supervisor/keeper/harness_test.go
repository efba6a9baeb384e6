package keeper

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// The test binary is also the keeper, its stages, and a superd that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "keep":
			if v := os.Getenv("KEEPER_VERSION"); v != "" { // see keeperOf
				Version, lowestVersion = versionNumber(v), os.Getenv("KEEPER_LOWEST")
			}
			os.Exit(Main(os.Args[2:]))
		case "short-lived-superd":
			shortLived(os.Args[2])
		}
	}
	os.Exit(m.Run())
}

// bound is how long a test waits for what must come: long, since nothing depends
// on it but the time that a failure takes.
const bound = 20 * time.Second

// rig is a keeper with its client.
type rig struct {
	*Client
	t    testing.TB
	dir  string
	seen []Event // taken by wait and passed over
}

var lastRun atomic.Int64

// newRun is a run ID that no other test has.
func newRun() string { return fmt.Sprintf("r%d", lastRun.Add(1)) }

// newRig starts a keeper, and has everything gone when the test ends.
func newRig(t testing.TB) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, dir: dir}
	r.dial(true)
	t.Cleanup(r.end)
	return r
}

func (r *rig) dial(want bool) {
	r.t.Helper()
	c, started, err := Dial(r.dir, Options{Log: func(s string) { r.t.Log("keeper:", s) }})
	if err != nil {
		r.t.Fatal(err)
	}
	if started != want {
		r.t.Fatalf("Dial started a keeper: %v; want %v", started, want)
	}
	r.Client = c
	r.seen = nil
}

// end kills and acknowledges what is left, and ends the keeper.
func (r *rig) end() {
	if r.Err() != nil {
		if c, started, err := Dial(r.dir, Options{}); err == nil {
			if started {
				r.t.Errorf("the keeper had died: %v", r.Err())
			}
			r.Client = c
		} else {
			r.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	for {
		runs, _, err := r.List(ctx)
		if err != nil {
			r.t.Fatalf("cannot clean up: %v", err)
		}
		live := 0
		for _, run := range runs {
			if !run.Gone {
				live++
				r.Sweep(run.Run)
			}
		}
		if live == 0 {
			break
		}
		select {
		case <-r.Events():
		case <-ctx.Done():
			r.t.Fatalf("%d runs do not end: %+v", live, runs)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := r.End(ctx); err != nil {
		r.t.Errorf("cannot end the keeper: %v", err)
	}
	r.Close()
	if _, err := os.Stat(filepath.Join(r.dir, cmp.Or(r.name, socketName))); err == nil {
		r.t.Error("the keeper has left its socket")
	}
	if data, err := os.ReadFile(filepath.Join(r.dir, traceName)); err == nil && len(data) > 0 {
		r.t.Errorf("the keeper has left a trace: %s", data)
	}
}

// wait takes events until one of a kind comes for a run.
func (r *rig) wait(run string, kind EventKind) Event {
	r.t.Helper()
	for i, ev := range r.seen {
		if ev.Run == run && ev.Kind == kind {
			r.seen = append(r.seen[:i], r.seen[i+1:]...)
			return ev
		}
	}
	late := time.After(bound)
	for {
		select {
		case ev, ok := <-r.Events():
			if !ok {
				r.t.Fatalf("the keeper is lost while waiting for %s of %s: %v", kind, run, r.Err())
			}
			if ev.Run == run && ev.Kind == kind {
				return ev
			}
			if ev.Run == run && ev.Kind == SpawnFailed {
				r.t.Fatalf("waiting for %s of %s: it failed at stage %s: %s", kind, run, ev.Stage, ev.Reason)
			}
			r.seen = append(r.seen, ev)
		case <-late:
			r.t.Fatalf("%s of %s never came; seen: %+v", kind, run, r.seen)
		}
	}
}

// spawn asks for a run and waits for nothing.
func (r *rig) spawn(s Spawn) string {
	r.t.Helper()
	if s.Run == "" {
		s.Run = newRun()
	}
	if err := r.Spawn(context.Background(), s); err != nil {
		r.t.Fatal(err)
	}
	return s.Run
}

// shell is a run of a script, which prints into out.
func shell(script string, out *os.File) Spawn {
	return Spawn{
		Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
		Dir: "/", Umask: 0o22, Direct: true, Stdout: out, Stderr: out,
	}
}

// both runs a test by either way of starting.
func both(t *testing.T, test func(t *testing.T, direct bool)) {
	for _, direct := range []bool{true, false} {
		name := "stage"
		if direct {
			name = "direct"
		}
		t.Run(name, func(t *testing.T) { test(t, direct) })
	}
}

// outFile is a file that a run may print into.
func outFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t testing.TB, f *os.File) string {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for until := time.Now().Add(bound); !cond(); {
		if time.Now().After(until) {
			t.Fatalf("it never came about that %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// alive tells whether a process is there, and no zombie.
func alive(pid int) bool {
	st, err := proc.ReadStat(pid)
	return err == nil && st.State != 'Z' && st.State != 'X'
}

// pidsIn reads the pids that a script has printed, one a line.
func pidsIn(t testing.TB, f *os.File, n int) []int {
	t.Helper()
	var pids []int
	eventually(t, fmt.Sprintf("%d pids are printed", n), func() bool {
		lines := strings.Split(strings.TrimSpace(content(t, f)), "\n")
		pids = pids[:0]
		for _, line := range lines {
			var pid int
			if _, err := fmt.Sscan(line, &pid); err == nil {
				pids = append(pids, pid)
			}
		}
		return len(pids) >= n
	})
	return pids
}

func needRoot(t *testing.T) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("changing users is root's right")
	}
}

func killPID(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

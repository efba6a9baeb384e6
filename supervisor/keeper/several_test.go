package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// keeperOf is the program of a keeper that speaks the versions up to one.
func keeperOf(t *testing.T, lowest, version int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), fmt.Sprint("keeper-", version))
	text := fmt.Sprintf("#!/bin/sh\nKEEPER_LOWEST=%d KEEPER_VERSION=%d exec %s \"$@\"\n", lowest, version, os.Args[0])
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// speak makes a superd of a version of the test for a while.
func speak(t *testing.T, version int) {
	old := Version
	Version = version
	t.Cleanup(func() { Version = old })
}

// generations are keepers of one folder, the current one first.
type generations struct {
	t   *testing.T
	dir string
	all []*rig
}

func newGenerations(t *testing.T) *generations {
	g := &generations{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		g.dial()
		for _, r := range slices.Backward(g.all) {
			r.end()
		}
	})
	return g
}

// dial connects to all of them, as a superd that is started.
func (g *generations) dial() {
	g.t.Helper()
	for _, r := range g.all {
		r.Close()
	}
	all, _, err := DialAll(g.dir, g.options(Version))
	if err != nil {
		g.t.Fatal(err)
	}
	g.all = nil
	for _, c := range all {
		g.all = append(g.all, &rig{Client: c, t: g.t, dir: g.dir})
	}
}

func (g *generations) options(version int) Options {
	return Options{Exe: keeperOf(g.t, 1, version), Log: func(s string) { g.t.Log("keeper:", s) }}
}

// succeed makes a superd of a version, which has a keeper of its own.
func (g *generations) succeed(version int) *rig {
	g.t.Helper()
	speak(g.t, version)
	next, err := g.all[0].Succeed(g.options(version))
	if err != nil {
		g.t.Fatal(err)
	}
	r := &rig{Client: next, t: g.t, dir: g.dir}
	g.all = slices.Insert(g.all, 0, r)
	return r
}

// want compares the keepers and the names of their sockets.
func (g *generations) want(pids ...int) {
	g.t.Helper()
	var have []int
	for i, r := range g.all {
		have = append(have, r.PID())
		name := socketName
		if i > 0 {
			name = socketOf(r.PID())
		}
		conn, err := connect(g.dir, name)
		if err != nil {
			g.t.Errorf("%s: %v", name, err)
		} else {
			conn.Close()
		}
	}
	if !slices.Equal(have, pids) {
		g.t.Errorf("the keepers are %v, not %v", have, pids)
	}
	if text, _ := os.ReadFile(filepath.Join(g.dir, pidName)); strings.TrimSpace(string(text)) != fmt.Sprint(pids[0]) {
		g.t.Errorf("%s has %q", pidName, text)
	}
}

// TestGenerations: three superds of newer and newer versions, each with a keeper of
// its own beside those that still have runs, and a fourth that is as old as the first.
func TestGenerations(t *testing.T) {
	g := newGenerations(t)
	speak(t, 1)
	g.dial()
	first := g.all[0]
	a := first.spawn(shell("exit 3", nil))
	first.wait(a, Exited)
	b := first.spawn(shell("exec sleep 1000", nil))
	first.wait(b, Started)

	speak(t, 2)
	g.dial()
	if first = g.all[0]; !first.Outdated() || first.Version() != 1 {
		t.Errorf("the first speaks %d, outdated %v", first.Version(), first.Outdated())
	}
	second := g.succeed(2)
	if second.Outdated() || second.Version() != 2 {
		t.Errorf("the second speaks %d, outdated %v", second.Version(), second.Outdated())
	}
	g.want(second.PID(), first.PID())
	c := second.spawn(shell("exec sleep 1000", nil))
	second.wait(c, Started)
	third := g.succeed(3)
	d := third.spawn(shell("exec sleep 1000", nil))
	third.wait(d, Started)

	for _, version := range []int{3, 1} { // the older one knows nothing of versions 2 and 3
		speak(t, version)
		g.dial()
		pids := []int{third.PID(), second.PID(), first.PID()}
		if version == 1 {
			slices.Sort(pids[1:])
			slices.SortFunc(g.all[1:], func(a, b *rig) int { return a.PID() - b.PID() })
		}
		g.want(pids...)
	}
	byPID := map[int]map[string]RunState{}
	for _, r := range g.all {
		byPID[r.PID()] = r.listed()
	}
	if s := byPID[first.PID()][a]; s.Phase != PhaseEnded || s.Status.Code != 3 {
		t.Errorf("the run that has ended is %+v", s)
	}
	for run, pid := range map[string]int{b: first.PID(), c: second.PID(), d: third.PID()} {
		if s := byPID[pid][run]; s.Phase != PhaseRunning {
			t.Errorf("%s is %+v", run, s)
		}
	}
}

// TestGenerationsAreFound: whatever became of the names, superd finds its keepers,
// and gives them the names that they should have.
func TestGenerationsAreFound(t *testing.T) {
	g := newGenerations(t)
	speak(t, 1)
	g.dial()
	one := g.all[0].PID()
	id := g.all[0].spawn(shell("exec sleep 1000", nil))
	g.all[0].wait(id, Started)
	two := g.succeed(2).PID()
	path := func(name string) string { return filepath.Join(g.dir, name) }
	for what, do := range map[string]func() error{
		"nothing": func() error { return nil },
		"superd died before it started another one": func() error {
			return os.Rename(path(socketName), path(socketOf(two)))
		},
		"a socket that nobody listens on": func() error {
			if err := os.Rename(path(socketName), path(socketOf(two))); err != nil {
				return err
			}
			fd, err := bind(path(socketName))
			unix.Close(fd)
			return err
		},
		"the names were changed": func() error {
			return os.Rename(path(socketOf(one)), path(socketName)) // the other has none now
		},
		"the former one's was deleted":  func() error { return os.Remove(path(socketOf(one))) },
		"the current one's was deleted": func() error { return os.Remove(path(socketName)) },
		"all were deleted": func() error {
			if err := os.RemoveAll(g.dir); err != nil {
				return err
			}
			return os.Mkdir(g.dir, 0o755)
		},
		"somebody sends the former one the signal": func() error { return syscall.Kill(one, bindSignal) },
		"there is a name of nobody": func() error {
			fd, err := bind(path(socketOf(1)))
			unix.Close(fd)
			return err
		},
	} {
		if err := do(); err != nil {
			t.Fatal(what, err)
		}
		g.dial()
		t.Log(what)
		g.want(two, one)
		if s := g.all[1].listed()[id]; s.Phase != PhaseRunning {
			t.Errorf("%s: the run is %+v", what, s)
		}
		if names, err := formerNames(g.dir); err != nil || len(names) != 1 {
			t.Errorf("%s: former keepers are %v, %v", what, names, err)
		}
		if t.Failed() {
			return
		}
	}
	// While superd is connected it has the names made again by itself.
	for _, r := range g.all {
		if err := os.Remove(r.Socket()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range g.all {
		if err := r.BindAgain(g.all[0].Client); err != nil {
			t.Error(err)
		}
	}
	g.want(two, one)
	// One that has ended leaves no name.
	g.all[1].end()
	if g.all[1].Forget(); len(mustNames(t, g.dir)) != 0 {
		t.Error("the name of a keeper that has ended is there")
	}
	g.all = g.all[:1]
}

func mustNames(t *testing.T, dir string) []string {
	t.Helper()
	names, err := formerNames(dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestSucceedThatFails: without a program there is no other keeper, and the one that
// there is stays what it was.
func TestSucceedThatFails(t *testing.T) {
	g := newGenerations(t)
	speak(t, 1)
	g.dial()
	speak(t, 2)
	if _, err := g.all[0].Succeed(Options{Exe: "/nowhere"}); err == nil || !strings.Contains(err.Error(), "version 2 beside the one of version 1") {
		t.Error(err)
	}
	g.want(g.all[0].PID())
	g.dial()
	g.want(g.all[0].PID())
}

// TestKeeperThatIsTooNew: a superd that speaks none of a keeper's versions is
// refused, starts no other one and kills nobody.
func TestKeeperThatIsTooNew(t *testing.T) {
	dir := t.TempDir()
	speak(t, 3)
	c, _, err := Dial(dir, Options{Exe: keeperOf(t, 3, 3)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Client: c, t: t, dir: dir}
	t.Cleanup(r.end)
	pid := c.PID()
	Version = 1
	for what, dial := range map[string]func() error{
		"DialAll": func() error { _, _, err := DialAll(dir, Options{}); return err },
		"Dial":    func() error { _, _, err := Dial(dir, Options{}); return err },
		"Observe": func() error { _, err := Observe(dir, Options{}); return err },
	} {
		if err := dial(); err == nil || !strings.Contains(err.Error(), "versions 1 to 1 of the keeper's protocol, this keeper 3 to 3 (a newer superd has started it") {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Nor when its socket has lost its name.
	for what, dial := range map[string]func() error{
		"DialAll": func() error { _, _, err := DialAll(dir, Options{}); return err },
		"Dial":    func() error { _, _, err := Dial(dir, Options{}); return err },
	} {
		if err := os.Remove(filepath.Join(dir, socketName)); err != nil {
			t.Fatal(err)
		}
		if err := dial(); err == nil || !strings.Contains(err.Error(), "this keeper 3 to 3") {
			t.Errorf("%s without the name: %v", what, err)
		}
		if !alive(pid) {
			t.Fatalf("%s has killed it", what)
		}
	}
	Version = 3
	r.listed()
}

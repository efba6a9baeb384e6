package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// limitFiles sets the keeper's soft limit of open files, and gives back what it was.
func (r *rig) limitFiles(n uint64) (was uint64) {
	r.t.Helper()
	var lim unix.Rlimit
	if err := unix.Prlimit(r.PID(), unix.RLIMIT_NOFILE, nil, &lim); err != nil {
		r.t.Fatal(err)
	}
	was, lim.Cur = lim.Cur, n
	if err := unix.Prlimit(r.PID(), unix.RLIMIT_NOFILE, &lim, nil); err != nil {
		r.t.Fatal(err)
	}
	return was
}

// familyScript leaves a child in a process group of its own, which only a look into
// /proc finds. (dash has no job control without a terminal.)
const familyScript = `exec bash -c 'set -m; sleep 1000 & echo $!; wait'`

// A keeper whose descriptors are all in use starts nothing, and says why. It goes
// on to signal, to find and to kill, and hears a superd that calls.
func TestOutOfDescriptors(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	family := r.spawn(shell(familyScript, out))
	r.wait(family, Started)
	child := pidsIn(t, out, 1)[0]
	free := uint64(3) // the lowest number that a descriptor could get
	for exists(fmt.Sprintf("/proc/%d/fd/%d", r.PID(), free)) {
		free++
	}
	was := r.limitFiles(free)

	// With descriptors beside the packet, which the kernel drops, and without.
	s := shell("echo started", out)
	s.Run = newRun()
	s.Hold = map[string]*os.File{s.Run + ".out": out}
	for _, spawn := range []Spawn{s, {Path: "/bin/true", Args: []string{"true"}, Dir: "/", Direct: true}} {
		id := r.spawn(spawn)
		if ev := r.wait(id, SpawnFailed); ev.Stage != proc.StageFork || !strings.Contains(ev.Reason, "too many open files") {
			t.Errorf("%+v", ev)
		}
		r.Acknowledge(id)
	}
	if err := r.Hold("it", out); err == nil || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("hold: %v", err)
	}

	observers, err := Observe(r.dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(observers)
	r.Client.Close() // superd dies, and another one calls
	r.dial(false)
	r.Signal(family, syscall.SIGKILL, config.ScopeMain, 1)
	r.gone(family)
	if alive(child) {
		t.Errorf("%s is left of a run that is said to be gone", proc.Describe(child))
	}

	r.limitFiles(was)
	again := r.spawn(shell("exec true", out))
	r.gone(again)
	eventually(t, "the keeper has its spare descriptors again", func() bool {
		n := descriptors(t, r.PID())
		r.Release("nothing") // a round
		return n == descriptors(t, r.PID())
	})
	if strings.Contains(content(t, out), "started") {
		t.Error("a run that has failed was started")
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// While nothing at all can be opened, nothing is said to be gone that may be there.
func TestWhatCannotBeFoundOutIsNotGone(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	family := r.spawn(shell(familyScript, out))
	r.wait(family, Started)
	child := pidsIn(t, out, 1)[0]
	idle := ticks(t, r.PID())
	was := r.limitFiles(3)
	r.Signal(family, syscall.SIGKILL, config.ScopeMain, 1)
	if ev := r.wait(family, Exited); ev.Gone {
		t.Errorf("%+v", ev)
	}
	// It is asked again and again meanwhile, and looks now and then by itself.
	for range 20 {
		r.Sweep(family)
		if s := r.listed()[family]; s.Gone {
			t.Fatalf("%+v, and %s", s, proc.Describe(child))
		}
		<-time.After(50 * time.Millisecond)
	}
	if used := ticks(t, r.PID()) - idle; used > 50 {
		t.Errorf("the keeper has worked for %d ms in about a second", 10*used)
	}
	if !alive(child) {
		t.Fatal("the child should have been out of reach")
	}
	r.limitFiles(was)
	r.wait(family, Gone)
	if alive(child) {
		t.Errorf("%s is left of a run that is said to be gone", proc.Describe(child))
	}
	r.Acknowledge(family)
}

// ticks is the processor time of a process.
func ticks(t *testing.T, pid int) uint64 {
	t.Helper()
	st, err := proc.ReadStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return st.CPUTicks
}

// A cgroup that cannot be looked into may have processes in it.
func TestCgroupWithoutDescriptors(t *testing.T) {
	root, err := proc.CgroupRoot()
	if err != nil {
		t.Skip("no cgroups here: ", err)
	}
	dir := filepath.Join(root, "superd-keeper-spare-test")
	if err := proc.MakeCgroup(dir); err != nil {
		t.Skip("no cgroup can be made here: ", err)
	}
	defer proc.RemoveCgroup(dir)
	r := newRig(t)
	out := outFile(t)
	s := shell(`setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000`, out)
	s.KillScope, s.Cgroup = config.ScopeCgroup, dir
	id := r.spawn(s)
	r.wait(id, Started)
	child := pidsIn(t, out, 1)[0]
	was := r.limitFiles(3)
	r.Signal(id, syscall.SIGKILL, config.ScopeMain, 1)
	if ev := r.wait(id, Exited); ev.Gone {
		t.Errorf("%+v", ev)
	}
	if s := r.listed()[id]; s.Gone || !alive(child) {
		t.Errorf("%+v, and %s", s, proc.Describe(child))
	}
	r.limitFiles(was)
	r.wait(id, Gone)
	if alive(child) {
		t.Errorf("%s is left of a run that is said to be gone", proc.Describe(child))
	}
	r.Acknowledge(id)
}

// A process that cannot be looked at is not taken for one that has ended.
func TestAdoptWithoutDescriptors(t *testing.T) {
	r := newRig(t)
	stranger := newRig(t)
	id := stranger.spawn(Spawn{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Dir: "/", Direct: true})
	ev := stranger.wait(id, Started)
	a := Adopt{Run: newRun(), PID: ev.PID, StartTicks: ev.StartTicks}
	was := r.limitFiles(3)
	if err := r.Adopt(a); err == nil || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("adopt: %v", err)
	}
	r.limitFiles(was)
	if err := r.Adopt(a); err != nil {
		t.Fatal(err)
	}
	r.wait(a.Run, Started)
	r.Sweep(a.Run)
	r.gone(a.Run)
}

package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// descriptors counts what a process has open.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// number reads a number from a file like /proc/PID/status.
func number(t testing.TB, path, name string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(status(string(data), name)[name])
	if len(fields) == 0 {
		t.Fatalf("%s has no %s", path, name)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sleepers starts n runs that live, and waits until they do.
func (r *rig) sleepers(n int) {
	r.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = r.spawn(Spawn{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Env: benchEnv, Dir: "/", Umask: 0o22, Direct: true})
	}
	for _, id := range ids {
		r.wait(id, Started)
	}
}

// switches counts how often the threads of a process have been put on a
// processor: if the count stays, none has run.
func switches(t testing.TB, pid int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	n := 0
	for _, task := range tasks {
		n += number(t, task, "voluntary_ctxt_switches") + number(t, task, "nonvoluntary_ctxt_switches")
	}
	return n
}

func TestAnIdleKeeperDoesNothing(t *testing.T) {
	r := newRig(t)
	r.sleepers(20)
	// Work that makes garbage, so that it has something to put away.
	for range 100 {
		id := r.spawn(shell("exit 0", nil))
		r.wait(id, Exited)
		r.Acknowledge(id)
	}
	// The runtime's own monitor looks around once a minute: a window that it
	// happens to fall into does not count.
	const window = 3 * time.Second
	eventually(t, "no thread of the keeper runs for "+window.String(), func() bool {
		before := switches(t, r.PID())
		<-time.After(window)
		return switches(t, r.PID()) == before
	})
}

func TestNothingGrowsWithTheRuns(t *testing.T) {
	r := newRig(t)
	r.sleepers(10)
	statusFile := fmt.Sprintf("/proc/%d/status", r.PID())
	pss := func() int { return number(t, fmt.Sprintf("/proc/%d/smaps_rollup", r.PID()), "Pss") }
	threads := number(t, statusFile, "Threads")
	before := pss()
	const more = 300
	r.sleepers(more)
	if n := number(t, statusFile, "Threads"); n != threads {
		t.Errorf("%d threads with 10 runs, %d with %d", threads, n, 10+more)
	}
	// 3 MB for 1000 runs, once it has put its garbage away. The race detector needs
	// several times as much.
	eventually(t, "the keeper's memory is small again", func() bool { return raceDetector || pss()-before < 3*more })
	t.Logf("PSS: %d KiB with 10 runs, %d KiB with %d; %d threads", before, pss(), 10+more, threads)
}

func TestNoDescriptorIsLost(t *testing.T) {
	r := newRig(t)
	cycle := func(n int) {
		for i := range n {
			out := outFile(t)
			s := shell("exit 0", out)
			s.Run = newRun()
			s.Hold = map[string]*os.File{s.Run + ".out": out}
			switch i % 5 {
			case 1:
				s.Direct = false
			case 2:
				s.Dir = "/no/such" // by either way, in vain
			case 3:
				s.Args[2] = "sleep 1000 & exit 0"
			}
			r.spawn(s)
			if i%5 == 2 {
				r.wait(s.Run, SpawnFailed)
				r.Acknowledge(s.Run)
			} else {
				r.gone(s.Run)
			}
			out.Close()
		}
		if _, err := r.Fetch("none"); err == nil { // all before it is done by now
			t.Fatal("it holds what nobody gave it")
		}
	}
	cycle(10)
	keeper, own := descriptors(t, r.PID()), descriptors(t, os.Getpid())
	cycle(200)
	if n := descriptors(t, r.PID()); n != keeper {
		t.Errorf("the keeper had %d descriptors open, and has %d", keeper, n)
	}
	if n := descriptors(t, os.Getpid()); n != own {
		t.Errorf("the client had %d descriptors open, and has %d", own, n)
	}
	if kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.PID(), r.PID())); err == nil && len(kids) > 0 {
		t.Errorf("the keeper has children left: %s", kids)
	}
}

func TestWorkersGetBackTheOOMScore(t *testing.T) {
	const path = "/proc/self/oom_score_adj"
	own, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("300"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(path, own, 0)
	r := newRig(t)
	score := func(pid int) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	low := "0" // whoever has raised it may take it back
	if capable(t, unix.CAP_SYS_RESOURCE) {
		low = "-1000"
	}
	eventually(t, "the keeper's score is low", func() bool { return score(r.PID()) == low })
	both(t, func(t *testing.T, direct bool) {
		out := outFile(t)
		s := shell("cat /proc/self/oom_score_adj", out)
		s.Direct = direct
		r.gone(r.spawn(s))
		if got := content(t, out); got != "300\n" {
			t.Errorf("the worker has %q", got)
		}
	})
	eventually(t, "the keeper's score is low again", func() bool { return score(r.PID()) == low })
}

// hanging is a folder on a file system that does not answer.
func hanging(t *testing.T) string {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("fuse", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		unix.Close(fd)
		t.Skip("cannot mount: ", err)
	}
	t.Cleanup(func() {
		unix.Close(fd) // which ends all that wait for an answer
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAStageThatHangsHindersNobody(t *testing.T) {
	dir := hanging(t)
	r := newRig(t)
	s := shell("exit 0", nil)
	s.Direct, s.Dir = false, dir
	hung := r.spawn(s)
	pid := r.wait(hung, Forked).PID
	eventually(t, "the stage hangs in chdir", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		for _, task := range tasks {
			if in, err := os.ReadFile(task); err == nil && strings.HasPrefix(string(in), fmt.Sprintf("%d ", unix.SYS_CHDIR)) {
				return true
			}
		}
		return false
	})
	for range 3 {
		if ev := r.gone(r.spawn(shell("exit 9", nil))); ev.Status.Code != 9 {
			t.Errorf("%+v", ev)
		}
	}
	runs, _, err := r.List(t.Context())
	if err != nil || len(runs) != 1 || runs[0].Phase != PhaseForking || runs[0].PID != pid {
		t.Errorf("%+v, %v", runs, err)
	}
	r.Signal(hung, syscall.SIGKILL, config.ScopeMain, 0)
	ev := r.wait(hung, SpawnFailed)
	if ev.Stage != proc.StageDirectory || ev.Reason != "it ended in the middle (signal SIGKILL)" {
		t.Errorf("%+v", ev)
	}
	r.Acknowledge(hung)
}

func TestDescriptorsAreKeptInReserve(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe := write(t, "keeper", "#!/bin/sh\nulimit -n 100\nexec "+self+` "$@"`+"\n", 0o755)
	dir := t.TempDir()
	c, _, err := Dial(dir, Options{Exe: exe})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Client: c, t: t, dir: dir}
	t.Cleanup(r.end)
	failed := make(map[string]string)
	var live []string
	for range 50 {
		id := r.spawn(Spawn{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Dir: "/", Direct: true})
		for ev := range r.Events() {
			if ev.Run == id && ev.Kind == SpawnFailed {
				failed[id] = ev.Stage + ": " + ev.Reason
			} else if ev.Run == id && ev.Kind == Started {
				live = append(live, id)
			} else {
				continue
			}
			break
		}
	}
	if len(live) < 20 || len(failed) < 10 {
		t.Errorf("%d live and %d have failed", len(live), len(failed))
	}
	for id, why := range failed {
		if !strings.Contains(why, "fork: too many open files: the keeper has ") || !strings.Contains(why, "and 100 is the limit") {
			t.Errorf("%s failed with %s", id, why)
		}
		r.Acknowledge(id)
	}
	var full error
	for i := 0; i < 5 && full == nil; i++ {
		full = r.Hold(fmt.Sprint("one", i), os.Stdin)
	}
	if full == nil || !strings.Contains(full.Error(), "100 is the limit") {
		t.Errorf("without an end more can be held: %v", full)
	}
	for _, id := range live[:5] {
		r.Sweep(id)
		r.gone(id)
	}
	if err := r.Hold("one", os.Stdin); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// counter counts how often it is asked.
type counter struct{ n int }

func (c *counter) ready(*keeper, uint32) { c.n++ }

// An event of a descriptor that was closed in the same round must not reach the
// next one that got its number.
func TestAnEventOfTheDeadReachesNobody(t *testing.T) {
	k, err := newKeeper()
	if err != nil {
		t.Fatal(err)
	}
	defer k.starter.Close()
	defer k.drop(&k.epoll)
	defer k.drop(&k.wakeup)
	open := func(s source) (fd int) {
		if fd, err = unix.Eventfd(1, unix.EFD_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		if err := k.watch(fd, unix.EPOLLIN, s); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	var first, second counter
	fd := open(&first)
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd), Pad: k.sources[int32(fd)].turn}
	k.dispatch(&ev)
	k.drop(&fd)
	fd = open(&second)
	if int(ev.Fd) != fd {
		t.Fatalf("descriptor %d was not used again, but %d", ev.Fd, fd)
	}
	k.dispatch(&ev)
	k.drop(&fd)
	if first.n != 1 || second.n != 0 {
		t.Errorf("the first was asked %d times, the second %d times", first.n, second.n)
	}
}

// trap panics whenever it is asked.
type trap struct{ n int }

func (p *trap) ready(*keeper, uint32) { p.n++; panic("a fault of ours") }

func TestAPanicDoesNotEndTheLoop(t *testing.T) {
	k, err := newKeeper()
	if err != nil {
		t.Fatal(err)
	}
	k.panics = 8 // those that are written down were enough
	k.oom = oomScore{}
	defer k.starter.Close()
	defer k.drop(&k.epoll)
	defer k.drop(&k.wakeup)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	p := new(trap)
	if err := k.watch(pipe[1], unix.EPOLLOUT, p); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { k.loop(); close(done) }()
	// The pipe's other end reports the end of the one that has panicked.
	if n, err := unix.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	k.asked.end.Store(true)
	unix.Write(k.wakeup, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-done
	if p.n != 1 {
		t.Errorf("it was asked %d times", p.n)
	}
}

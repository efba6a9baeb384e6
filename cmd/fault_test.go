package cmd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// What scripts need to take the host's resources away from a superd that runs, or
// from its keeper, and to give them back.

// target is the pid of "superd" or "keeper".
func (h *host) target(ts *testscript.TestScript, name string) int {
	switch name {
	case "superd":
		return h.process.Pid
	case "keeper":
		return h.keeperPID(ts)
	}
	ts.Fatalf("there is no %s", name)
	return 0
}

// nofile none|full|free|N superd|keeper sets the limit of open files of a live process:
// to the lowest number that is free, so that it gets no more; to beyond the highest in
// use, so that it may use again what it closes; back; or to a number.
func nofile(ts *testscript.TestScript, neg bool, args []string) {
	pid := hostOf(ts).target(ts, args[1])
	var lim unix.Rlimit
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &lim))
	lim.Cur = lim.Max
	switch n, err := strconv.ParseUint(args[0], 10, 64); {
	case err == nil:
		lim.Cur = n
	case args[0] == "none":
		for lim.Cur = 3; ; lim.Cur++ { // the lowest number that a descriptor could get
			if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, lim.Cur)); err != nil {
				break
			}
		}
	case args[0] == "full": // one more than the highest that is open
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		ts.Check(err)
		lim.Cur = 3
		for _, fd := range open {
			if n, err := strconv.ParseUint(fd.Name(), 10, 64); err == nil {
				lim.Cur = max(lim.Cur, n+1)
			}
		}
	}
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &lim, nil))
}

// notasks none|free superd|keeper has the kernel refuse a live process any further
// process and thread, or none any more: by a cgroup where that can be had, else by strace.
func notasks(ts *testscript.TestScript, neg bool, args []string) {
	pid := hostOf(ts).target(ts, args[1])
	if args[0] == "free" {
		if dir := ts.Getenv("TASKS_" + args[1]); dir != "" {
			ts.Check(os.WriteFile(dir+"/pids.max", []byte("max"), 0))
			return
		}
		inject(ts, false, []string{"off", args[1]})
		return
	}
	for _, parent := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		dir := fmt.Sprintf("%s/superd-test-%d-%d", parent, os.Getpid(), pid)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0)
		var now []byte
		if err == nil {
			now, err = os.ReadFile(dir + "/pids.current")
		}
		if err == nil {
			err = os.WriteFile(dir+"/pids.max", bytes.TrimSpace(now), 0)
		}
		ts.Defer(func() { leaveCgroup(dir) })
		if err == nil {
			ts.Setenv("TASKS_"+args[1], dir)
			return
		}
		leaveCgroup(dir)
	}
	inject(ts, false, []string{"on", args[1], "clone,clone3,fork,vfork:error=EAGAIN"})
}

// leaveCgroup brings what is in a cgroup back to its parent, and removes it.
func leaveCgroup(dir string) {
	pids, _ := os.ReadFile(dir + "/cgroup.procs")
	for _, pid := range strings.Fields(string(pids)) {
		_ = os.WriteFile(filepath.Dir(dir)+"/cgroup.procs", []byte(pid), 0)
	}
	os.Remove(dir)
}

// inject on superd|keeper FAULT [PATH] has system calls of a live process fail, as
// strace(1) says it: "sendmsg:error=ENOBUFS:when=1..3". With a path only those that
// are about it. inject off superd|keeper ends that.
func inject(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	if h.tracers == nil {
		h.tracers = map[string]*exec.Cmd{}
	}
	if old := h.tracers[args[1]]; old != nil {
		old.Process.Signal(syscall.SIGINT) // it lets go of what it traces
		old.Wait()
		delete(h.tracers, args[1])
	}
	if args[0] == "off" {
		return
	}
	pid := strconv.Itoa(h.target(ts, args[1]))
	call, _, _ := strings.Cut(args[2], ":")
	line := []string{"-f", "-o", "/dev/null", "-e", "trace=" + call, "-e", "inject=" + args[2], "-p", pid}
	if len(args) > 3 {
		line = append(line, "-P", args[3])
	}
	trace := exec.Command("strace", line...)
	said, err := trace.StderrPipe()
	ts.Check(err)
	ts.Check(trace.Start())
	h.tracers[args[1]] = trace
	ts.Defer(func() {
		if h.tracers[args[1]] == trace {
			inject(ts, false, []string{"off", args[1]})
		}
	})
	// "strace: Process 4711 attached with 12 threads" comes when it has them all.
	first, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.Contains(first, "attached") {
		ts.Fatalf("strace: %s %v", first, err)
	}
	go io.Copy(io.Discard, said)
}

// crowd N keeps N connections to the control socket open, instead of those before.
func crowd(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	for _, c := range h.crowd {
		c.Close()
	}
	h.crowd = nil
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for range n {
		c, err := net.Dial("unix", h.socket())
		ts.Check(err)
		h.crowd = append(h.crowd, c)
	}
	ts.Defer(func() {
		for _, c := range h.crowd {
			c.Close()
		}
	})
}

// calm superd|keeper wants a process to use little of the processor for a second.
func calm(ts *testscript.TestScript, neg bool, args []string) {
	pid := hostOf(ts).target(ts, args[0])
	before := cpuTime(ts, pid)
	<-time.After(time.Second)
	if used := cpuTime(ts, pid) - before; used > 300*time.Millisecond {
		ts.Fatalf("%s has used %s of the processor in a second", args[0], used)
	}
}

func cpuTime(ts *testscript.TestScript, pid int) time.Duration {
	_, ticks, err := proc.Usage(pid)
	ts.Check(err)
	return time.Duration(ticks) * time.Second / proc.ClockTicks
}

// starve superd|keeper moves a live process into a cgroup in which there is hardly
// any memory to be had; see memcg. What it has already stays where it is.
func starve(ts *testscript.TestScript, neg bool, args []string) {
	pid := hostOf(ts).target(ts, args[0])
	dir, err := memoryCgroup("fault", 1<<20)
	ts.Check(err)
	ts.Defer(func() { leaveCgroup(dir) })
	ts.Check(os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0))
}

// waits PID waits until a process waits in the kernel for somebody to read a pipe.
func waits(ts *testscript.TestScript, neg bool, args []string) {
	eventually(ts, "pid "+args[0]+" waits for a pipe", func() bool {
		where, err := os.ReadFile("/proc/" + args[0] + "/wchan")
		ts.Check(err)
		return strings.Contains(string(where), "pipe_write")
	})
}

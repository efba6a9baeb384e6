package proc

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also the stage.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[2] == StageArgs[2] {
		os.Exit(StageMain())
	}
	if role := os.Getenv(replaceRole); role != "" {
		playReplaced(role)
		return
	}
	os.Exit(m.Run())
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(until) {
			t.Fatalf("it never came about that %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// shell starts a script, killed at the end of the test.
func shell(t *testing.T, script string, setsid bool) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: setsid}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func TestStat(t *testing.T) {
	// A name may hold anything, what ends it in /proc/PID/stat included.
	name := ") R 1 (\n2 x"
	cmd := shell(t, `printf '%s' "$0" > /proc/self/comm 2>/dev/null; exec sleep 1000`, true)
	eventually(t, "it is sleep", func() bool { st, err := ReadStat(cmd.Process.Pid); return err == nil && st.Comm == "sleep" })
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		t.Fatal(err)
	}
	st, err := ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if st.Comm != name || st.PID != os.Getpid() || st.PPID != os.Getppid() {
		t.Errorf("%+v", st)
	}
	if sid, err := unix.Getsid(0); err != nil || st.SID != sid {
		t.Errorf("session %d, want %d, %v", st.SID, sid, err)
	}
	if st.RSS <= 0 || st.StartTicks == 0 {
		t.Errorf("%+v", st)
	}
	rss, _, err := Usage(os.Getpid())
	if err != nil || rss <= 0 {
		t.Errorf("usage %d, %v", rss, err)
	}
	if _, err := ReadStat(1 << 30); !os.IsNotExist(err) {
		t.Errorf("a pid that nobody has: %v", err)
	}
	child, err := ReadStat(cmd.Process.Pid)
	if err != nil || child.SID != cmd.Process.Pid || child.PGID != cmd.Process.Pid || child.PPID != os.Getpid() || child.StartTicks < st.StartTicks {
		t.Errorf("%+v, %v", child, err)
	}
}

func FuzzStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("1 (a) b) S 0 1 1"))
	f.Add([]byte(")("))
	f.Add([]byte("x (y) "))
	f.Fuzz(func(t *testing.T, line []byte) {
		st, err := parseStat(line)
		if err == nil && !bytes.Contains(line, []byte("("+st.Comm+")")) {
			t.Errorf("%q has the name %q", line, st.Comm)
		}
	})
}

func TestReap(t *testing.T) {
	for script, want := range map[string]ExitStatus{
		"exit 0":         {},
		"exit 200":       {Code: 200},
		"kill -TERM $$":  {Code: -1, Signal: syscall.SIGTERM},
		"exec sleep 100": {Code: -1, Signal: syscall.SIGKILL},
	} {
		cmd := exec.Command("sh", "-c", script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fd, err := OpenPIDFD(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if want.Signal == syscall.SIGKILL {
			if _, ok, err := Reap(fd); ok || err != nil {
				t.Errorf("it lives, and was reaped: %v, %v", ok, err)
			}
			if err := SendSignal(fd, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		var st ExitStatus
		eventually(t, "it ends", func() bool {
			var ok bool
			if Ended(fd) {
				if st, ok, err = Reap(fd); err != nil || !ok {
					t.Fatalf("it has ended, and cannot be reaped: %v", err)
				}
			}
			return ok
		})
		if st.Rusage.MaxRSS == 0 {
			t.Errorf("%s: no memory was used", script)
		}
		st.Rusage = Rusage{}
		if st != want {
			t.Errorf("%s: %+v, want %+v", script, st, want)
		}
		if _, _, err := Reap(fd); err != unix.ECHILD {
			t.Errorf("reaped twice: %v", err)
		}
		if err := SendSignal(fd, syscall.SIGTERM); err != unix.ESRCH {
			t.Errorf("a signal to the dead: %v", err)
		}
		unix.Close(fd)
		cmd.Process.Release()
	}
}

func TestExitStatusInWords(t *testing.T) {
	for want, st := range map[string]ExitStatus{
		"exit code 3":                  {Code: 3},
		"signal SIGKILL":               {Code: -1, Signal: syscall.SIGKILL},
		"signal SIGSEGV (core dumped)": {Code: -1, Signal: syscall.SIGSEGV, Core: true},
		"signal 40":                    {Code: -1, Signal: 40},
		"unknown exit status":          {Unknown: true},
	} {
		if st.String() != want {
			t.Errorf("%q, want %q", st.String(), want)
		}
	}
}

// A stranger's end: a grandchild, whose parent reaps it only when it is told to.
func TestStrangerExit(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// The middle one is stopped before its child ends, so that this stays a zombie.
	cmd := exec.Command("sh", "-c", `sh -c 'read x; exit 42' <&3 & echo $! ; kill -STOP $$; wait; exec sleep 1000`)
	gate, open, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	defer open.Close()
	cmd.Stdout = w
	cmd.ExtraFiles = []*os.File{gate}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	buf := make([]byte, 64)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for _, c := range bytes.TrimSpace(buf[:n]) {
		pid = pid*10 + int(c-'0')
	}
	fd, err := OpenPIDFD(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, living := StrangerExit(fd)
	if living != EndingNotYet && living != EndingHidden {
		t.Errorf("it lives, and the answer is %d", living)
	}
	if _, ok := ZombieExit(pid, fd); ok {
		t.Error("it lives, and is taken for a zombie")
	}
	eventually(t, "its parent stands still", func() bool { st, err := ReadStat(cmd.Process.Pid); return err == nil && st.State == 'T' })
	if _, err := open.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ends", func() bool { return Ended(fd) })
	if st, ok := ZombieExit(pid, fd); !ok || st != (ExitStatus{Code: 42}) {
		t.Errorf("the zombie's status is %+v, %v", st, ok)
	}
	if _, ending := StrangerExit(fd); ending != living {
		t.Errorf("a zombie, and the answer is %d", ending)
	}
	cmd.Process.Signal(syscall.SIGCONT)
	eventually(t, "it is reaped", func() bool { return SendSignal(fd, 0) == unix.ESRCH })
	if living == EndingHidden {
		t.Log("this kernel does not tell a stranger's exit status")
		return
	}
	if st, ending := StrangerExit(fd); ending != EndingKnown || st != (ExitStatus{Code: 42}) {
		t.Errorf("%+v, %d", st, ending)
	}
}

func TestSessions(t *testing.T) {
	cmd := shell(t, `sleep 1000 & sleep 1000 & wait`, true)
	sid := cmd.Process.Pid
	var found []Member
	eventually(t, "its three processes are found", func() bool {
		for _, m := range found {
			unix.Close(m.PIDFD)
		}
		var err error
		if found, err = Sessions(map[int]bool{sid: true}); err != nil {
			t.Fatal(err)
		}
		return len(found) == 3
	})
	for _, m := range found {
		st, err := ReadStat(m.PID)
		if err != nil || st.SID != sid || m.SID != sid {
			t.Errorf("%+v: %+v, %v", m, st, err)
		}
		if err := SendSignal(m.PIDFD, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	// The leader, our child, is a zombie now: not a member.
	eventually(t, "nobody is found", func() bool {
		left, err := Sessions(map[int]bool{sid: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range left {
			unix.Close(m.PIDFD)
		}
		return len(left) == 0
	})
	for _, m := range found {
		unix.Close(m.PIDFD)
	}
}

func TestChildren(t *testing.T) {
	cmd := shell(t, "exec sleep 1000", false)
	// Which thread forked it is the runtime's affair: look at all.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, task := range tasks {
		tid := 0
		for _, c := range task.Name() {
			tid = tid*10 + int(c-'0')
		}
		if all, err = Children(all, tid); err != nil {
			t.Skip("this kernel does not list children: ", err)
		}
	}
	found := false
	for _, pid := range all {
		found = found || pid == cmd.Process.Pid
	}
	if !found {
		t.Errorf("%d is not among %v", cmd.Process.Pid, all)
	}
}

func TestHoldersOf(t *testing.T) {
	path := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if pids, err := HoldersOf(st.Dev, st.Ino); err != nil || len(pids) != 0 {
		t.Errorf("nobody has it as output, and %v are found; %v", pids, err)
	}
	out := exec.Command("sh", "-c", "exec sleep 1000")
	out.Stderr = f
	if err := out.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { out.Process.Kill(); out.Wait() }()
	os.Remove(path) // the name does not matter
	if pids, err := HoldersOf(st.Dev, st.Ino); err != nil || len(pids) != 1 || pids[0] != out.Process.Pid {
		t.Errorf("%v, %v; want %d", pids, err, out.Process.Pid)
	}
}

func TestHost(t *testing.T) {
	if id, err := BootID(); err != nil || len(id) != 36 {
		t.Errorf("boot %q, %v", id, err)
	}
	if ns, err := PIDNamespace(); err != nil || ns == 0 {
		t.Errorf("namespace %d, %v", ns, err)
	}
	if a, b := BootTime(), BootTime(); a <= 0 || b < a {
		t.Errorf("the clock goes from %v to %v", a, b)
	}
	for _, path := range []string{"/", "/bin/sh", "/proc", t.TempDir()} {
		if local, err := IsLocalFS(path); err != nil || !local {
			t.Errorf("%s is local: %v, %v", path, local, err)
		}
	}
	if _, err := IsLocalFS("/no/such"); !os.IsNotExist(err) {
		t.Error(err)
	}
	if localFS[unix.NFS_SUPER_MAGIC] || localFS[unix.FUSE_SUPER_MAGIC] || localFS[unix.AUTOFS_SUPER_MAGIC] {
		t.Error("a file system that may hang is taken for local")
	}
}

func TestSealed(t *testing.T) {
	for _, data := range []string{"", "x", strings.Repeat("long", 100_000)} {
		fd, err := Sealed("test", []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSealed(fd, len(data)); err != nil || got != data {
			t.Errorf("read %d bytes of %d, %v", len(got), len(data), err)
		}
		if _, err := unix.Pwrite(fd, []byte("y"), 0); err != unix.EPERM {
			t.Errorf("it can be written: %v", err)
		}
		if data != "" {
			if _, err := ReadSealed(fd, len(data)-1); err == nil {
				t.Error("more was read than is allowed")
			}
		}
		unix.Close(fd)
	}
	// What may change or block is refused.
	open, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(open)
	for _, fd := range []int{open, 0, -1} {
		if _, err := ReadSealed(fd, 100); err == nil {
			t.Errorf("descriptor %d is taken for sealed memory", fd)
		}
	}
}

// A thread's number is no process's: the process is told to be gone, on every kernel.
func TestPIDFDOfAThread(t *testing.T) {
	tids := make(chan int)
	over := make(chan struct{})
	defer close(over)
	for range 2 { // one of them may have the process's first thread
		go func() {
			runtime.LockOSThread()
			tids <- unix.Gettid()
			<-over
		}()
	}
	id := <-tids
	if other := <-tids; id == os.Getpid() {
		id = other
	}
	if fd, err := OpenPIDFD(id); err != unix.ESRCH {
		t.Errorf("pidfd %d, error %v", fd, err)
	}
}

package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// replaceRole has the test binary play the program that replaces itself.
const replaceRole = "PROC_REPLACE"

// said is what the program that took the place says.
type said struct {
	PID    int
	Passed string // what the passed file holds
	Args   []string
}

// playReplaced is a program that executes itself in its own place: signals come in
// between, as many as may.
func playReplaced(role string) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	if role == "after" {
		playAfter(signals)
		return
	}
	file, err := os.CreateTemp("", "")
	must(err)
	os.Remove(file.Name())
	_, err = file.WriteString("passed")
	must(err)
	program, err := os.OpenFile("/proc/self/exe", unix.O_PATH, 0)
	must(err)
	must(Replace(Replacement{Program: program, Args: []string{os.Args[0], "an argument"}, Pass: []*os.File{file},
		Env: func(fds []int, pending []syscall.Signal) []string {
			os.Setenv(replaceRole, "after")
			waiting := len(between)
			if !everyThread() {
				waiting = 0
			}
			for _, sig := range between[:waiting] {
				leavePending(sig)
			}
			os.Setenv("WAITING", fmt.Sprint(waiting))
			return append(os.Environ(), fmt.Sprintf("PASSED=%d", fds[0]))
		}}))
}

// between are signals that come while a program takes the place of another, in the
// order in which the kernel gives them.
var between = []syscall.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, 40}

// everyThread tells whether signals can be blocked everywhere: not where the race
// detector brings C code with it.
func everyThread() bool {
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return e != unix.ENOTSUP
}

// leavePending sends a signal to the process until it waits: a thread that has
// come only just may have caught it.
func leavePending(sig syscall.Signal) {
	for range 1000 {
		must(unix.Kill(os.Getpid(), sig))
		status, err := os.ReadFile("/proc/self/status")
		must(err)
		_, rest, _ := strings.Cut(string(status), "ShdPnd:\t")
		set, err := strconv.ParseUint(rest[:16], 16, 64)
		must(err)
		if set&bit(sig) != 0 {
			return
		}
	}
	must(fmt.Errorf("signal %d does not wait", sig))
}

func playAfter(signals chan os.Signal) {
	s := said{PID: os.Getpid(), Args: os.Args}
	var fd int
	fmt.Sscan(os.Getenv("PASSED"), &fd)
	text := make([]byte, 16)
	n, err := unix.Pread(fd, text, 0)
	must(err)
	s.Passed = string(text[:n])
	var waiting int
	fmt.Sscan(os.Getenv("WAITING"), &waiting)
	late := time.After(20 * time.Second)
	for _, want := range between[:waiting] {
		for got := os.Signal(nil); got != want; {
			select {
			case got = <-signals:
			case <-late:
				must(fmt.Errorf("no signal %d", want))
			}
		}
	}
	must(json.NewEncoder(os.Stdout).Encode(s))
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// TestReplace: the pid and what is passed stay, and no signal is lost.
func TestReplace(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), replaceRole+"=before")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	var s said
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if s.PID != cmd.Process.Pid || s.Passed != "passed" || len(s.Args) != 2 || s.Args[1] != "an argument" {
		t.Errorf("%+v, pid %d", s, cmd.Process.Pid)
	}
}

// TestReplaceThatFails leaves everything as it was, and tells of signals.
func TestReplaceThatFails(t *testing.T) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGHUP, unix.SIGTERM, unix.SIGUSR1)
	defer signal.Stop(signals)
	program, err := os.Open(t.TempDir() + "/.")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	var before, after unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &before)
	// One that comes while all are blocked is taken out, or still comes.
	var pending []syscall.Signal
	err = Replace(Replacement{Program: program, Args: []string{"x"}, Env: func(_ []int, p []syscall.Signal) []string {
		pending = p
		unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGUSR1)
		return nil
	}})
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "cannot execute") {
		t.Errorf("executing a folder: %v", err)
	}
	if len(pending) != 0 {
		t.Errorf("pending: %v", pending)
	}
	select {
	case sig := <-signals:
		if sig != unix.SIGUSR1 {
			t.Errorf("got %v", sig)
		}
	case <-time.After(20 * time.Second):
		t.Error("a signal that came in between was lost")
	}
	unix.Getrlimit(unix.RLIMIT_NOFILE, &after)
	if before != after {
		t.Errorf("the limit of open files was %+v and is %+v", before, after)
	}
	unix.Kill(os.Getpid(), unix.SIGHUP)
	select {
	case <-signals:
	case <-time.After(20 * time.Second):
		t.Error("HUP is ignored afterwards")
	}
}

// TestTakePending: what would end a program at its start is taken out.
func TestTakePending(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := maskAll(unix.SIG_BLOCK); err != nil {
		t.Fatal(err)
	}
	defer maskAll(unix.SIG_UNBLOCK)
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1} {
		unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
	}
	got := takePending()
	slices.Sort(got)
	if !slices.Equal(got, []syscall.Signal{unix.SIGHUP, unix.SIGTERM}) {
		t.Errorf("took %v", got)
	}
}

func TestNotStuck(t *testing.T) {
	eventually(t, "no thread hangs in a disk", func() bool { return !Stuck() })
}

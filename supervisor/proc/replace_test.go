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

// playReplaced is a program that executes itself in its own place.
func playReplaced(role string) {
	signal.Notify(make(chan os.Signal, 64))
	if role == "after" {
		playAfter()
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
			return append(os.Environ(), fmt.Sprint("PASSED=", fds[0]))
		}}))
}

func playAfter() {
	s := said{PID: os.Getpid(), Args: os.Args}
	var fd int
	fmt.Sscan(os.Getenv("PASSED"), &fd)
	text := make([]byte, 16)
	n, err := unix.Pread(fd, text, 0)
	must(err)
	s.Passed = string(text[:n])
	must(json.NewEncoder(os.Stdout).Encode(s))
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// TestReplace: the pid and what is passed stay.
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
	if err := mask(unix.SIG_BLOCK); err != nil {
		t.Fatal(err)
	}
	defer mask(unix.SIG_UNBLOCK)
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

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/supervisor"
	"golang.org/x/sys/unix"
)

// handOver puts a handover into the environment, with descriptors that are there.
func handOver(t *testing.T, change func(*supervisor.Handover)) {
	t.Helper()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile("/proc/self/comm", bytes.TrimSpace(comm), 0) })
	h := supervisor.Handover{PID: os.Getpid(), Path: "/opt/superd", From: "1", To: "2", Signals: []int{int(unix.SIGTERM), int(unix.SIGHUP)}}
	for _, fd := range []*int{&h.Lock, &h.Program, &h.Old} {
		if *fd, err = unix.Open(filepath.Join(t.TempDir(), "file"), unix.O_CREAT|unix.O_RDWR, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(&h)
	}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(supervisor.HandoverVariable, string(text))
}

func closesOnExec(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		t.Fatalf("descriptor %d: %v", fd, err)
	}
	return flags&unix.FD_CLOEXEC != 0
}

// TestTakeOver: what was handed over is used up, and what was not followed is.
func TestTakeOver(t *testing.T) {
	handOver(t, nil)
	signals := make(chan os.Signal, 8)
	before := takeOver(signals)
	if before == nil || before.From != "1" || before.old == nil {
		t.Fatalf("%+v", before)
	}
	defer before.lock.Close()
	defer before.old.Close()
	if _, there := os.LookupEnv(supervisor.HandoverVariable); there {
		t.Error("it is still in the environment")
	}
	if !closesOnExec(t, before.Lock) || !closesOnExec(t, before.Old) {
		t.Error("whatever superd executes has its descriptors")
	}
	if _, err := unix.FcntlInt(uintptr(before.Program), unix.F_GETFD, 0); err == nil {
		t.Error("the program's own descriptor is still open")
	}
	if first, second := <-signals, <-signals; first != unix.SIGTERM || second != unix.SIGHUP {
		t.Errorf("signals %v, %v", first, second)
	}
	var opt supervisor.Options
	if err := before.into(&opt); err != nil {
		t.Fatal(err)
	}
	if opt.Path != "/opt/superd" || opt.Handover.From != "1" || !closesOnExec(t, int(opt.Lock.Fd())) || opt.Lock.Fd() == before.lock.Fd() {
		t.Errorf("%+v", opt)
	}
	opt.Lock.Close()
}

// TestTakeOverOfNothing: a handover that is another process's, or none at all, is
// an ordinary start, and the variable goes in any case.
func TestTakeOverOfNothing(t *testing.T) {
	handOver(t, func(h *supervisor.Handover) { h.PID++ })
	other := os.Getenv(supervisor.HandoverVariable)
	for _, text := range []string{other, "", "nonsense", `{"PID":"x"}`} {
		t.Setenv(supervisor.HandoverVariable, text)
		if before := takeOver(make(chan os.Signal, 1)); before != nil {
			t.Errorf("%q: %+v", text, before)
		}
		if _, there := os.LookupEnv(supervisor.HandoverVariable); there {
			t.Errorf("%q is still in the environment", text)
		}
	}
}

// TestGuardOfAnOrdinaryStart: a superd that was given the process back fails as
// any other does.
func TestGuardOfAnOrdinaryStart(t *testing.T) {
	wrong := errors.New("wrong")
	fail := func() (*supervisor.Supervisor, error) { return nil, wrong }
	var none *takeover
	if _, err := none.guard(fail); !errors.Is(err, wrong) {
		t.Error(err)
	}
	lock, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&takeover{lock: lock}).guard(fail); !errors.Is(err, wrong) {
		t.Error(err)
	}
	if _, err := safely(func() (*supervisor.Supervisor, error) { panic("oh") }); err == nil || !strings.HasPrefix(err.Error(), "panic: oh\n") {
		t.Error(err)
	}
}

// TestLeftSignals: those that came are told, and stay where they are.
func TestLeftSignals(t *testing.T) {
	f := &front{signals: make(chan os.Signal, 3)}
	push(f.signals, unix.SIGUSR1, unix.SIGCHLD, unix.SIGTERM, unix.SIGHUP) // the last finds no room
	for range 2 {
		if got := f.left(); !slices.Equal(got, []syscall.Signal{unix.SIGUSR1, unix.SIGTERM}) {
			t.Errorf("left %v", got)
		}
	}
}

func TestOwnPath(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := t.TempDir() + "/superd"
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{link}
	if got := ownPath(); got != link {
		t.Errorf("started as %s: %s", link, got)
	}
	t.Setenv("PATH", filepath.Dir(link))
	os.Args = []string{"superd"}
	if got := ownPath(); got != link {
		t.Errorf("started as superd in %s: %s", filepath.Dir(link), got)
	}
	os.Args = []string{"/bin/true"} // a name that says nothing
	if got := ownPath(); got != exe {
		t.Errorf("%s is %s", exe, got)
	}
}

// gate is a writer that stands still until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	b    bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

// TestFlush waits for what was said, and for no reader for ever.
func TestFlush(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	q := newLineQueue(g, 1000, func(uint64, string) []byte { return nil })
	log := slog.New(logHandler(q, true))
	q.flush(time.Minute) // there is nothing
	log.Info("said")
	q.flush(time.Millisecond)
	if !q.writing() {
		t.Error("nobody has read it")
	}
	close(g.open)
	q.flush(time.Minute)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.Contains(g.b.String(), "said") {
		t.Errorf("got %q", g.b.String())
	}
	q.close(time.Minute)
}

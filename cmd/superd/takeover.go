package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/aim"
	"golang.org/x/sys/unix"
)

// readyPatience is how long a superd that has taken another one's place may take
// to recover before it gives the place back.
const readyPatience = 20 * time.Second

// takeover is how a superd that was executed in the place of another one begins.
// A nil one is an ordinary start.
type takeover struct {
	supervisor.Handover
	lock    *os.File
	old     *os.File // the program before; nil: there is nobody to give back to
	signals func() []syscall.Signal
	// settled is set once: when it is ready, or when it gives back.
	settled atomic.Bool
}

// takeOver finds out whether superd was executed in the place of another one. It
// leaves nothing of that in the environment, and no descriptor to what superd
// executes in its turn.
func takeOver(signals chan os.Signal) *takeover {
	text, ok := os.LookupEnv(supervisor.HandoverVariable)
	os.Unsetenv(supervisor.HandoverVariable)
	t := &takeover{signals: (&front{signals: signals}).left}
	if !ok || json.Unmarshal([]byte(text), &t.Handover) != nil || t.PID != os.Getpid() {
		return nil
	}
	aim.At("upgrade.executed")
	unix.Close(t.Program) // which was left open for the case that it is a script
	t.lock = inherited(t.Lock, "lock")
	if t.Old != 0 {
		t.old = inherited(t.Old, "the program before")
	}
	// It was executed by its descriptor, and is called after that now.
	os.WriteFile("/proc/self/comm", []byte(filepath.Base(t.Path)), 0)
	for _, number := range t.Signals {
		push(signals, syscall.Signal(number))
	}
	return t
}

func inherited(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// into tells a supervisor what it takes over.
func (t *takeover) into(opt *supervisor.Options) error {
	if t == nil {
		return nil
	}
	// A duplicate: should the supervisor fail and close its own, the lock is held on.
	fd, err := unix.FcntlInt(t.lock.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("cannot take over the lock: %w", err)
	}
	opt.Handover, opt.Lock, opt.Path = &t.Handover, os.NewFile(uintptr(fd), "lock"), t.Path
	return nil
}

// guard opens a supervisor. If that fails or takes too long, it gives the process
// back to the program before.
func (t *takeover) guard(open func() (*supervisor.Supervisor, error)) (*supervisor.Supervisor, error) {
	if t == nil {
		return open()
	}
	if t.old == nil { // it was given back to us
		s, err := open()
		t.lock.Close()
		return s, err
	}
	late := time.AfterFunc(readyPatience, func() {
		err := t.giveBack(fmt.Errorf("superd %s was not ready within %s", versionName(), readyPatience))
		complain(stderr, "superd:", err, "(going on)")
	})
	defer late.Stop()
	s, err := safely(open)
	if err != nil {
		return nil, t.giveBack(err)
	}
	if t.settled.Swap(true) {
		select {} // it was too late, and is given back in this moment
	}
	aim.At("upgrade.recovered")
	t.old.Close()
	t.lock.Close() // the supervisor has its own
	return s, nil
}

// safely makes an error of a panic.
func safely(open func() (*supervisor.Supervisor, error)) (s *supervisor.Supervisor, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return open()
}

// giveBack executes the program before. It returns only if it cannot.
func (t *takeover) giveBack(why error) error {
	if t.settled.Swap(true) {
		select {} // whoever was first goes on
	}
	complain(stderr, "superd:", why)
	h := t.Handover
	h.To, h.Signals = versionName(), nil
	h.Failed, _, _ = strings.Cut(why.Error(), "\n")
	err := h.Execute(t.old, os.Args, []*os.File{t.lock}, t.signals)
	return errors.Join(why, fmt.Errorf("cannot give back to superd %s: %w", t.From, err))
}

// ownPath is the path that superd was started by: what is put there later is what
// an upgrade takes. Where nobody can tell it is the program's own.
func ownPath() string {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return ""
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	path, err := config.LookPath(os.Args[0], dir, os.Getenv("PATH"))
	if err == nil && sameFile(path, "/proc/self/exe") {
		return path
	}
	return strings.TrimSuffix(exe, " (deleted)")
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

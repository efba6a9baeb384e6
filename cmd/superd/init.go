package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// As the first process of a container superd becomes the keeper, and superd its child:
// see keeper.Init, which says why. Here is what has to be known beforehand.

// Orphans become children of the first thread, and the keeper's loop must not be on
// it. So it is kept for who calls the keeper, before anything can take its place.
func init() {
	if os.Getpid() == 1 {
		runtime.LockOSThread()
	}
}

// isFirst tells whether this is the first process of a container, and superd not here
// already: an upgrade from a superd that did not know of containers stays what it was.
func isFirst() bool { return os.Getpid() == 1 && os.Getenv(supervisor.HandoverVariable) == "" }

// beFirst is the first process of a container, until superd has ended.
func beFirst(file string) error {
	if err := proc.CheckProc(); err != nil {
		return fmt.Errorf("cannot be the first process of a container: %w", err)
	}
	// A configuration that is refused has the container end at once. What it says is
	// superd's to know: here it is only where the keeper is to be called.
	cfg, err := load(file, nil)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.RuntimeDir, 0o755); err != nil {
		return fmt.Errorf("cannot make runtime_dir: %w", err)
	}
	opt := keeper.InitOptions{Dir: strings.Clone(cfg.RuntimeDir), Path: ownPath(), Signals: proc.FirstSignals(),
		Run: os.Args, Leftovers: []string{os.Args[0], "leftovers"},
		LeftoversEnv: []string{"RUNTIME_DIRECTORY=" + cfg.RuntimeDir, "STATE_DIRECTORY=" + cfg.StateDir, "LOGS_DIRECTORY=" + cfg.LogDir}}
	if file != "" {
		opt.Leftovers = append(opt.Leftovers, "-c", file)
	}
	people := term.IsTerminal(int(os.Stderr.Fd()))
	// As they were given: ours will not wait, and superd's are its own affair.
	if opt.Stdout, err = duplicate(1); err != nil {
		return err
	}
	if opt.Stderr, err = duplicate(2); err != nil {
		return err
	}
	stderr = ownStderr()
	log, lines := ownLog(stderr, people)
	defer lines.close(lastWords)
	opt.Log = func(m string) { log.Warn(m) }
	if code := keeper.Init(opt); code != exitDone {
		return &exitError{code: code}
	}
	return nil
}

func duplicate(fd int) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("cannot pass descriptor %d on to superd: %w", fd, err)
	}
	return os.NewFile(uintptr(dup), strconv.Itoa(fd)), nil
}

// takesSignals tells the first process of the container, if that has started superd,
// that no signal ends superd by its default action any more.
func takesSignals() {
	fd, err := strconv.Atoi(os.Getenv(keeper.ReadyVariable))
	os.Unsetenv(keeper.ReadyVariable)
	if err != nil || fd < 3 || !keeper.UnderInit() {
		return
	}
	unix.Write(fd, []byte{1})
	unix.Close(fd)
}

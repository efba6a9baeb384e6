package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/service"
	"golang.org/x/term"
)

// load reads and checks the configuration. With resolve it looks at the workers'
// directories too, which may hang with a dead file server: superd itself does not.
func load(file string, resolve func(string) (string, error)) (*config.Config, error) {
	if file == "" {
		file = config.DefaultFile()
	}
	if file == "" {
		return nil, &exitError{exitConfig, errors.New("cannot find a configuration: neither HOME nor XDG_CONFIG_HOME is set (give one with -c FILE)")}
	}
	return config.Load(file, config.Options{CgroupAvailable: cgroupAvailable, Resolve: resolve})
}

// cgroupAvailable says why runs cannot have a cgroup of their own, or nil.
func cgroupAvailable() error {
	_, err := proc.CgroupRoot()
	return err
}

func check(file string) error {
	cfg, err := load(file, filepath.EvalSymlinks)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
	workers := 0
	for _, p := range cfg.Pools {
		workers += p.Count
	}
	fmt.Printf("%s is fine: %d pools, %d workers\n", cfg.File, len(cfg.Pools), workers)
	return nil
}

// maxProcs is how many processors superd uses at most.
const maxProcs = 4

// spareThreads is how many threads superd has beforehand. It needs more only when
// file systems hang for as many at once; refused one then, it dies, and the next
// superd goes on.
const spareThreads = 24

// How much garbage there may be beside what lives, in percent of it. A start is short,
// and nobody is to wait while it is looked for. After that what lives is small, and
// half as much beside it costs no time to speak of.
const (
	startGarbage = 400
	restGarbage  = 50
)

// recoverPatience is more than a start may take: a predecessor that dies slowly, a
// keeper that hangs and directories on a dead file server all come to less.
const recoverPatience = 3 * time.Minute

// runSuperd recovers, serves and supervises until superd is told to end.
func runSuperd(file string) error {
	if isFirst() {
		return beFirst(file)
	}
	// From the first moment on no signal may end superd by its default action.
	// What arrives before it can be followed waits here.
	signals := make(chan os.Signal, 64)
	catchAll(signals)
	takesSignals()
	if err := proc.CheckProc(); err != nil {
		return fmt.Errorf("cannot supervise processes: %w", err)
	}
	path := ownPath()
	before := takeOver(signals)
	// More than these few find nothing to do; and a number that was set is not
	// looked up again and again by the runtime of a superd that is idle.
	runtime.GOMAXPROCS(min(runtime.NumCPU(), maxProcs))
	proc.SpareThreads(spareThreads)
	debug.SetGCPercent(startGarbage)
	// A panic ends superd by SIGABRT. Go's usual exit code for it is 2, which says
	// that the configuration was refused, and whoever restarts superd heeds that.
	debug.SetTraceback("crash")
	people := term.IsTerminal(int(os.Stderr.Fd()))
	stderr = ownStderr()
	log, lines := ownLog(stderr, people)
	defer lines.close(lastWords)
	f := &front{signals: signals, log: log, lines: lines}
	s, err := before.guard(func() (*supervisor.Supervisor, error) { return open(file, path, f, before) })
	if err != nil {
		return err
	}
	debug.SetGCPercent(restGarbage)
	lines.watch(func() { s.Degrade("log", lines.Losing) })
	f.begin(s)
	code := s.Run()
	f.end()
	if code != exitDone {
		return &exitError{code: code}
	}
	return nil
}

// open recovers what there is.
func open(file, path string, f *front, before *takeover) (*supervisor.Supervisor, error) {
	cfg, err := load(file, nil)
	if err != nil {
		return nil, &notStarted{err}
	}
	for _, w := range cfg.Warnings {
		f.log.Warn(w.String())
	}
	manager := service.Find(func(m string) { f.log.Warn(m) })
	// After an upgrade it is the watchdog that may have had to wait.
	manager.Tell(service.Extend(recoverPatience), service.Alive, service.Status("recovering"))
	opt := supervisor.Options{Config: cfg, Version: versionName(), Log: f.log, Service: manager,
		Load: func() (*config.Config, error) { return load(cfg.File, nil) },
		Path: path, Args: os.Args, Contained: keeper.UnderInit(),
		Outside: supervisor.Outside{Suspend: f.suspend, Signals: f.left, Resume: f.resume},
	}
	if err := before.into(&opt); err != nil {
		return nil, err
	}
	if err := fault(before); err != nil {
		return nil, err
	}
	return supervisor.Open(opt)
}

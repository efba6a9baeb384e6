package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc/server"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/proc"
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

// runSuperd recovers, serves and supervises until superd is told to end.
func runSuperd(file string) error {
	// From the first moment on no signal may end superd by its default action.
	// What arrives before it can be followed waits here.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	// More than these few find nothing to do; and a number that was set is not
	// looked up again and again by the runtime of a superd that is idle.
	runtime.GOMAXPROCS(min(runtime.NumCPU(), maxProcs))
	// What lives is small; half as much garbage beside it costs no time to speak of.
	debug.SetGCPercent(50)
	// A panic ends superd by SIGABRT. Go's usual exit code for it is 2, which says
	// that the configuration was refused, and whoever restarts superd heeds that.
	debug.SetTraceback("crash")
	people := term.IsTerminal(int(os.Stderr.Fd()))
	stderr = ownStderr()
	cfg, err := load(file, nil)
	if err != nil {
		return err
	}
	log, lines := ownLog(stderr, people)
	defer lines.close(lastWords)
	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	s, err := supervisor.Open(supervisor.Options{Config: cfg, Version: versionName(), Log: log,
		Load: func() (*config.Config, error) { return load(cfg.File, nil) }})
	if err != nil {
		return err
	}
	lines.watch(func() { s.Degrade("log", lines.Losing) })
	web := server.New(s, server.Options{Log: func(m string) { log.Warn(m) }})
	go func() {
		if err := web.Serve(s.Listener()); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("the control socket is not served any more", "error", err)
		}
	}()
	go follow(s, signals, log)
	code := s.Run()
	// Whoever still waits for an answer gets it, but not for ever.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = web.Shutdown(ctx)
	if code != exitDone {
		return &exitError{code: code}
	}
	return nil
}

// follow does what the signals to superd ask for.
func follow(s *supervisor.Supervisor, signals <-chan os.Signal, log *slog.Logger) {
	ctx := context.Background()
	for sig := range signals {
		switch sig {
		case syscall.SIGTERM, syscall.SIGINT:
			go func() { _ = s.Shutdown(ctx, false, false, "signal "+sig.String()) }()
			continue
		case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGXFSZ:
			continue // the runtime's business, or an error where it was caused
		}
		go func() {
			if err := s.Forward(ctx, sig); err != nil {
				log.Warn("cannot pass a signal on", "signal", sig.String(), "error", err)
			}
			if sig != syscall.SIGHUP {
				return
			}
			if _, err := s.Apply(ctx, "signal HUP"); err != nil {
				log.Error("the configuration was refused, nothing was changed", "error", err)
			}
		}()
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc/server"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/service"
	"golang.org/x/term"
)

// leftovers ends the workers and the keeper of a superd that lives no more.
func leftovers(file string) error {
	// Whoever ends it by TERM or INT may do so: called again, it goes on.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGHUP, syscall.SIGPIPE)
	cfg, wrong := load(file, nil)
	if wrong != nil {
		// What it takes to end them is in superd's records.
		var err error
		if cfg, err = config.LoadBytes("built-in", nil, config.Options{}); err != nil {
			return wrong
		}
		for name, dir := range map[string]*string{"RUNTIME": &cfg.RuntimeDir, "STATE": &cfg.StateDir, "LOGS": &cfg.LogDir} {
			if known := os.Getenv(name + "_DIRECTORY"); known != "" { // of the unit
				*dir = known
			}
		}
	}
	log, lines := ownLog(stderr, term.IsTerminal(int(os.Stderr.Fd())))
	defer lines.close(lastWords)
	opt := supervisor.Options{Config: cfg, Version: versionName(), Log: log, Service: service.Find(func(m string) { log.Warn(m) }),
		Load: func() (*config.Config, error) { return nil, errors.New("superd is being stopped") }}
	ask := supervisor.UnitStops
	if os.Getenv("SERVICE_RESULT") == "" { // it is no service manager's ExecStopPost=
		ask = nil
	}
	s, err := supervisor.OpenLeftovers(opt, ask)
	switch {
	case err == supervisor.ErrRunning: // not one that has the state_dir alone: that comes with words of its own
		fmt.Fprintf(os.Stderr, "superd: nothing is touched: a superd lives in %s\n", cfg.RuntimeDir)
		return nil
	case err != nil:
		return err
	case s == nil:
		return wrong // nothing is left, or it is not to be ended; perhaps it was looked for in the wrong place
	}
	web := server.New(s, server.Options{Log: func(m string) { log.Warn(m) }})
	go web.Serve(s.Listener()) // who asks for the status is told
	if code := s.Run(); code != exitDone {
		return &exitError{code: code}
	}
	return nil
}

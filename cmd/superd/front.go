package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/superd/superd/rpc/server"
	"github.com/superd/superd/supervisor"
)

// front is the side of superd that others see: the control socket, the signals
// and superd's own log.
type front struct {
	s       *supervisor.Supervisor
	log     *slog.Logger
	lines   *lineQueue
	signals chan os.Signal

	mu   sync.Mutex
	web  *server.Server // nil: nobody is answered
	stop chan struct{}  // closed: follow no more signals
	busy sync.WaitGroup // whoever follows, and what is done then
}

// endPatience is how long answers that are under way may take when superd ends.
const endPatience = time.Second

// begin answers and follows.
func (f *front) begin(s *supervisor.Supervisor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	web := server.New(s, server.Options{Log: func(m string) { f.log.Warn(m) }})
	stop := make(chan struct{})
	f.s, f.web, f.stop = s, web, stop
	listener := s.Listener()
	go func() {
		if err := web.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			f.log.Error("the control socket is not served any more", "error", err)
		}
	}()
	f.busy.Go(func() { f.follow(stop) })
}

// end lets answers come to their end, but not for ever: whoever still waits gets
// one. Calls that come later wait in the socket's backlog.
func (f *front) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.web == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	close(f.stop)
	_ = f.web.Shutdown(ctx)
	f.web = nil
}

// suspend is end for a superd whose place another program takes: signals that came
// before are passed on to the supervisor, later ones wait.
func (f *front) suspend() {
	f.end()
	done := make(chan struct{})
	go func() { f.busy.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(endPatience):
	}
	f.lines.flush(lastWords)
}

// resume goes on after suspend.
func (f *front) resume() { f.begin(f.s) }

// left are the signals that came after suspend. They stay where they are, should
// this program go on.
func (f *front) left() (left []syscall.Signal) {
	var again []os.Signal
	for len(f.signals) > 0 {
		sig := <-f.signals
		again = append(again, sig)
		if number, ok := sig.(syscall.Signal); ok && !unasked(sig) {
			left = append(left, number)
		}
	}
	push(f.signals, again...)
	return left
}

// push has signals followed as though they came now.
func push(to chan<- os.Signal, signals ...os.Signal) {
	for _, sig := range signals {
		select {
		case to <- sig:
		default: // as many wait as can
		}
	}
}

// catchAll has every signal that may mean something wait in a channel. The others are
// caught too, and fall by the wayside: Go's own, which come by the hundred while superd
// recovers, would leave no room for them.
func catchAll(to chan<- os.Signal) {
	var asked, noise []os.Signal
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if unasked(sig) {
			noise = append(noise, sig)
		} else {
			asked = append(asked, sig)
		}
	}
	signal.Notify(to, asked...)
	signal.Notify(make(chan os.Signal, 1), noise...)
}

// unasked are signals that nobody sends to ask for something: the runtime's
// business, or an error where it was caused.
func unasked(sig os.Signal) bool {
	switch sig {
	case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGXFSZ:
		return true
	}
	return false
}

// follow does what the signals to superd ask for.
func (f *front) follow(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		select {
		case <-stop:
			return
		case sig := <-f.signals:
			if !unasked(sig) {
				f.busy.Go(func() { f.do(sig) })
			}
		}
	}
}

// do does what one signal asks for.
func (f *front) do(sig os.Signal) {
	ctx := context.Background()
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		_ = f.s.Shutdown(ctx, false, false, "signal "+sig.String())
		return
	case syscall.SIGABRT:
		// It comes from a service manager to whom the loop seems to be stuck: what
		// all goroutines do goes to standard error, and that was the end.
		signal.Reset(syscall.SIGABRT)
		_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
		return
	}
	if err := f.s.Forward(ctx, sig); err != nil {
		f.log.Warn("cannot pass a signal on", "signal", sig.String(), "error", err)
	}
	switch sig {
	case syscall.SIGHUP:
		if _, err := f.s.Apply(ctx, "signal HUP"); err != nil {
			f.log.Error("the configuration was refused, nothing was changed", "error", err)
		}
	case syscall.SIGUSR2:
		_, _ = f.s.Upgrade(ctx, "", "signal USR2") // it tells what is wrong itself
	}
}

package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/logs"
	"github.com/superd/superd/supervisor/service"
)

// Options is what a supervisor is made of.
type Options struct {
	Config  *config.Config // accepted
	Version string
	// Load reads the configuration files anew, for Apply. It may wait for a disk.
	Load func() (*config.Config, error)
	// Exe is the program that is the keeper when told to; empty: /proc/self/exe.
	Exe string
	Log *slog.Logger
	// Service is told how superd is; nil: nobody.
	Service *service.Manager
	// Contained means that superd's end is that of the container that it is in, and of
	// everything there: it cannot leave its workers running.
	Contained bool
	// leftovers: nothing is started, and all that lives is ended.
	leftovers bool

	// For upgrades: by which path and with which arguments superd was started, and
	// what surrounds it. Without the latter there are none.
	Path    string
	Args    []string
	Outside Outside
	// Handover is what the superd before told, whose place this one has taken, and
	// Lock the lock that it held; nil: this is an ordinary start.
	Handover *Handover
	Lock     *os.File
}

// Supervisor runs the pools of one configuration. Its methods are safe for
// concurrent use.
type Supervisor struct {
	opt      Options
	log      *slog.Logger
	started  time.Time
	lock     *os.File
	listener net.Listener
	records  *records
	logs     *logs.Manager
	clock    *alarmClock
	history  *history
	show     *showcase
	inbox    *inbox
	requests chan request
	done     chan struct{} // closed when Run has ended
	rest     *rest
	sampler  sampler
	titles   titles
	accounts accounts
	applying sync.Mutex // one Apply at a time
	helpers  helpers
	doors    doors
	resolver resolver

	upgrading sync.Mutex // one Upgrade at a time

	config atomic.Pointer[config.Config] // in force
	// known are numbers of operators and viewers that only name services have;
	// see learnNames. It is set on the loop.
	known atomic.Pointer[map[string]uint32]

	doubted atomic.Bool // recheckSoon was called, and the loop has not come to it

	// Below is the loop's alone.
	state    *core.State
	keepers  *keepers
	prepare  *preparer
	replies  map[uint64]chan<- core.Reply
	nextRef  uint64
	adopted  int
	unsure   bool // it could not be found out of some run whether it lives
	awaited  bool // what lives is about to be compared again
	oom      victims
	pending  bool     // the files on disk were refused
	damage   []string // what could not be read at the start, and what else was found amiss
	unread   []string // what could not be read: by this recovery, or one before that failed
	emptied  bool     // there was nothing in state_dir, for the first of them
	trouble  map[string]string
	watcher  watcher
	places   places
	draining map[string]bool // ended runs whose logs are still read
	stopping bool
	catching bool // the runtime records are about to be written again
	reporter reporter
	given    bool // the control socket is the service manager's
	doomed   int  // the superd before, whose lock was taken over; 0: it had let go of it
	quit     *core.Quit
}

var _ API = (*Supervisor)(nil)

// ErrStopped is the answer to whoever asks a supervisor that has ended.
var ErrStopped = errors.New("superd has been stopped")

// request is something that the loop is to do for somebody.
type request func()

// Listener is the control socket, bound and held where it outlives superd. It is
// served on when its name was deleted and the socket made again. Each call gives
// one of its own, which is the caller's to close: the socket stays. Once Run has
// begun it is for the loop to call.
func (s *Supervisor) Listener() net.Listener {
	l := s.listener
	if own, err := again(l.(*net.UnixListener)); err == nil {
		l = own
	}
	return s.doors.open(l)
}

// Snapshot implements API.
func (s *Supervisor) Snapshot() (*Snapshot, <-chan struct{}) {
	s.rest.stir()
	return s.show.get()
}

// Events implements API.
func (s *Supervisor) Events(seq uint64, limit int) ([]Event, uint64, <-chan struct{}) {
	return s.history.after(seq, limit)
}

// ask has the loop do something, in order and between two steps.
func (s *Supervisor) ask(ctx context.Context, do request) error {
	select {
	case s.requests <- do:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return ErrStopped
	}
}

// Do implements API.
func (s *Supervisor) Do(ctx context.Context, c core.Command) (core.Reply, error) {
	if c.Verb == core.VerbRestart && len(c.Workers) == 0 {
		// A restart takes what `directory` means now.
		if p := s.config.Load().Pools[c.Pool]; p != nil {
			ctx, cancel := context.WithTimeout(ctx, resolvePatience)
			c.Release = s.release(ctx, p)
			cancel()
		}
	}
	observe := func() {}
	if c.Verb == core.VerbRestart {
		observe = s.lookBefore(ctx, c.Pool)
	}
	answer := make(chan core.Reply, 1)
	err := s.ask(ctx, func() {
		observe()
		s.nextRef++
		s.replies[s.nextRef] = answer
		s.step(core.Do{Ref: s.nextRef, Command: c})
	})
	if err != nil {
		return core.Reply{}, err
	}
	select {
	case r := <-answer:
		return r, nil
	case <-ctx.Done():
		return core.Reply{}, ctx.Err()
	case <-s.done:
		return core.Reply{}, ErrStopped
	}
}

// Shutdown implements API. It returns when the end has begun.
func (s *Supervisor) Shutdown(ctx context.Context, now, detach bool, by string) error {
	if detach && s.opt.Contained {
		return &core.Refusal{Kind: core.RefuseConflict, Message: "cannot leave the workers running: the container ends when superd has ended, and they with it " +
			"(superctl upgrade replaces superd in place, superctl shutdown stops the workers first)"}
	}
	begun := make(chan struct{})
	err := s.ask(ctx, func() {
		s.step(core.Leave{Now: now, Detach: detach, By: by})
		close(begun)
	})
	if err != nil {
		return err
	}
	<-begun
	return nil
}

// Forward passes a signal that superd got on to the pools that ask for it.
func (s *Supervisor) Forward(ctx context.Context, sig os.Signal) error {
	for _, c := range s.forwards(sig) {
		if _, err := s.Do(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Degrade has status say that something outside of the supervisor does not work
// as it should, as long as why gives a reason. why is asked soon, on the loop; what
// names the thing. It never blocks.
func (s *Supervisor) Degrade(what string, why func() string) {
	s.inbox.put(func() { s.degrade(what, why()) })
}

// degrade notes that something does not work as it should, or does again when
// why is empty. It is called on the loop.
func (s *Supervisor) degrade(what, why string) {
	if s.trouble[what] == why {
		return
	}
	if why == "" {
		delete(s.trouble, what)
	} else {
		s.trouble[what] = why
		s.publish(core.Notice{Type: "superd.degraded", Message: why})
	}
	s.show.info = true
}

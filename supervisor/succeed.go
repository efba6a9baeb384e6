package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
)

// How one keeper follows another: after its death, or while it lives, because superd
// speaks a newer version by now.

func (s *Supervisor) keeperOptions() keeper.Options {
	return keeper.Options{Exe: s.opt.Exe, Log: func(m string) { s.log.Warn("keeper: " + m) }}
}

// succeedPause is how long after a failure a newer keeper is tried again.
const succeedPause = 10 * time.Second

// succeed starts a keeper of superd's own version if the current one is older. It
// comes when superd is there for good: until then the program before can be given
// the process back, which may know of one keeper only.
func (s *Supervisor) succeed() {
	old := s.keepers.current()
	if old.Outdated() && !s.opt.leftovers && s.quit == nil {
		if s.places.asked {
			s.succeedLater(old, fmt.Errorf("cannot start a keeper of version %d: the socket of the one of version %d, pid %d, was deleted and is being made again",
				keeper.Version, old.Version(), old.PID()))
			return
		}
		next, err := old.Succeed(s.keeperOptions())
		if err != nil {
			s.succeedLater(old, err)
			return
		}
		aim.At("succeed.started")
		s.keepers.add(next)
		s.agreed()
		s.degrade("succeed", "")
		s.rememberKeepers()
		s.show.info = true
		s.publishState() // whoever is told of it finds it so
		s.publish(core.Notice{Type: "keeper.started", PID: next.PID(),
			Message: fmt.Sprintf("version %d; that of version %d, pid %d, stays until its last run has ended", next.Version(), old.Version(), old.PID())})
		s.gather()
		aim.At("succeed.gathered")
	}
	for _, c := range s.keepers.former() {
		s.keepers.endIdle(c)
	}
}

func (s *Supervisor) succeedLater(old *keeper.Client, why error) {
	s.degrade("succeed", fmt.Sprintf("%v (the one of version %d goes on; another one is tried every %s)", why, old.Version(), succeedPause))
	time.AfterFunc(succeedPause, func() { s.inbox.put(s.succeed) })
}

// gather has the current keeper hold what must not end with a former one. What does
// not succeed is for the next superd to do.
func (s *Supervisor) gather() {
	ctx, cancel := context.WithTimeout(context.Background(), listPatience)
	defer cancel()
	for _, c := range s.keepers.former() {
		if err := s.keepers.gather(ctx, c); err != nil {
			s.log.Warn("a former keeper still holds what is not its own", "pid", c.PID(), "error", err)
		}
	}
}

// keeperLost has what lives watched by the current keeper, and gets another one if it
// is that one that is lost.
func (s *Supervisor) keeperLost(c *keeper.Client) {
	if s.keepers.ended(c) {
		s.keepers.drop(c)
		s.agreed()
		c.Close()
		c.Forget()
		s.log.Info("a former keeper has ended with its last run", "pid", c.PID())
		return
	}
	s.publish(core.Notice{Type: "keeper.lost", PID: c.PID(), Message: fmt.Sprint(c.Err())})
	// Recorded at once: who knows who dies before another keeper can be told.
	s.state.Doubt(now(), func(p *core.Pool, w *core.Worker) { s.recorded(s.records.saveWorker(p, w)) })
	if c.Hung() {
		s.degrade("keeper", fmt.Sprintf("the keeper, pid %d, does not answer: it is killed and another one started", c.PID()))
		if err := c.Kill(); err != nil {
			s.log.Error("the old keeper stays", "error", err)
		}
	}
	c.Close()
	if c == s.keepers.current() {
		s.replaceKeeper(c)
	} else if words := c.Forget(); words != "" {
		s.log.Warn("keeper: a former one has died" + words)
	}
	s.keepers.drop(c)
	s.degrade("keeper", "")
	s.rehold()
	aim.At("lost.reheld")
	s.recheck()
}

// replaceKeeper gets another current keeper.
func (s *Supervisor) replaceKeeper(c *keeper.Client) {
	s.mend() // a keeper that is to be started needs its folder
	opts := s.keeperOptions()
	for _, former := range s.keepers.former() {
		opts.Beside = append(opts.Beside, former.PID())
	}
	client, started, err := keeper.Dial(s.opt.Config.RuntimeDir, opts)
	if err != nil {
		// Without a keeper nothing can be started or stopped. A superd that starts
		// anew tries again, and loses nothing.
		panic(fmt.Sprintf("cannot start another keeper: %v", err))
	}
	aim.At("lost.dialed")
	s.keepers.add(client)
	s.show.info = true
	s.publishState() // whoever is told of it finds it so
	if started {
		s.publish(core.Notice{Type: "keeper.started", PID: client.PID()})
	}
	s.rememberKeepers()
}

// rehold gives the current keeper what a lost one held: the control socket, and what
// must not be lost of the logs.
func (s *Supervisor) rehold() {
	if err := s.holdListener(); err != nil {
		s.log.Warn("calls may fail while superd is away", "error", err)
	}
	if err := s.logs.Rehold(s.keepers.Hold); err != nil {
		s.log.Warn("last words may be lost if superd dies as well", "error", err)
	}
}

// endKeepers ends all keepers when superd ends, or leaves them alone if it was told to.
// Each has its own time: one that hangs must not leave the others behind.
func (s *Supervisor) endKeepers() {
	end := func(c *keeper.Client) error {
		ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
		defer cancel()
		return c.End(ctx)
	}
	for _, c := range slices.Backward(s.keepers.list()) { // the current one is the last
		if s.quit.Detached {
			c.Close()
			continue
		}
		// A former one may have been told to end with its last run, a moment ago.
		if err := end(c); err != nil && !(errors.Is(err, keeper.ErrLost) && s.keepers.ended(c)) {
			s.log.Warn("the keeper stays", "pid", c.PID(), "error", err)
			continue
		}
		c.Forget()
	}
	s.keepers.close()
}

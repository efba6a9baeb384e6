package core

import (
	"fmt"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
)

// afterEnd decides what follows a run that ended by itself: a restart by the
// pool's policy, or rest.
func (s *State) afterEnd(p *Pool, w *Worker, exit *Exit) {
	r := &p.Config.Restart
	if exit.Success {
		w.Failures = 0
	} else {
		w.Failures++
	}
	if restarts(r, exit) {
		s.schedule(p, w, exit)
	} else {
		s.retire(p, w, exit)
	}
}

// restarts tells whether a policy lets a run that ended like this have a successor.
func restarts(r *config.Restart, exit *Exit) bool {
	return r.Attempts > 0 && (r.On == config.RestartAlways || r.On == config.RestartFailure && !exit.Success)
}

// schedule sets the instant of the next restart, or gives the worker up when
// the window is used up and the mode is fail.
func (s *State) schedule(p *Pool, w *Worker, exit *Exit) {
	r := &p.Config.Restart
	wait := s.spread(backoff(r, w.Failures), r.Jitter)
	at := s.now.Add(wait)
	opens := w.windowOpens(r, at)
	if opens > at.Boot && r.Mode == config.ModeFail {
		s.fail(p, w, exit, usedUp(r))
		return
	}
	if opens > at.Boot {
		s.delay(p, w, opens)
		return
	}
	w.NextStart = at
	s.publish(p, w, "worker.restarting", "in "+signals.FormatDuration(wait.Round(time.Millisecond)),
		map[string]any{"delay": wait.Seconds()})
	if wait <= 0 {
		s.restart(p, w, cue{})
		return
	}
	s.setState(w, Backoff)
}

// delay makes a worker wait until the oldest restart has left its window.
func (s *State) delay(p *Pool, w *Worker, opens time.Duration) {
	w.NextStart = s.now.Add(opens - s.now.Boot)
	if w.State != Delayed {
		s.setState(w, Delayed)
	}
	s.publish(p, w, "worker.delayed", fmt.Sprintf("%s, the next one in %s",
		usedUp(&p.Config.Restart), signals.FormatDuration((opens-s.now.Boot).Round(time.Millisecond))),
		map[string]any{"until": w.NextStart.Wall.UTC()})
}

func usedUp(r *config.Restart) string {
	return fmt.Sprintf("%d restarts in %s are used up", r.Attempts, signals.FormatDuration(r.Interval))
}

// restart starts a worker whose time has come. The policy is asked once more: it
// may have changed in between, and what holds then holds.
func (s *State) restart(p *Pool, w *Worker, _ cue) {
	if s.now.Boot < w.NextStart.Boot {
		return // it was the deployment's deadline, not this one
	}
	r := &p.Config.Restart
	opens := w.windowOpens(r, s.now)
	switch {
	case !s.wanted(p, w): // superd is being stopped, and others lean on this pool
		s.rest(p, w)
		return
	case !restarts(r, w.LastExit):
		s.retire(p, w, w.LastExit)
		return
	case opens > s.now.Boot && r.Mode == config.ModeFail:
		s.fail(p, w, w.LastExit, usedUp(r))
		return
	case opens > s.now.Boot:
		s.delay(p, w, opens)
		return
	}
	w.Window = append(w.inWindow(r.Interval, s.now), s.now.Boot)
	w.Restarts++
	s.launch(p, w)
	w.Run.Restart = true
}

// retire leaves a worker at rest that is not to be restarted.
func (s *State) retire(p *Pool, w *Worker, exit *Exit) {
	if !exit.Success {
		s.fail(p, w, exit, "it is not to be restarted")
		return
	}
	w.NextStart = Time{}
	s.setState(w, Completed)
	s.publish(p, w, "worker.completed", exit.Reason, nil)
}

// fail leaves a worker at rest that is not what it should be.
func (s *State) fail(p *Pool, w *Worker, exit *Exit, why string) {
	w.NextStart = Time{}
	s.setState(w, Failed)
	s.publish(p, w, "worker.failed", exit.Reason+"; "+why, nil)
}

// backoff is the wait before a restart after so many failures in a row: delay,
// doubled with each but the first, up to max_delay.
func backoff(r *config.Restart, failures int) time.Duration {
	wait := r.Delay
	for ; failures > 1 && 0 < wait && wait < r.MaxDelay; failures-- {
		if wait > r.MaxDelay/2 {
			return r.MaxDelay // doubled it would be more, or more than there is room for
		}
		wait *= 2
	}
	return wait
}

// inWindow are the restarts that count at an instant: those younger than the
// interval. A stamp from the future can only be damage, and counts for nothing.
func (w *Worker) inWindow(interval time.Duration, at Time) []time.Duration {
	kept := make([]time.Duration, 0, len(w.Window)+1)
	for _, stamp := range w.Window {
		if stamp <= at.Boot && at.Boot-stamp < interval {
			kept = append(kept, stamp)
		}
	}
	return kept
}

// windowOpens is the first instant, not before at, at which one more restart
// leaves no interval with more than attempts of them.
func (w *Worker) windowOpens(r *config.Restart, at Time) time.Duration {
	counting := w.inWindow(r.Interval, at)
	if len(counting) < r.Attempts || r.Attempts == 0 { // with none, nobody asks
		return at.Boot
	}
	return counting[len(counting)-r.Attempts] + r.Interval
}

// WindowUsed is how many restarts count against a worker's attempts at an instant.
func (w *Worker) WindowUsed(interval time.Duration, at Time) int {
	return len(w.inWindow(interval, at))
}

package core

import (
	"fmt"
	"slices"
)

// Check tells what contradicts itself in a state between two steps; nil: nothing
// does. It is for tests, and for whoever doubts: it costs a walk over everything
// and changes nothing. What must hold over time (windows, signals, answers) is
// for a history to say, not for one state.
func (s *State) Check() error {
	for _, name := range s.names() {
		p := s.Pools[name]
		if p.Name != name {
			return fmt.Errorf("pool %s is kept under the name %s", p.Name, name)
		}
		if err := s.checkPool(p); err != nil {
			return fmt.Errorf("pool %s: %w", name, err)
		}
	}
	if err := s.checkRuns(); err != nil {
		return err
	}
	if len(s.out)+len(s.drops)+len(s.dirtyPools)+len(s.dirtyWorkers)+len(s.unsettled) > 0 {
		return fmt.Errorf("a step has left something undone")
	}
	return s.checkAlarms()
}

// checkPool looks at a pool and its workers.
func (s *State) checkPool(p *Pool) error {
	switch {
	case p.Config == nil || p.Config.Name != p.Name:
		return fmt.Errorf("its configuration is another pool's")
	case p.Revision(p.Target) == nil:
		return fmt.Errorf("its target, revision %d, is not among its revisions", p.Target)
	case p.Stable != 0 && p.Revision(p.Stable) == nil:
		return fmt.Errorf("its stable revision %d is not among its revisions", p.Stable)
	case p.Removed && (p.Desired == Up || p.Deployment != nil):
		return fmt.Errorf("it was removed and is still desired or deployed")
	case p.Removed && p.live() == 0:
		return fmt.Errorf("it was removed, has no run left and is still there")
	case !p.Removed && len(p.Workers) < p.Count:
		return fmt.Errorf("it has %d workers of %d", len(p.Workers), p.Count)
	case p.waiting() == p.WaitsUntil.IsZero():
		return fmt.Errorf("it waits for %v until %v", p.WaitsFor, p.WaitsUntil.Boot)
	case p.waiting() && s.Leaving == nil && len(slices.DeleteFunc(slices.Clone(s.held), func(q *Pool) bool { return q != p })) != 1:
		return fmt.Errorf("it waits for others, and is not looked at exactly once when they change")
	case len(p.Workers) > p.Count && p.Workers[len(p.Workers)-1].Run == nil:
		return fmt.Errorf("%s is beyond the count, has no run and is still there", p.worker(p.Workers[len(p.Workers)-1]))
	}
	if err := p.checkDeployment(); err != nil {
		return err
	}
	for i, w := range p.Workers {
		if w.Index != i {
			return fmt.Errorf("worker %d stands in place %d", w.Index, i)
		}
		err := w.checkShape()
		if err == nil {
			err = s.checkWish(p, w)
		}
		if err == nil {
			err = w.checkPast(s.now)
		}
		if err != nil {
			return fmt.Errorf("%s is %s: %w", p.worker(w), w.State, err)
		}
	}
	return nil
}

// checkDeployment looks at the running deployment and at those that have ended.
func (p *Pool) checkDeployment() error {
	if d := p.Deployment; d != nil {
		switch {
		case d.State != DeployRunning || !d.EndedAt.IsZero():
			return fmt.Errorf("its deployment %s is %s and has not been put aside", d.ID, d.State)
		case d.To != p.Target:
			return fmt.Errorf("its deployment goes to revision %d, its target is %d", d.To, p.Target)
		}
	}
	seen := map[string]bool{}
	for _, d := range p.Past {
		if d.State == DeployRunning || d.EndedAt.IsZero() || seen[d.ID] || p.Deployment != nil && d.ID == p.Deployment.ID {
			return fmt.Errorf("deployment %s has not ended exactly once", d.ID)
		}
		seen[d.ID] = true
	}
	return nil
}

// checkShape tells whether a worker has what its state needs, and nothing else:
// a state that is not at rest has a run, or an instant that it waits for.
func (w *Worker) checkShape() error {
	run := w.Run
	switch w.State {
	case Stopped, Failed, Completed, Backoff, Delayed:
		waits := w.State == Backoff || w.State == Delayed
		switch {
		case run != nil:
			return fmt.Errorf("it has the run %s", run.ID)
		case w.NextStart.IsZero() == waits:
			return fmt.Errorf("its next start is at %v", w.NextStart.Boot)
		case w.Again:
			return fmt.Errorf("a run is wanted after one that is not there")
		}
		return nil
	}
	switch {
	case run == nil:
		return fmt.Errorf("it has no run")
	case !w.NextStart.IsZero():
		return fmt.Errorf("it has a run, and waits for %v", w.NextStart.Boot)
	}
	switch w.State {
	case Starting:
		if !run.StartedAt.IsZero() || run.Stop != nil || run.Exit != nil || run.Healthy || w.Again {
			return fmt.Errorf("its run %s is further than that", run.ID)
		}
	case Running:
		if run.StartedAt.IsZero() || run.PID == 0 || run.Stop != nil || run.Exit != nil || w.Again {
			return fmt.Errorf("its run %s does not run", run.ID)
		}
	case Stopping:
		return run.checkStop()
	default:
		return fmt.Errorf("there is no such state")
	}
	return nil
}

// checkStop looks at a run that is being ended.
func (r *Run) checkStop() error {
	st := r.Stop
	switch {
	case st == nil && r.Exit == nil:
		return fmt.Errorf("nobody ends its run %s", r.ID)
	case r.Exit != nil && r.SweptAt.IsZero():
		return fmt.Errorf("nobody sweeps after its run %s", r.ID)
	case st == nil:
	case st.Step < -1 || st.Step >= len(st.Sequence) || len(st.Sequence) == 0:
		return fmt.Errorf("it is at step %d of %d", st.Step, len(st.Sequence))
	case st.Step >= 0 && (r.PID == 0 || st.Number < 1 || st.Number > r.Signals):
		return fmt.Errorf("it has sent signal %d of %d to pid %d", st.Number, r.Signals, r.PID)
	case st.Step < 0 && r.PID != 0 && r.Exit == nil:
		return fmt.Errorf("its run %s has a process and no signal was sent", r.ID)
	}
	return nil
}

// checkWish compares what a worker does with what is wanted of it.
func (s *State) checkWish(p *Pool, w *Worker) error {
	atRest := w.State == Stopped || w.State == Stopping && !w.Again
	switch {
	case s.Leaving != nil:
		// Pools that others lean on go on until their turn comes.
		return nil
	case p.Desired == Down && w.Desired == Up:
		return fmt.Errorf("it is wanted, and its pool is not")
	case !s.wanted(p, w) && !atRest:
		return fmt.Errorf("it is not wanted")
	case s.wanted(p, w) && w.State == Stopped && !p.waiting():
		return fmt.Errorf("it is wanted, and nobody starts it")
	case s.wanted(p, w) && w.State == Stopping && !w.Again && w.Run.Exit == nil && !w.Run.Stop.Failure:
		return fmt.Errorf("it is wanted, and no run follows the one that is being ended")
	}
	return nil
}

// checkPast looks at what a worker remembers.
func (w *Worker) checkPast(now Time) error {
	switch {
	case !slices.IsSorted(w.Window):
		return fmt.Errorf("its window is out of order: %v", w.Window)
	case len(w.Window) > 0 && w.Window[len(w.Window)-1] > now.Boot:
		return fmt.Errorf("its window has an instant that is yet to come")
	case w.Failures < 0 || w.Restarts < len(w.Window):
		return fmt.Errorf("%d failures, %d restarts, %d of them in its window", w.Failures, w.Restarts, len(w.Window))
	case w.State == Completed && (w.LastExit == nil || !w.LastExit.Success):
		return fmt.Errorf("it did not end with success")
	case (w.State == Failed || w.State == Backoff || w.State == Delayed) && w.LastExit == nil:
		return fmt.Errorf("it has never ended")
	}
	return nil
}

// checkRuns compares the runs in the slots with those that are found by their ID.
func (s *State) checkRuns() error {
	live := 0
	for _, name := range s.names() {
		p := s.Pools[name]
		for _, w := range p.Workers {
			if w.Run == nil {
				continue
			}
			live++
			if at := s.runs[w.Run.ID]; at.p != p || at.w != w {
				return fmt.Errorf("%s: its run %s leads to another worker", p.worker(w), w.Run.ID)
			}
			if p.Revision(w.Run.Revision) == nil {
				return fmt.Errorf("%s: its run's revision %d was forgotten", p.worker(w), w.Run.Revision)
			}
		}
	}
	if live != len(s.runs) {
		return fmt.Errorf("%d runs are known by their ID, and %d are in slots", len(s.runs), live)
	}
	return nil
}

// checkAlarms compares the heap of deadlines with the deadlines that follow from
// the state, and tells whether one of them has come without being heeded.
func (s *State) checkAlarms() error {
	armed := 0
	check := func(a *alarm, want Time, what string) error {
		if a.armed {
			armed++
		}
		switch {
		case a.armed != !want.IsZero() || a.armed && a.at != want.Boot:
			return fmt.Errorf("%s: its deadline is %v, the alarm stands at %v (%v)", what, want.Boot, a.at, a.armed)
		case a.armed && (a.place >= len(s.alarms) || s.alarms[a.place] != a):
			return fmt.Errorf("%s: its alarm is not where it should be", what)
		case a.armed && a.at <= s.now.Boot && !s.left:
			return fmt.Errorf("%s: its deadline of %v has come (it is %v) and nothing followed", what, a.at, s.now.Boot)
		}
		return nil
	}
	for _, name := range s.names() {
		p := s.Pools[name]
		if err := check(&p.alarm, earliest(p.WaitsUntil, p.progressDeadline()), "pool "+name); err != nil {
			return err
		}
		for _, w := range p.Workers {
			if err := check(&w.alarm, s.deadline(p, w), p.worker(w)); err != nil {
				return err
			}
		}
	}
	if armed != len(s.alarms) {
		return fmt.Errorf("%d alarms are set, and %d belong to somebody", len(s.alarms), armed)
	}
	for i := 1; i < len(s.alarms); i++ {
		if s.alarms.Less(i, (i-1)/2) {
			return fmt.Errorf("the heap of deadlines is out of order at %d", i)
		}
	}
	return nil
}

package core

import (
	"cmp"
	"slices"
	"time"
)

// begin is the start of superd. Whatever was loaded is compared with what is
// found to live, the configuration is taken on, and what is wanted up and is
// not is started. A first start finds nothing, and does the same.
func (s *State) begin(ev Begin) {
	if !ev.SameBoot {
		s.newBoot(ev.Found)
	}
	s.forgetOthers(ev.Found)
	s.Leaving = ev.Leave // nothing is wanted any more
	adopted := s.reconcile(ev.Found, ev.KeeperLost)
	if adopted > 0 {
		s.emit(Publish{Notice{Type: "superd.adopted", Message: plural(adopted, "run") + " taken over",
			Data: map[string]any{"runs": adopted}}})
	}
	for _, name := range s.names() {
		p := s.Pools[name]
		if p.Desired == Down {
			for _, w := range p.Workers {
				w.Desired = Down
			}
		}
		s.touchPool(p)
		for _, w := range p.Workers {
			if w.Since.IsZero() { // it had no record
				w.Since = s.now
			}
			s.touch(p, w)
		}
	}
	s.overdue()
	if ev.Leave != nil {
		s.Leaving = nil
		s.leave(*ev.Leave)
		return
	}
	s.configure(ev.Specs, true)
	s.enforce()
	s.startAll()
}

// overdue does, in their order, what runs have waited for while no superd was there,
// before anything is decided that hangs on it: a deployment must not fail for a run
// that has been healthy since long before the deadline. Restarts wait for the
// configuration.
func (s *State) overdue() {
	type late struct {
		at time.Duration
		slot
	}
	var all []late
	for _, name := range s.names() {
		p := s.Pools[name]
		for _, w := range p.Workers {
			if t := s.deadline(p, w); w.Run != nil && !t.IsZero() && t.Boot <= s.now.Boot {
				all = append(all, late{t.Boot, slot{p, w}})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b late) int { return cmp.Compare(a.at, b.at) })
	for _, l := range all {
		s.cue(l.p, l.w, cue{on: onDue})
	}
	// Nothing is started in a deployment that is over.
	for _, name := range s.names() {
		if p := s.Pools[name]; p.Deployment != nil {
			s.conclude(p, p.Deployment)
		}
	}
}

// enforce has every worker follow what is desired. A crash may have come between
// the records of one decision, so that a pool knows of a wish that its workers
// have not heard of, or the other way round.
func (s *State) enforce() {
	for _, name := range s.names() {
		p := s.Pools[name]
		for _, w := range p.Workers {
			switch {
			case !s.wanted(p, w):
				if w.State != Stopped {
					s.cue(p, w, cue{on: onStop, reason: "it is not wanted any more"})
				}
			case w.State == Stopping && w.Run.Exit == nil && !w.Run.Stop.Failure && !w.Again:
				// It was being stopped, by the end of superd or before it was wanted
				// again: what follows is a start, and nobody's restart.
				s.startAgain(p, w, cue{})
			}
		}
	}
}

// startAll starts every pool that is wanted up, but those that others come before.
func (s *State) startAll() {
	var held []*Pool
	for _, name := range s.names() {
		p := s.Pools[name]
		switch {
		case p.waiting() || !s.missing(p):
		case len(p.Config.After) > 0 && p.resting() && p.Deployment == nil: // else its turn had come before the crash
			held = append(held, p)
		default:
			s.startPool(p, "superd was started")
		}
	}
	// What comes first has been begun by now; a chain waits link by link.
	for _, p := range held {
		if !s.hold(p) {
			s.startPool(p, "superd was started")
		}
	}
}

// missing tells whether a wanted worker is at rest without a reason of its own.
func (s *State) missing(p *Pool) bool {
	return slices.ContainsFunc(p.Workers, func(w *Worker) bool { return s.wanted(p, w) && w.State == Stopped })
}

// resting tells that no worker of a pool is in the middle of anything.
func (p *Pool) resting() bool {
	return !slices.ContainsFunc(p.Workers, func(w *Worker) bool { return w.State != Stopped })
}

// newBoot forgets what belonged to a boot that is over: runs, windows, waits. A
// run that the keeper knows is of this boot: superd died before it could record
// that its start was over.
func (s *State) newBoot(found map[string]Found) {
	s.held = nil
	for _, name := range s.names() {
		p := s.Pools[name]
		p.WaitsFor, p.WaitsUntil = nil, Time{}
		if d := p.Deployment; d != nil {
			s.endDeployment(p, DeployCancelled, "the machine was restarted")
			if p.Stable != 0 {
				p.Target = p.Stable
			}
		}
		for _, w := range p.Workers {
			w.Step, w.NextStart = nil, Time{}
			w.forgive()
			if w.Run != nil {
				if _, ok := found[w.Run.ID]; ok {
					continue
				}
				delete(s.runs, w.Run.ID)
			}
			w.Run, w.Again = nil, false
			w.State, w.Since = Stopped, s.now // no transition: that worker is gone
		}
	}
}

// reconcile compares the runs of all slots with what is found, and counts
// those that live. Nothing found of a run that had a process means that it ended
// unseen; nothing found of one that had none means that it was never asked for,
// and it is asked for again under the same ID. But if the keeper was lost, it may
// have started the run and seen its end: that counts as a run that ended unseen,
// or a crash loop would get more starts than its window has.
//
// In a step that a crash cut off, what was saved may have been done or not: it is
// asked for again, and the keeper does everything once.
func (s *State) reconcile(found map[string]Found, lost bool) (adopted int) {
	for _, name := range s.names() {
		p := s.Pools[name]
		for _, w := range p.Workers {
			if w.Run == nil {
				continue
			}
			f, ok := found[w.Run.ID]
			if s.recoverRun(p, w, f, ok, lost) {
				adopted++
			}
		}
	}
	return adopted
}

// forgetOthers answers for runs of which nothing is left and that are in no slot any
// more: a crash came between the record of their end and the keeper's being told.
func (s *State) forgetOthers(found map[string]Found) {
	for _, run := range sortedKeys(found) {
		if _, ok := s.runs[run]; !ok && found[run].Gone {
			s.emit(Forget{Run: run})
		}
	}
}

// recoverRun brings one slot up to what was found of its run.
func (s *State) recoverRun(p *Pool, w *Worker, f Found, ok, lost bool) (lives bool) {
	run := w.Run
	switch {
	case f.Pending:
	case f.Failed != nil:
		s.cue(p, w, cue{on: onSpawnFailed, fail: *f.Failed})
	case !ok && run.PID == 0 && (run.Stop != nil || s.Leaving != nil):
		s.cue(p, w, cue{on: onSpawnFailed, fail: Fail{Stage: "prepare", Reason: "it was not asked for"}})
	case !ok && run.PID == 0 && !lost:
		run.RequestedAt = s.now // the time that it may take begins anew
		s.emit(Spawn{Pool: p, Worker: w, Run: run.ID, Revision: p.Revision(run.Revision)})
	case !ok:
		if run.StartedAt.IsZero() {
			s.stampRestart(w) // it may have been started at any time until now
		}
		s.cue(p, w, cue{on: onExited, end: End{Unknown: true}, gone: true})
	default:
		s.catchUp(p, w, f, lost)
		return f.End == nil
	}
	return false
}

// signalDoubt is for how long after a signal was asked for a keeper that died may
// not have sent it.
const signalDoubt = 200 * time.Millisecond

// catchUp tells a worker, in order, what happened to its run.
func (s *State) catchUp(p *Pool, w *Worker, f Found, lost bool) {
	run := w.Run
	stepSent := run.Stop != nil && run.Stop.Step >= 0
	if w.State == Stopping && f.End != nil {
		// Its first signal would come too late.
		s.noteProcess(p, w, cue{pid: f.PID, ticks: f.StartTicks})
		s.cue(p, w, cue{on: onExited, end: *f.End, gone: f.Gone})
		return
	}
	if run.PID == 0 && f.PID != 0 {
		s.cue(p, w, cue{on: onForked, pid: f.PID, ticks: f.StartTicks})
	}
	if f.Started && run.StartedAt.IsZero() {
		s.cue(p, w, cue{on: onStarted, pid: f.PID, ticks: f.StartTicks})
	}
	if f.End != nil {
		s.cue(p, w, cue{on: onExited, end: *f.End, gone: f.Gone})
		return
	}
	unsent := stepSent && s.Marks && run.Handed < run.Stop.Number
	switch {
	case !stepSent || run.Stop.Past:
	case lost && !unsent && s.now.After(run.Stop.At) >= signalDoubt:
		// It took what it was sent a while ago to the run, and its successor does
		// not know of it: nobody asks for it any more.
		run.Stop.Past = true
		s.touch(p, w)
	default:
		// Sent before the crash or not: the keeper takes each number once.
		if (unsent || !lost && f.Signals < run.Stop.Number) && run.Stop.At.Boot < s.now.Boot {
			// It was not: the time that the run has begins now, and what it was seen
			// to do says nothing of what it will do.
			run.Stop.At, run.Stop.Idle = s.now, Time{}
			if run.Stop.Step == 0 {
				run.Stop.Began = s.now
			}
			s.touch(p, w)
		}
		s.signalStep(p, w)
	}
}

// Handed notes that the keeper was told the signal of that number for a run: should
// that keeper be lost, nobody else could tell. It gives the worker, whose record has
// changed, and its pool; nil: it has another run by now.
func (s *State) Handed(run string, number int) (*Pool, *Worker) {
	at, ok := s.runs[run]
	if !ok || number <= at.w.Run.Handed {
		return nil, nil
	}
	at.w.Run.Handed = number
	return at.p, at.w
}

// Doubt takes back what Handed has noted of signals that a keeper may not have come
// to, which was lost just now. changed is called for each worker whose record is
// another one by that.
func (s *State) Doubt(now Time, changed func(*Pool, *Worker)) {
	for _, name := range s.names() {
		p := s.Pools[name]
		for _, w := range p.Workers {
			run := w.Run
			if run == nil || run.Stop == nil || run.Stop.Step < 0 || run.Exit != nil {
				continue
			}
			if run.Handed >= run.Stop.Number && now.After(run.Stop.At) < signalDoubt {
				run.Handed = run.Stop.Number - 1
				changed(p, w)
			}
		}
	}
}

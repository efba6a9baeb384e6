package core

import "time"

const (
	// settled is how long what a run shows must have stood since the first signal
	// of its drain sequence to be believed, when it has not changed since then:
	// Sidekiq, for one, renews its title every ten seconds only.
	settled = 15 * time.Second
	// idleGrace is what an idle run has left to end by itself before KILL.
	idleGrace = 10 * time.Second
	// idlePause keeps two signals to an idle run apart: it might see only one.
	idlePause = time.Second
)

// observed passes on what a run was seen to do, if that is news: looks are many,
// and each change of a worker is written down.
func (s *State) observed(ev Observed) {
	at, ok := s.runs[ev.Run]
	if !ok {
		return
	}
	run := at.w.Run
	idle := run.draining() && !run.Stop.Idle.IsZero()
	if run.Work != ev.Work || idle != (run.draining() && s.idles(run.Stop, ev)) {
		s.cue(at.p, at.w, cue{on: onSeen, seen: ev})
	}
}

// noteWork keeps what a run does, for the order in which a deployment takes them.
func (s *State) noteWork(_ *Pool, w *Worker, c cue) { w.Run.Work = c.seen.Work }

// noteIdle looks whether a run that is being replaced has finished its work: the
// waits of its drain sequence end then.
func (s *State) noteIdle(p *Pool, w *Worker, c cue) {
	s.noteWork(p, w, c)
	run := w.Run
	if !run.draining() {
		return // a stop sequence is about time, not about work
	}
	switch {
	case !s.idles(run.Stop, c.seen):
		run.Stop.Idle = Time{}
	case run.Stop.Idle.IsZero():
		run.Stop.Idle = s.now
	}
}

// idles tells whether a look shows that a run has finished its work. What it
// shows may be older than the signal: then it would tell nothing about a job that
// began in between.
func (s *State) idles(st *Stop, ev Observed) bool {
	if ev.Work != Idle || st.Step < 0 {
		return false
	}
	return !ev.Changed.IsZero() && ev.Changed.Boot > st.Began.Boot || s.now.After(st.Began) >= settled
}

// idleDeadline is when the wait of a drain sequence ends because the run is idle;
// zero: not for that. A wait that began when the run was idle already is there for
// its exit, and is not cut short by KILL.
func idleDeadline(st *Stop) Time {
	if !st.Drain || st.Idle.IsZero() || st.Step+1 >= len(st.Sequence) {
		return Time{}
	}
	if next := st.Sequence[st.Step+1]; next.Signal == killSequence[0].Signal {
		if st.Early {
			return Time{}
		}
		return st.Idle.Add(idleGrace)
	}
	if at := st.At.Add(idlePause); at.Boot > st.Idle.Boot {
		return at
	}
	return st.Idle
}

// idleFirst are a pool's workers in the order in which a deployment takes them:
// by index, those first whose run is known to have nothing to do.
func (p *Pool) idleFirst() []*Worker {
	if p.Config.Busy.Title == "" {
		return p.Workers
	}
	order := make([]*Worker, 0, len(p.Workers))
	for _, idle := range []bool{true, false} {
		for _, w := range p.Workers {
			if idle == (w.Run != nil && w.Run.Work == Idle) {
				order = append(order, w)
			}
		}
	}
	return order
}

// WantsLooks tells whether a decision about the pool may hang on what its runs do:
// while it is deployed, and while a run of it is being replaced.
func (p *Pool) WantsLooks() bool {
	if p.Config == nil || p.Config.Busy.Title == "" {
		return false
	}
	if p.Deployment != nil {
		return true
	}
	for _, w := range p.Workers {
		if w.Run != nil && w.Run.draining() {
			return true
		}
	}
	return false
}

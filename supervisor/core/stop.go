package core

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
)

// killSequence ends a run at once.
var killSequence = signals.Sequence{{Signal: syscall.SIGKILL}}

// stopRun begins a run's stop sequence.
func (s *State) stopRun(p *Pool, w *Worker, c cue) {
	w.Again = false
	s.end(p, w, &Stop{Sequence: p.configOf(w.Run).Stop, Step: -1, Reason: c.reason})
}

// replaceRun begins a run's drain sequence, and has another one follow it.
func (s *State) replaceRun(p *Pool, w *Worker, c cue) {
	w.forgive()
	w.Again = true
	s.end(p, w, &Stop{Sequence: p.configOf(w.Run).Drain, Step: -1, Drain: true, Reason: c.reason})
}

// killRun goes to KILL, whatever sequence is under way.
func (s *State) killRun(p *Pool, w *Worker, c cue) {
	w.Again = false
	if st := w.Run.Stop; st != nil && st.killing() {
		st.Drain = false // it has had its KILL, and nothing follows it
		return
	}
	s.end(p, w, &Stop{Sequence: killSequence, Step: -1, Reason: c.reason})
}

// startAgain wants a new run as soon as the one that is being ended has gone.
func (s *State) startAgain(p *Pool, w *Worker, _ cue) {
	if s.wanted(p, w) {
		w.forgive()
		w.Again = true
	}
}

// stayDown takes such a wish back. A run that was given the time of one that is
// replaced, which may be a day, has no more than that of one that is stopped.
func (s *State) stayDown(p *Pool, w *Worker, c cue) {
	w.Again = false
	if !w.Run.draining() {
		return
	}
	stop := p.configOf(w.Run).Stop
	if w.Run.Stop.killing() || slices.Equal(w.Run.Stop.Sequence, stop) {
		w.Run.Stop.Drain = false
		return
	}
	s.end(p, w, &Stop{Sequence: stop, Step: -1, Reason: c.reason})
}

// draining tells that a run is being ended to be replaced.
func (r *Run) draining() bool { return r.Stop != nil && r.Stop.Drain && r.Exit == nil }

// end puts a run on its way out. A run without a process yet gets its first
// signal when it has one.
func (s *State) end(p *Pool, w *Worker, st *Stop) {
	run := w.Run
	if w.State != Stopping {
		s.setState(w, Stopping)
	}
	if run.Exit != nil {
		return
	}
	if run.Stop != nil && run.Stop.Failure {
		st.Failure, st.Reason = true, run.Stop.Reason
	}
	if s.Leaving != nil && s.Leaving.Within > 0 {
		st.Sequence = within(st.Sequence, 0, 0, s.Leaving.Within)
	}
	run.Stop = st
	if run.PID == 0 {
		s.emit(CancelSpawn{Run: run.ID})
		return
	}
	s.signalNext(p, w, w.Run.Stop.Reason)
}

// killing tells that KILL was the last signal sent, or is the first to be sent.
func (st *Stop) killing() bool {
	return st.Sequence[max(st.Step, 0)].Signal == syscall.SIGKILL
}

// Unexplained tells whether nobody here is known to have sent KILL to a run, so that
// it is worth asking whose it was: neither superd nor an operator has.
func (s *State) Unexplained(run string) bool {
	at, ok := s.runs[run]
	return ok && at.w.Run != nil && at.w.Run.ID == run && !at.w.Run.sent(signals.Name(syscall.SIGKILL))
}

// signalNext takes the next step of a stop sequence, and says why; at its end
// KILL again.
func (s *State) signalNext(p *Pool, w *Worker, why string) {
	run, st := w.Run, w.Run.Stop
	st.Step = min(st.Step+1, len(st.Sequence)-1)
	st.At, st.Past = s.now, false
	if st.Step == 0 {
		st.Began = s.now
	}
	run.Signals++
	st.Number = run.Signals
	s.signalStep(p, w)
	name := signals.Name(st.Sequence[st.Step].Signal)
	kind := "worker.signaled"
	if st.killing() {
		kind = "worker.killed"
	}
	s.publish(p, w, kind, why, map[string]any{"signal": name})
}

// signalStep sends the signal of the step that a stop sequence is in. After a
// crash it is asked for again with the same number.
func (s *State) signalStep(p *Pool, w *Worker) {
	run := w.Run
	sig, scope := run.Stop.Sequence[run.Stop.Step].Signal, p.Config.SignalScope
	if sig == syscall.SIGKILL {
		scope = p.killScope(run)
	}
	s.emit(Signal{Run: run.ID, Signal: sig, Scope: scope, Number: run.Stop.Number})
}

// stopDeadline is when the ending of a run needs to be looked at.
func stopDeadline(run *Run) Time {
	st := run.Stop
	switch {
	case run.Exit != nil:
		return run.SweptAt.Add(stuckAfter)
	case st == nil || st.Step < 0:
		return Time{} // waits for the process to exist
	case st.killing():
		return st.At.Add(stuckAfter)
	case st.Sequence[st.Step].Forever:
		return Time{}
	}
	return earliest(st.At.Add(st.Sequence[st.Step].Wait), idleDeadline(st))
}

// nextStep comes when a wait of a stop sequence is over, or when what should
// have gone by KILL is still there.
func (s *State) nextStep(p *Pool, w *Worker, _ cue) {
	run := w.Run
	if t := stopDeadline(run); t.IsZero() || t.Boot > s.now.Boot {
		return // it was the deployment's deadline, not this one
	}
	switch {
	case run.Exit != nil:
		run.SweptAt = s.now
		s.emit(Sweep{Run: run.ID})
		s.publish(p, w, "worker.unhealthy", fmt.Sprintf("what pid %d left behind is still there %s after KILL (killed again)",
			run.PID, signals.FormatDuration(stuckAfter)), map[string]any{"pid": run.PID})
	case run.Stop.killing():
		s.publish(p, w, "worker.unhealthy", fmt.Sprintf("pid %d is still there %s after KILL (killed again)",
			run.PID, signals.FormatDuration(stuckAfter)), map[string]any{"pid": run.PID})
		s.signalNext(p, w, w.Run.Stop.Reason)
	default:
		why := run.Stop.Reason
		if s.now.After(run.Stop.At) < run.Stop.Sequence[run.Stop.Step].Wait {
			run.Stop.Early = true
			why += " (it is idle)"
		}
		s.signalNext(p, w, why)
	}
}

// configOf is the configuration that a run was started with, as far as it
// was not changed in place since.
func (p *Pool) configOf(run *Run) *config.Pool {
	if r := p.Revision(run.Revision); r != nil {
		return r.Config
	}
	return p.Config
}

// endsBy tells whether a signal is one by which an operator ends a worker.
func endsBy(c *config.Pool, name string) bool {
	switch name {
	case "TERM", "INT", "QUIT", "KILL":
		return true
	}
	return slices.ContainsFunc(slices.Concat(c.Stop, c.Drain), func(st signals.Step) bool { return signals.Name(st.Signal) == name })
}

// killScope is whom KILL reaches. A run in no cgroup of its own has none to kill.
func (p *Pool) killScope(run *Run) config.Scope { return p.configOf(run).KillScope }

// Revision finds a revision by its number, or nil.
func (p *Pool) Revision(number int) *Revision {
	for _, r := range p.Revisions {
		if r.Number == number {
			return r
		}
	}
	return nil
}

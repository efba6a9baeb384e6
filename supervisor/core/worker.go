package core

import (
	"fmt"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
)

// setState is the one place where a worker's state changes.
func (s *State) setState(w *Worker, to WorkerState) {
	if s.seen != nil {
		s.seen(w.State, to)
	}
	w.State, w.Since = to, s.now
}

// name is how people call a worker.
func (p *Pool) worker(w *Worker) string { return fmt.Sprintf("%s/%d", p.Name, w.Index) }

// wanted tells whether a worker is to have a run.
func (s *State) wanted(p *Pool, w *Worker) bool {
	return s.Leaving == nil && !p.Removed && w.Index < p.Count && w.Desired == Up
}

// launchFresh starts a run that is nobody's restart: what came before is forgiven.
func (s *State) launchFresh(p *Pool, w *Worker, _ cue) {
	if !s.wanted(p, w) {
		return
	}
	w.forgive()
	s.launch(p, w)
}

// forgive clears what counts against a worker.
func (w *Worker) forgive() { w.Window, w.Failures, w.Restarts = nil, 0, 0 }

// launch gives a worker a new run, in the slot's revision.
func (s *State) launch(p *Pool, w *Worker) {
	w.Again, w.NextStart = false, Time{}
	if p.Revision(w.Revision) == nil {
		w.Revision = p.Target
	}
	w.Run = &Run{ID: s.newID(s.now), Revision: w.Revision, RequestedAt: s.now}
	if w.Step != nil {
		w.Run.Deployment = w.Step.Deployment
	}
	if st := p.step(w); st != nil && st.Deadline.IsZero() {
		st.Deadline = s.now.Add(p.Config.Update.HealthyDeadline)
	}
	s.runs[w.Run.ID] = slot{p, w}
	s.setState(w, Starting)
	s.emit(Spawn{Pool: p, Worker: w, Run: w.Run.ID, Revision: p.Revision(w.Revision)})
}

// noteProcess keeps what tells the run's process from all others.
func (s *State) noteProcess(_ *Pool, w *Worker, c cue) {
	w.Run.PID, w.Run.StartTicks = c.pid, c.ticks
}

func (s *State) started(p *Pool, w *Worker, c cue) {
	s.noteProcess(p, w, c)
	w.Run.StartedAt = s.now
	s.setState(w, Running)
	s.stampRestart(w)
	if st := p.step(w); st != nil && !st.Begun {
		st.Begun, st.Deadline = true, s.now.Add(p.Config.Update.HealthyDeadline)
	}
	s.publish(p, w, "worker.started", fmt.Sprintf("pid %d, revision %d", c.pid, w.Run.Revision), nil)
	s.publish(p, w, "worker.ready", "program executed", nil)
}

// stampRestart has a restart count from now. Between the decision and the program lie
// superd's queues and the keeper's, and the window is about what the world sees.
func (s *State) stampRestart(w *Worker) {
	if n := len(w.Window); w.Run.Restart && n > 0 {
		w.Window[n-1] = s.now.Boot
	}
}

// noteStopping is how a run that is already to end gets its first signal: none
// could be sent before there was a process.
func (s *State) noteStopping(p *Pool, w *Worker, c cue) {
	s.noteProcess(p, w, c)
	if c.on == onStarted && w.Run.StartedAt.IsZero() {
		w.Run.StartedAt = s.now
	}
	if st := w.Run.Stop; st != nil && st.Step < 0 {
		s.signalNext(p, w, w.Run.Stop.Reason)
	}
}

// notStarted ends a run that hangs before its program.
func (s *State) notStarted(p *Pool, w *Worker, _ cue) {
	run := w.Run
	if !run.StartedAt.IsZero() || s.now.After(run.RequestedAt) < spawnTimeout {
		return // it was the deployment's deadline, not this one
	}
	why := fmt.Sprintf("its program was not executed within %s", signals.FormatDuration(spawnTimeout))
	s.end(p, w, &Stop{Sequence: killSequence, Step: -1, Reason: why, Failure: true})
}

// grewHealthy comes when min_healthy_time is over.
func (s *State) grewHealthy(p *Pool, w *Worker, _ cue) {
	run := w.Run
	if run.Healthy || s.now.After(run.StartedAt) < p.Config.Update.MinHealthyTime {
		return
	}
	run.Healthy = true
	w.Failures = 0
	s.publish(p, w, "worker.healthy", "up for "+signals.FormatDuration(p.Config.Update.MinHealthyTime), nil)
}

func (s *State) spawnFailed(p *Pool, w *Worker, c cue) {
	run := w.Run
	run.Exit = &Exit{RunID: run.ID, At: s.now.Wall, Reason: "cannot start: " + c.fail.Reason, Stage: c.fail.Stage}
	switch st := run.Stop; {
	case st == nil:
	case st.Failure: // it was too late, and this is what it was at
		run.Exit.Reason = fmt.Sprintf("cannot start: %s (%s: %s)", st.Reason, c.fail.Stage, c.fail.Reason)
	default:
		run.Exit.Reason, run.Exit.Success, run.Exit.Requested = "stopped before it was started", true, true
	}
	s.ended(p, w, map[string]any{"stage": c.fail.Stage})
}

// exited comes when the main process has ended. The run has ended only when
// what kill_scope covers is gone too.
func (s *State) exited(p *Pool, w *Worker, c cue) {
	run := w.Run
	if run.Exit == nil {
		run.Exit = s.exitOf(p, w, c.end)
	}
	if c.gone {
		s.ended(p, w, nil)
		return
	}
	if w.State != Stopping {
		s.setState(w, Stopping)
	}
	if run.SweptAt.IsZero() {
		run.SweptAt = s.now
	}
}

// swept comes when what the main process had left has gone.
func (s *State) swept(p *Pool, w *Worker, _ cue) {
	if w.Run.Exit != nil {
		s.ended(p, w, nil)
	}
}

// exitOf says how a run ended, and whether that was a failure.
func (s *State) exitOf(p *Pool, w *Worker, e End) *Exit {
	run := w.Run
	x := &Exit{RunID: run.ID, PID: run.PID, At: s.now.Wall, Signal: e.Signal, Core: e.Core}
	if !run.StartedAt.IsZero() {
		x.Uptime = max(0, s.now.After(run.StartedAt))
	}
	switch {
	case e.Unknown:
		x.Reason = "unknown: it ended while nobody could see how"
	case e.Signal != "":
		x.Reason = "signal " + e.Signal
		if e.OOM {
			x.Reason += " (out of memory)"
		}
		if e.Core {
			x.Reason += ", core dumped"
		}
		x.Success = run.sent(e.Signal) || p.succeeds(e)
	default:
		code := e.Code
		x.Code, x.Reason, x.Success = &code, fmt.Sprintf("exit code %d", code), p.succeeds(e)
	}
	if st := run.Stop; st != nil && st.Failure {
		x.Success, x.Reason = false, "cannot start: "+st.Reason
	}
	x.Requested = run.requested(x)
	return x
}

// requested tells whether a run ended because it was told to. A program that an
// operator sent a signal to may end by it with success, or go on and fail for
// reasons of its own a day later.
func (r *Run) requested(x *Exit) bool {
	if r.Stop != nil {
		return !r.Stop.Failure
	}
	return r.Signaled != "" && x.Success
}

// sent tells whether superd or an operator sent this signal to the run.
func (r *Run) sent(signal string) bool {
	if r.Signaled == signal {
		return true
	}
	if r.Stop != nil {
		for i := 0; i <= r.Stop.Step && i < len(r.Stop.Sequence); i++ {
			if signals.Name(r.Stop.Sequence[i].Signal) == signal {
				return true
			}
		}
	}
	return false
}

// succeeds tells whether success_exit has this end.
func (p *Pool) succeeds(e End) bool {
	for _, m := range p.Config.SuccessExit {
		if m.Signal != 0 && signals.Name(m.Signal) == e.Signal || m.Signal == 0 && e.Signal == "" && m.Code == e.Code {
			return true
		}
	}
	return false
}

// ended closes a run and decides what comes after it.
func (s *State) ended(p *Pool, w *Worker, data map[string]any) {
	run, exit := w.Run, w.Run.Exit
	s.publishExit(p, w, data)
	s.exits = append(s.exits, SaveExit{Pool: p, Worker: w, Run: run})
	s.emit(Forget{Run: run.ID})
	delete(s.runs, run.ID)
	w.Run, w.LastExit = nil, exit
	s.judge(p, w, run, exit)
	switch {
	case !s.wanted(p, w):
		s.rest(p, w)
	case w.Again:
		s.launch(p, w)
	default:
		s.afterEnd(p, w, exit)
	}
}

// publishExit tells of the end of a run, while the worker still has it.
func (s *State) publishExit(p *Pool, w *Worker, data map[string]any) {
	x := w.Run.Exit
	if data == nil {
		data = map[string]any{}
	}
	data["code"], data["signal"] = nil, nil
	if x.Code != nil {
		data["code"] = *x.Code
	}
	if x.Signal != "" {
		data["signal"] = x.Signal
	}
	data["uptime"], data["success"] = x.Uptime.Seconds(), x.Success
	message := x.Reason
	if !w.Run.StartedAt.IsZero() {
		message += " after " + signals.FormatDuration(x.Uptime.Round(10*time.Millisecond))
	}
	s.publish(p, w, "worker.exited", message, data)
}

// rest puts a worker that is not wanted to rest.
func (s *State) rest(p *Pool, w *Worker) {
	w.Again, w.NextStart = false, Time{}
	s.setState(w, Stopped)
	s.publish(p, w, "worker.stopped", "", nil)
	p.rested, s.rested = true, true
}

// toRest is rest for a worker without a run.
func (s *State) toRest(p *Pool, w *Worker, _ cue) {
	w.forgive()
	s.rest(p, w)
}

// passSignal sends an operator's signal to a run that has a process.
func (s *State) passSignal(p *Pool, w *Worker, c cue) {
	run := w.Run
	if run.PID == 0 || run.Exit != nil {
		return
	}
	sig, err := signals.Parse(c.signal.Signal)
	if err != nil {
		return // command has looked at it already
	}
	scope := config.ScopeMain
	if c.signal.Group {
		scope = config.ScopeGroup
	}
	run.Signals++
	if name := signals.Name(sig); endsBy(p.configOf(run), name) {
		run.Signaled = name
	}
	s.emit(Signal{Run: run.ID, Signal: sig, Scope: scope, Number: run.Signals})
	s.publish(p, w, "worker.signaled", fmt.Sprintf("%s by %s", signals.Name(sig), c.signal.By),
		map[string]any{"signal": signals.Name(sig)})
}

// publish tells of something that happened to a worker.
func (s *State) publish(p *Pool, w *Worker, kind, message string, data map[string]any) {
	n := Notice{Type: kind, Pool: p.Name, Worker: p.worker(w), Revision: w.Revision, Message: message, Data: data}
	if run := w.Run; run != nil {
		n.RunID, n.PID, n.Revision, n.Deployment = run.ID, run.PID, run.Revision, run.Deployment
	} else if w.Step != nil {
		n.Deployment = w.Step.Deployment
	}
	s.emit(Publish{n})
}

// warned passes on what the host forbids.
func (s *State) warned(ev Warned) {
	if at, ok := s.runs[ev.Run]; ok {
		s.publish(at.p, at.w, "superd.degraded", ev.Message, nil)
	}
}

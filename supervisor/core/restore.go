package core

// Restore gives a loaded worker a run that is found although no record tells of it.
// It comes before Begin, which then finds the worker as it should be, be it that the
// run lives, that its program is still to be executed, or that only what it left
// behind is there. started is when its process was forked.
func (s *State) Restore(p *Pool, w *Worker, run string, f Found, started, now Time) {
	if w.Run != nil {
		delete(s.runs, w.Run.ID)
	}
	w.State, w.Since, w.Again, w.NextStart = Starting, now, false, Time{}
	w.Run = &Run{ID: run, Revision: w.Revision, RequestedAt: now, PID: f.PID, StartTicks: f.StartTicks, Signals: f.Signals}
	if f.Started {
		w.State, w.Since, w.Run.StartedAt = Running, started, started
	}
	if d := p.Deployment; d != nil && w.Revision == d.To {
		w.Run.Deployment = d.ID
		w.Step = &Step{Deployment: d.ID, Begun: f.Started, Deadline: now.Add(p.Config.Update.HealthyDeadline)}
	}
	s.runs[run] = slot{p, w}
}

// Rebuild makes a pool of the configuration of which nothing was loaded, because
// its records are lost, and a run of it lives: Restore wants a place for that.
func (s *State) Rebuild(spec Spec, now Time) *Pool {
	s.now = now
	s.addPool(spec, true)
	return s.Pools[spec.Config.Name]
}

package core

// Restore gives a loaded worker a run that lives although no record tells of it.
// It comes before Begin, which then finds the worker as it should be.
func (s *State) Restore(p *Pool, w *Worker, run string, pid int, ticks uint64, now Time) {
	if w.Run != nil {
		delete(s.runs, w.Run.ID)
	}
	w.State, w.Since, w.Again, w.NextStart = Running, now, false, Time{}
	w.Run = &Run{ID: run, Revision: w.Revision, RequestedAt: now, StartedAt: now, PID: pid, StartTicks: ticks}
	if d := p.Deployment; d != nil && w.Revision == d.To {
		w.Run.Deployment = d.ID
		w.Step = &Step{Deployment: d.ID, Begun: true, Deadline: now.Add(p.Config.Update.HealthyDeadline)}
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

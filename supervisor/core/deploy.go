package core

import (
	"fmt"
	"time"

	"github.com/superd/superd/signals"
)

// pastDeployments is how many ended deployments a pool remembers.
const pastDeployments = 10

// manySteps is how many workers' parts are kept of deployments but the newest.
const manySteps = 100

// keptRevisions is how many revisions a pool remembers beside those in use.
const keptRevisions = 10

// deploy begins to take a pool's workers to a revision. What was under way
// before ends as superseded, and its ID is returned.
func (s *State) deploy(p *Pool, to *Revision, reason string) (d *Deployment, superseded string) {
	d = &Deployment{ID: s.newID(s.now), Pool: p.Name, State: DeployRunning, From: p.Target, To: to.Number,
		Reason: reason, StartedAt: s.now, Progress: s.now}
	if p.Stable == 0 && len(p.Past) == 0 && p.Deployment == nil {
		d.From = 0 // nothing ran before
	}
	// Where nothing is up, there is nobody healthy to be careful about.
	d.AllAtOnce = p.Stable == 0 && p.live() == 0
	if old := p.Deployment; old != nil {
		superseded = old.ID
		s.endDeployment(p, DeploySuperseded, "superseded by "+d.ID)
	}
	p.Deployment, p.Target = d, to.Number
	for _, w := range p.Workers {
		w.Operation = d.ID
		s.touch(p, w)
	}
	s.touchPool(p)
	s.publishDeployment(p, d, "deployment.started", fmt.Sprintf("%s: to revision %d", reason, d.To))
	return d, superseded
}

// step is a worker's part in the deployment that runs, or nil.
func (p *Pool) step(w *Worker) *Step {
	if p.Deployment == nil || w.Step == nil || w.Step.Deployment != p.Deployment.ID {
		return nil
	}
	return w.Step
}

// takesPart tells whether a deployment has to do with a worker.
func (p *Pool) takesPart(w *Worker) bool { return w.Index < p.Count && w.Desired == Up }

// fits tells whether a run is what the deployment wants.
func (d *Deployment) fits(run *Run) bool {
	if run == nil || run.Revision != d.To {
		return false
	}
	return run.Deployment == d.ID || d.Reason == "apply"
}

// advance takes a deployment as far as it may go at this instant: it fails, or
// succeeds, or touches the next workers.
func (s *State) advance(p *Pool) {
	if d := p.Deployment; d != nil && !s.conclude(p, d) {
		s.takeNext(p, d)
	}
}

// conclude ends a deployment whose end has come, and tells if it has.
func (s *State) conclude(p *Pool, d *Deployment) bool {
	// Who is healthy by now is counted first: after a suspend, or superd's own death,
	// its deadline and the news of its health come at one instant.
	done, total := s.tally(p, d)
	if why := s.trouble(p, d); why != "" {
		s.failDeployment(p, why)
		return true
	}
	if done == total {
		s.succeed(p)
		return true
	}
	return false
}

// trouble says why a deployment fails at this instant, or nothing.
func (s *State) trouble(p *Pool, d *Deployment) string {
	stopping := false
	for _, w := range p.Workers {
		st := p.step(w)
		if st == nil || !p.takesPart(w) {
			continue
		}
		switch {
		case w.State == Failed:
			return fmt.Sprintf("%s failed: %s", p.worker(w), w.LastExit.Reason)
		case st.Relapses > 1:
			return fmt.Sprintf("%s failed twice after it was healthy: %s", p.worker(w), w.LastExit.Reason)
		case !st.Done && !st.Deadline.IsZero() && s.now.Boot >= st.Deadline.Boot && !w.healthy(d):
			st.Failed = true
			return fmt.Sprintf("%s was not healthy within %s%s", p.worker(w),
				signals.FormatDuration(p.Config.Update.HealthyDeadline), w.lastWords())
		}
		stopping = stopping || w.State == Stopping && !d.fits(w.Run)
	}
	if !stopping && s.now.After(d.Progress) >= p.Config.Update.ProgressDeadline {
		return "no worker became healthy within " + signals.FormatDuration(p.Config.Update.ProgressDeadline)
	}
	return ""
}

// lastWords is how a worker's last run ended, to be appended to a reason.
func (w *Worker) lastWords() string {
	if w.LastExit == nil || w.LastExit.Success {
		return ""
	}
	return " (last: " + w.LastExit.Reason + ")"
}

// healthy tells whether a worker has what the deployment wants, and it is well.
func (w *Worker) healthy(d *Deployment) bool {
	return d.fits(w.Run) && w.Run.Healthy && w.State == Running
}

// tally marks the workers that have become healthy and counts.
func (s *State) tally(p *Pool, d *Deployment) (done, total int) {
	for _, w := range p.Workers {
		if !p.takesPart(w) {
			continue
		}
		total++
		st := p.step(w)
		if st == nil && w.healthy(d) {
			st = &Step{Deployment: d.ID} // an apply finds it as it should be
			w.Step = st
		}
		if st == nil {
			continue
		}
		if !st.Done && (w.healthy(d) || w.State == Completed) {
			st.Done, st.Deadline = true, Time{}
			d.Progress = s.now
			s.touchPool(p)
			s.touch(p, w)
			s.publish(p, w, "deployment.step", fmt.Sprintf("%s is done", p.worker(w)), nil)
		}
		if st.Done {
			done++
		}
	}
	return done, total
}

// takeNext touches the workers whose turn it is: those that are down in any
// case at once, healthy ones as far as max_parallel allows.
func (s *State) takeNext(p *Pool, d *Deployment) {
	down := 0 // taken down for a deployment, this or the one before, and not yet healthy
	for _, w := range p.Workers {
		if p.takesPart(w) && p.isDown(w) {
			down++
		}
	}
	for _, w := range p.idleFirst() {
		if !p.takesPart(w) || p.step(w) != nil {
			continue
		}
		switch {
		case p.isDown(w) && !w.atRest(): // counted already
			s.take(p, w, true)
		case d.AllAtOnce, w.atRest(), w.onTheWayOut():
			s.take(p, w, false)
		case down < p.Config.Update.MaxParallel:
			down++
			s.take(p, w, true)
		}
	}
}

// isDown tells that a worker was taken down for a deployment, this or one
// before, and has not been healthy since. One that was, and failed by itself, is
// down for the deployment that it failed in alone.
func (p *Pool) isDown(w *Worker) bool {
	st := w.Step
	if st == nil || !st.TookDown || st.Done || st.Relapses > 0 && p.step(w) == nil {
		return false
	}
	return w.State != Completed && !(w.State == Running && w.Run.Healthy)
}

// atRest tells that a worker is down and does not come back in a moment.
func (w *Worker) atRest() bool {
	switch w.State {
	case Stopped, Delayed, Failed, Completed:
		return true
	}
	return false
}

// onTheWayOut tells that a worker's run is being ended for another reason than its
// own failure: nobody who is up is taken down when another follows it.
func (w *Worker) onTheWayOut() bool {
	return w.State == Stopping && w.Run.Stop != nil && !w.Run.Stop.Failure
}

// take replaces one worker's run for the deployment.
func (s *State) take(p *Pool, w *Worker, tookDown bool) {
	d := p.Deployment
	w.Step = &Step{Deployment: d.ID, TookDown: tookDown}
	w.Revision = d.To
	if d.fits(w.Run) && w.State != Stopping {
		// What already fits keeps its process, and has to become healthy.
		from := w.Run.StartedAt
		if from.IsZero() {
			from = w.Run.RequestedAt
		}
		w.Step.Begun, w.Step.Deadline = !w.Run.StartedAt.IsZero(), from.Add(p.Config.Update.HealthyDeadline)
		s.touch(p, w)
		return
	}
	s.cue(p, w, cue{on: onReplace, reason: "replaced in deployment " + d.ID})
}

// judge tells a deployment that one of its workers' runs has ended.
func (s *State) judge(p *Pool, w *Worker, run *Run, exit *Exit) {
	d, st := p.Deployment, p.step(w)
	if st == nil {
		return
	}
	if !d.fits(run) {
		d.Progress = s.now // the old run's stop sequence counts for no deadline
		s.touchPool(p)
		return
	}
	if st.Done && !exit.Success && run.Stop == nil {
		st.Done, st.Begun, st.Deadline = false, false, Time{}
		st.Relapses++
	}
}

// succeed ends a deployment whose workers are all done together.
func (s *State) succeed(p *Pool) {
	d := p.Deployment
	p.Stable = d.To
	s.endDeployment(p, DeploySucceeded, "")
	s.publishDeployment(p, d, "deployment.succeeded", fmt.Sprintf("revision %d is stable", d.To))
}

// failDeployment ends one that went wrong. What was touched goes on under its
// restart policy; what was not stays as it is.
func (s *State) failDeployment(p *Pool, why string) {
	d := p.Deployment
	for _, w := range p.Workers {
		if st := p.step(w); st != nil && !st.Done && !w.healthy(d) {
			s.touch(p, w)
		}
	}
	s.endDeployment(p, DeployFailed, why)
	if p.Stable != 0 {
		p.Target = p.Stable
	}
	s.publishDeployment(p, d, "deployment.failed", why)
}

// cancelDeployment ends the one that runs, if any, and returns its ID.
func (s *State) cancelDeployment(p *Pool, why string) string {
	d := p.Deployment
	if d == nil {
		return ""
	}
	s.endDeployment(p, DeployCancelled, why)
	if p.Stable != 0 {
		p.Target = p.Stable
	}
	s.publishDeployment(p, d, "deployment.cancelled", why)
	return d.ID
}

// endDeployment moves the running deployment among the past ones.
func (s *State) endDeployment(p *Pool, as DeploymentState, why string) {
	d := p.Deployment
	d.Steps = p.steps(d)
	d.State, d.EndedAt, d.Error = as, s.now, why
	p.Deployment = nil
	if len(p.Past) > 0 && len(p.Past[0].Steps) > manySteps {
		last := *p.Past[0] // readers may have the old one
		last.Steps = nil   // those of the newest deployment are enough for a large pool
		p.Past[0] = &last
	}
	p.Past = append([]*Deployment{d}, p.Past...)
	if len(p.Past) > pastDeployments {
		p.Past = p.Past[:pastDeployments]
	}
	for _, w := range p.Workers {
		s.touch(p, w) // its step's deadline is gone
	}
	s.touchPool(p)
	if as == DeploySuperseded {
		s.publishDeployment(p, d, "deployment.superseded", why)
	}
}

// steps are the workers' parts in a deployment as people see them.
func (p *Pool) steps(d *Deployment) []DeployStep {
	var steps []DeployStep
	for _, w := range p.Workers {
		if !p.takesPart(w) {
			continue
		}
		st := DeployStep{Index: w.Index, State: StepPending}
		if w.Step != nil && w.Step.Deployment == d.ID {
			st.State, st.Deadline = stepState(w, d), w.Step.Deadline
		}
		steps = append(steps, st)
	}
	return steps
}

func stepState(w *Worker, d *Deployment) StepState {
	switch {
	case w.Step.Done:
		return StepHealthy
	case w.State == Failed, w.Step.Failed, w.Step.Relapses > 1:
		return StepFailed
	case w.State == Stopping && !d.fits(w.Run):
		return StepStopping
	case w.State == Running:
		return StepWaiting
	}
	return StepStarting
}

// Done counts the healthy steps of a deployment's view.
func (d *Deployment) Done() int {
	n := 0
	for _, st := range d.Steps {
		if st.State == StepHealthy {
			n++
		}
	}
	return n
}

func (s *State) publishDeployment(p *Pool, d *Deployment, kind, message string) {
	s.emit(Publish{Notice{Type: kind, Pool: p.Name, Revision: d.To, Deployment: d.ID, Message: message,
		Data: map[string]any{"from": d.From, "to": d.To, "reason": d.Reason}}})
}

// progressDeadline is when a deployment without a newly healthy worker fails.
func (p *Pool) progressDeadline() Time {
	d := p.Deployment
	if d == nil {
		return Time{}
	}
	for _, w := range p.Workers {
		if p.step(w) != nil && w.State == Stopping && !d.fits(w.Run) {
			return Time{} // judge sets Progress when the old run has gone
		}
	}
	return d.Progress.Add(p.Config.Update.ProgressDeadline)
}

// revise finds the revision of this content, or makes one.
func (s *State) revise(p *Pool, spec Spec) *Revision {
	digest := spec.Config.ContentDigest() + " " + spec.Release
	next := 1
	for _, r := range p.Revisions {
		if r.Digest == digest {
			r.Config = spec.Config // keys that need no new process may differ
			s.touchPool(p)
			return r
		}
		next = max(next, r.Number+1)
	}
	r := &Revision{Number: next, Digest: digest, Config: spec.Config, Release: spec.Release,
		CreatedAt: s.now.Wall.Round(time.Millisecond)}
	p.Revisions = append(p.Revisions, r)
	p.trimRevisions(next)
	s.touchPool(p)
	return r
}

// trimRevisions forgets the oldest revisions that nothing refers to.
func (p *Pool) trimRevisions(newest int) {
	used := map[int]bool{p.Target: true, p.Stable: true, newest: true}
	for _, w := range p.Workers {
		used[w.Revision] = true
		if w.Run != nil {
			used[w.Run.Revision] = true
		}
	}
	for i := 0; len(p.Revisions) > keptRevisions && i < len(p.Revisions); {
		if used[p.Revisions[i].Number] {
			i++
			continue
		}
		p.Revisions = append(p.Revisions[:i], p.Revisions[i+1:]...)
	}
}

package server

import (
	"slices"
	"strconv"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// wire turns one snapshot into the wire's types, as of one instant.
type wire struct {
	snap  *supervisor.Snapshot
	now   core.Time
	usage map[int]supervisor.Usage   // of pids; nil: not measured
	work  map[string]supervisor.Work // of runs; nil: not looked at
}

// superd is what there is to say of superd itself. What does not work may name
// any pool: whoever sees only some hears that there is something.
func (w *wire) superd(have role) rpc.Superd {
	i := &w.snap.Info
	degraded := i.Degraded
	if len(degraded) > 0 && have < viewer {
		degraded = []string{"something does not work as it should (what it is, is shown to viewers in [superd])"}
	}
	return rpc.Superd{
		Version: i.Version, PID: i.PID, KeeperPID: rpc.Number(i.KeeperPID), StartedAt: rpc.At(i.StartedAt),
		Config: i.ConfigFile, ConfigPending: i.ConfigPending, Adopted: i.Adopted, Degraded: degraded,
		Stopping: i.Stopping, Seq: w.snap.Seq,
	}
}

func (w *wire) pool(p *core.Pool) rpc.Pool {
	out := rpc.Pool{
		Name: p.Name, Groups: []string{}, Desired: string(p.Desired), Count: p.Count,
		Revision: rpc.Number(p.Target), StableRevision: rpc.Number(p.Stable),
		Workers: make([]rpc.Worker, 0, len(p.Workers)), Draining: []rpc.Draining{},
		WaitsFor: list(p.WaitsFor), Removed: p.Removed,
	}
	if p.Config != nil {
		out.Groups = list(p.Config.Groups)
	}
	if p.Deployment != nil {
		d := deployment(p.Deployment)
		out.Deployment = &d
	}
	for _, worker := range p.Workers {
		out.Workers = append(out.Workers, w.worker(p, worker))
		if worker.Index >= p.Count {
			continue
		}
		if worker.State == core.Running {
			out.Running++
		}
		if healthy(worker) {
			out.Healthy++
		}
	}
	return out
}

// healthy tells whether a worker counts as such: its run is, and is not being ended.
func healthy(w *core.Worker) bool {
	return w.State == core.Running && w.Run != nil && w.Run.Healthy
}

func (w *wire) worker(p *core.Pool, k *core.Worker) rpc.Worker {
	out := rpc.Worker{
		Name: workerName(p.Name, k.Index), Index: k.Index, State: string(k.State), Since: rpc.At(k.Since.Wall),
		Desired: string(k.Desired), Ready: k.State == core.Running, Healthy: healthy(k),
		Restarts: k.Restarts, Window: w.window(p, k), LastExit: exit(k.LastExit), Operation: rpc.Text(k.Operation),
	}
	revision := k.Revision
	if run := k.Run; run != nil {
		revision = run.Revision
		out.RunID, out.PID = rpc.Text(run.ID), rpc.Number(run.PID)
		out.StartedAt = rpc.At(run.StartedAt.Wall)
		if !run.StartedAt.IsZero() {
			out.Uptime = rpc.SecondsOf(max(0, w.now.After(run.StartedAt)))
		}
		out.Stopping = w.stop(run.Stop)
		w.measured(&out, run)
	}
	out.Revision, out.Outdated = rpc.Number(revision), revision != p.Target
	out.Release = release(p, revision)
	if k.State == core.Backoff || k.State == core.Delayed {
		out.NextStartAt = w.due(k.NextStart)
	}
	return out
}

// due is when something comes that is measured by a clock which nobody sets, by the
// wall clock as it is now: it may have been set since.
func (w *wire) due(t core.Time) rpc.Time {
	if t.IsZero() {
		return rpc.At(t.Wall)
	}
	at := w.now.Wall.Add(t.Boot - w.now.Boot)
	if at.Sub(t.Wall).Abs() < time.Second { // both clocks are never read at once
		at = t.Wall
	}
	return rpc.At(at)
}

func (w *wire) measured(out *rpc.Worker, run *core.Run) {
	if u, ok := w.usage[run.PID]; ok && run.Exit == nil {
		out.MemoryBytes, out.CPU = &u.MemoryBytes, &u.CPU
	}
	if work, ok := w.work[run.ID]; ok && run.Exit == nil {
		out.Busy, out.StatusText = &work.Busy, rpc.Text(work.Text)
	}
}

// window counts the restarts that lie within the interval that ends now: stamps
// that have left it may still be in the snapshot, which is older.
func (w *wire) window(p *core.Pool, k *core.Worker) rpc.Window {
	if p.Config == nil {
		return rpc.Window{}
	}
	r := p.Config.Restart
	used := 0
	for _, at := range k.Window {
		if w.now.Boot-at < r.Interval {
			used++
		}
	}
	return rpc.Window{Used: used, Attempts: r.Attempts, Interval: rpc.SecondsOf(r.Interval)}
}

func release(p *core.Pool, revision int) rpc.Text {
	for _, r := range p.Revisions {
		if r.Number == revision {
			return rpc.Text(r.Release)
		}
	}
	return ""
}

// stop tells how far a stop sequence has come.
func (w *wire) stop(s *core.Stop) *rpc.Stop {
	if s == nil {
		return nil
	}
	out := &rpc.Stop{At: rpc.At(s.At.Wall), Reason: s.Reason}
	if s.Step < 0 || s.Step >= len(s.Sequence) {
		return out
	}
	step := s.Sequence[s.Step]
	out.Signal = rpc.Text(signals.Name(step.Signal))
	if next := s.Step + 1; next < len(s.Sequence) && !step.Forever {
		out.Next = rpc.Text(signals.Name(s.Sequence[next].Signal))
		out.Deadline = w.due(s.At.Add(step.Wait))
	}
	return out
}

func exit(e *core.Exit) *rpc.Exit {
	if e == nil {
		return nil
	}
	return &rpc.Exit{
		At: rpc.At(e.At), Code: e.Code, Signal: rpc.Text(e.Signal), Reason: e.Reason, RunID: rpc.Text(e.RunID),
		PID: rpc.Number(e.PID), Core: e.Core, Success: e.Success, Uptime: rpc.SecondsOf(e.Uptime),
	}
}

func deployment(d *core.Deployment) rpc.Deployment {
	out := rpc.Deployment{
		ID: d.ID, Pool: d.Pool, State: string(d.State), From: rpc.Number(d.From), To: rpc.Number(d.To),
		Reason: d.Reason, StartedAt: rpc.At(d.StartedAt.Wall), EndedAt: rpc.At(d.EndedAt.Wall), Error: rpc.Text(d.Error),
		Total: len(d.Steps), Workers: make([]rpc.DeployStep, 0, len(d.Steps)),
	}
	for _, s := range d.Steps {
		if s.State == core.StepHealthy {
			out.Done++
		}
		out.Workers = append(out.Workers, rpc.DeployStep{
			Name: workerName(d.Pool, s.Index), State: string(s.State), Deadline: rpc.At(s.Deadline.Wall),
		})
	}
	return out
}

// revisions are a pool's, newest first.
func revisions(p *core.Pool) []rpc.Revision {
	out := make([]rpc.Revision, 0, len(p.Revisions))
	for _, r := range p.Revisions {
		out = append(out, rpc.Revision{
			Number: r.Number, Digest: r.Digest, Release: rpc.Text(r.Release), CreatedAt: rpc.At(r.CreatedAt),
			Current: r.Number == p.Target, Stable: r.Number == p.Stable,
		})
	}
	slices.SortFunc(out, func(a, b rpc.Revision) int { return b.Number - a.Number })
	return out
}

// deployments are a pool's, newest first.
func deployments(p *core.Pool) []rpc.Deployment {
	out := make([]rpc.Deployment, 0, len(p.Past)+1)
	if p.Deployment != nil {
		out = append(out, deployment(p.Deployment))
	}
	for _, d := range p.Past {
		out = append(out, deployment(d))
	}
	return out
}

func event(e *supervisor.Event) rpc.Event {
	return rpc.Event{
		Seq: e.Seq, Time: rpc.At(e.Time), Type: e.Type, Pool: rpc.Text(e.Pool), Worker: rpc.Text(e.Worker),
		RunID: rpc.Text(e.RunID), PID: rpc.Number(e.PID), Revision: rpc.Number(e.Revision),
		Deployment: rpc.Text(e.Deployment), Message: e.Message, Data: data(e.Data),
	}
}

// data passes durations as seconds, as everywhere on the wire.
func data(in map[string]any) map[string]any {
	out := make(map[string]any, len(in))
	for k, v := range in {
		switch v := v.(type) {
		case time.Duration:
			out[k] = rpc.SecondsOf(v)
		case time.Time:
			out[k] = rpc.At(v)
		case core.Time:
			out[k] = rpc.At(v.Wall)
		default:
			out[k] = v
		}
	}
	return out
}

func workerName(pool string, index int) string { return pool + "/" + strconv.Itoa(index) }

// list is s, or an empty list that is not null on the wire.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

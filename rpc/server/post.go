package server

import (
	"net/http"
	"slices"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

func (s *Server) postStart(c *call) error   { return s.postWorkers(c, core.VerbStart) }
func (s *Server) postStop(c *call) error    { return s.postWorkers(c, core.VerbStop) }
func (s *Server) postRestart(c *call) error { return s.postWorkers(c, core.VerbRestart) }

// postWorkers is start, stop and restart, of a pool or of some of its workers.
func (s *Server) postWorkers(c *call, verb core.Verb) error {
	var body rpc.WorkersRequest
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.Now && verb != core.VerbStop {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: \"now\" is for stop alone", c.verb())
	}
	workers, err := c.workers(body.Workers)
	if err != nil {
		return err
	}
	return s.command(c, core.Command{Verb: verb, Workers: workers, Now: body.Now})
}

func (s *Server) postScale(c *call) error {
	var body rpc.ScaleRequest
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.Count == nil {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: \"count\" is missing; it is the number of workers wanted", c.verb())
	}
	if *body.Count < 0 || *body.Count > core.MaxWorkers {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: count %d is out of range; it is 0 to %d", c.verb(), *body.Count, core.MaxWorkers)
	}
	return s.command(c, core.Command{Verb: core.VerbScale, Count: *body.Count})
}

func (s *Server) postSignal(c *call) error {
	var body rpc.SignalRequest
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.Signal == "" {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: \"signal\" is missing; it is a name such as \"USR1\", or a number", c.verb())
	}
	sig, err := signals.Parse(body.Signal)
	if err != nil {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: %v", c.verb(), err)
	}
	workers, err := c.workers(body.Workers)
	if err != nil {
		return err
	}
	return s.command(c, core.Command{Verb: core.VerbSignal, Workers: workers, Signal: signals.Name(sig), Group: body.Group})
}

// workers checks the indices of a request. nil means all; an empty list would
// mean nobody, which nobody means.
func (c *call) workers(list []int) ([]int, error) {
	if list == nil {
		return nil, nil
	}
	if len(list) == 0 {
		return nil, rpc.Errorf(rpc.KindInvalid, "cannot %s: \"workers\" is empty; leave it out to mean all", c.verb())
	}
	list = slices.Clone(list)
	slices.Sort(list)
	list = slices.Compact(list)
	if list[0] < 0 {
		return nil, rpc.Errorf(rpc.KindInvalid, "cannot %s: %d is not a worker's index; it is a number from 0", c.verb(), list[0])
	}
	if last := list[len(list)-1]; last >= max(c.pool.Count, len(c.pool.Workers)) {
		return nil, c.noWorker(last)
	}
	return list, nil
}

// command hands a command to the supervisor and answers with what became of it.
func (s *Server) command(c *call, cmd core.Command) error {
	wait, err := c.wait()
	if err != nil {
		return err
	}
	cmd.Pool, cmd.By = c.pool.Name, c.access.peer.by()
	ctx, cancel := s.bounded(c)
	defer cancel()
	answer, err := s.api.Do(ctx, cmd)
	if err != nil {
		return err
	}
	if answer.Refusal != nil {
		return answer.Refusal
	}
	if d := answer.Deployment; cmd.Verb == core.VerbRestart && d != nil {
		s.reflected(c, func(snap *supervisor.Snapshot) bool { return hasDeployment(snap, d.ID) })
		return s.replyDeployment(c, d, wait)
	}
	if cmd.Verb != core.VerbSignal {
		s.reflected(c, func(snap *supervisor.Snapshot) bool { return hasOperation(snap, cmd.Pool, answer.Operation) })
	}
	return s.replyCommand(c, cmd, answer, wait)
}

// reflected waits until the state shows what was just accepted, so that whoever
// gets the answer and looks finds it. The supervisor answers first and shows
// soon after; where something else came between it is not waited for.
func (s *Server) reflected(c *call, shows func(*supervisor.Snapshot) bool) {
	s.waitUntil(c.r.Context(), time.Second, shows)
}

func hasDeployment(snap *supervisor.Snapshot, id string) bool {
	_, d := findDeployment(snap, id)
	return d != nil
}

func hasOperation(snap *supervisor.Snapshot, pool, operation string) bool {
	p := snap.Pool(pool)
	return p == nil || p.Operation.ID == operation || slices.ContainsFunc(p.Workers, func(w *core.Worker) bool {
		return w.Operation == operation
	})
}

// replyDeployment answers with a deployment: 202 while it runs.
func (s *Server) replyDeployment(c *call, d *core.Deployment, wait time.Duration) error {
	if wait > 0 {
		s.waitUntil(c.r.Context(), wait, func(snap *supervisor.Snapshot) bool {
			_, newer := findDeployment(snap, d.ID)
			if newer != nil {
				d = newer
			}
			return newer != nil && d.State != core.DeployRunning
		})
	}
	status := http.StatusAccepted
	if d.State != core.DeployRunning {
		status = http.StatusOK
	}
	return s.reply(c, status, deployment(d))
}

// replyCommand answers with the pool as it is after the command was accepted,
// or with ?wait when what was asked for is reached or cannot be any more.
func (s *Server) replyCommand(c *call, cmd core.Command, answer core.Reply, wait time.Duration) error {
	from := c.pool.Count
	out := rpc.CommandReply{
		Operation: rpc.Text(answer.Operation), Joined: answer.Joined, Superseded: rpc.Text(answer.Superseded), Problems: []string{},
	}
	c.snap = s.newest()
	if p := c.snap.Pool(c.pool.Name); p != nil {
		c.pool = p
	}
	out.Pool = s.wire(c, c.pool).pool(c.pool)
	if wait > 0 && cmd.Verb != core.VerbSignal {
		ask := rpc.Ask{Verb: string(cmd.Verb), Workers: cmd.Workers, Count: cmd.Count, From: from}
		s.follow(c, rpc.NewWatch(ask, &out), wait, &out)
	}
	return s.reply(c, http.StatusOK, out)
}

// follow waits for the end of a command and keeps in out how things stand.
func (s *Server) follow(c *call, watch *rpc.Watch, wait time.Duration, out *rpc.CommandReply) {
	s.waitLook(c.r.Context(), wait, func(snap *supervisor.Snapshot) (bool, time.Duration) {
		var pool *rpc.Pool
		if p := snap.Pool(c.pool.Name); p != nil {
			w := &wire{snap: snap, now: s.opts.Now()}
			out.Pool = w.pool(p)
			pool = &out.Pool
		}
		seen := watch.Look(pool, time.Now())
		out.Done = seen.Done && len(seen.Problems) == 0
		out.Problems = list(seen.Problems)
		return seen.Done, seen.Again
	})
}

// postApply reads the configuration anew.
func (s *Server) postApply(c *call) error {
	if err := c.decode(&rpc.ApplyRequest{}); err != nil {
		return err
	}
	ctx, cancel := s.bounded(c)
	defer cancel()
	result, err := s.api.Apply(ctx, c.access.peer.by())
	if err != nil {
		return err
	}
	s.reflected(c, func(snap *supervisor.Snapshot) bool { return showsApplied(snap, result) })
	out := rpc.ApplyReply{
		Added: list(result.Added), Removed: list(result.Removed), Scaled: list(result.Scaled), Changed: list(result.Changed),
		InPlace: list(result.InPlace), Warnings: list(result.Warnings), Deployments: []rpc.Deployment{},
	}
	for _, d := range result.Deployments {
		out.Deployments = append(out.Deployments, deployment(d))
	}
	status := http.StatusOK
	if len(out.Deployments) > 0 {
		status = http.StatusAccepted
	}
	return s.reply(c, status, out)
}

// showsApplied tells whether a snapshot is newer than an apply.
func showsApplied(snap *supervisor.Snapshot, r *supervisor.ApplyResult) bool {
	if snap.Seq < r.Seq {
		return false
	}
	for _, d := range r.Deployments {
		if !hasDeployment(snap, d.ID) {
			return false
		}
	}
	for _, name := range r.Added {
		if snap.Pool(name) == nil {
			return false
		}
	}
	for _, name := range r.Removed {
		if p := snap.Pool(name); p != nil && !p.Removed {
			return false
		}
	}
	return true
}

func (s *Server) postShutdown(c *call) error {
	var body rpc.ShutdownRequest
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.Now && body.Detach {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: \"now\" kills the workers and \"detach\" leaves them running; give one", c.verb())
	}
	ctx, cancel := s.bounded(c)
	defer cancel()
	if err := s.api.Shutdown(ctx, body.Now, body.Detach, c.access.peer.by()); err != nil {
		return err
	}
	return s.reply(c, http.StatusAccepted, rpc.ShutdownReply{Stopping: true, PID: c.snap.Info.PID})
}

func (s *Server) postUpgrade(c *call) error {
	var body rpc.UpgradeRequest
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.Binary != "" && body.Binary[0] != '/' {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: \"binary\" is %q; it is a path that begins with a slash", c.verb(), clip(body.Binary))
	}
	ctx, cancel := s.bounded(c)
	defer cancel()
	up, err := s.api.Upgrade(ctx, body.Binary, c.access.peer.by())
	if err != nil {
		return err
	}
	return s.reply(c, http.StatusAccepted, rpc.UpgradeReply{Upgrading: true, From: up.From, To: up.To, Binary: up.Path, PID: c.snap.Info.PID})
}

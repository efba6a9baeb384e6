package server

import (
	"context"
	"maps"
	"net/http"
	"strconv"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// wire is the call's snapshot as of now. With pools given their live runs are measured.
func (s *Server) wire(c *call, pools ...*core.Pool) *wire {
	w := &wire{snap: c.snap, now: s.opts.Now(), usage: s.sample(pools), work: map[string]supervisor.Work{}}
	for _, p := range pools {
		maps.Copy(w.work, s.api.Work(p))
	}
	return w
}

// sample measures the main processes of pools in one go.
func (s *Server) sample(pools []*core.Pool) map[int]supervisor.Usage {
	var pids []int
	for _, p := range pools {
		for _, w := range p.Workers {
			if w.Run != nil && w.Run.PID > 0 && w.Run.Exit == nil {
				pids = append(pids, w.Run.PID)
			}
		}
	}
	if len(pids) == 0 {
		return nil
	}
	return s.api.Sample(pids)
}

// getStatus shows the pools that the peer may see.
func (s *Server) getStatus(c *call) error {
	var seen []*core.Pool
	for _, p := range c.snap.Pools {
		if c.access.pool(p) >= viewer {
			seen = append(seen, p)
		}
	}
	w := s.wire(c, seen...)
	out := rpc.Status{Superd: w.superd(c.access.all), Pools: make([]rpc.Pool, 0, len(seen)), Jobs: []rpc.Job{}}
	for _, p := range seen {
		out.Pools = append(out.Pools, w.pool(p))
	}
	return s.reply(c, http.StatusOK, &out)
}

func (s *Server) getPool(c *call) error {
	pool := s.wire(c, c.pool).pool(c.pool)
	return s.reply(c, http.StatusOK, &pool)
}

func (s *Server) getWorkers(c *call) error {
	return s.reply(c, http.StatusOK, rpc.WorkerList{Workers: s.wire(c, c.pool).pool(c.pool).Workers})
}

func (s *Server) getWorker(c *call) error {
	index, err := c.index(c.values["index"])
	if err != nil {
		return err
	}
	for _, k := range c.pool.Workers {
		if k.Index == index {
			return s.reply(c, http.StatusOK, s.wire(c, c.pool).worker(c.pool, k))
		}
	}
	return c.noWorker(index)
}

// index reads a worker's index.
func (c *call) index(text string) (int, error) {
	index, err := strconv.Atoi(text)
	if err != nil || index < 0 || strconv.Itoa(index) != text {
		return 0, rpc.Errorf(rpc.KindInvalid, "cannot %s: %q is not a worker's index; it is a number from 0", c.verb(), clip(text))
	}
	return index, nil
}

func (c *call) noWorker(index int) error {
	return rpc.Errorf(rpc.KindNotFound, "cannot %s: there is no worker %s; %s has %s",
		c.verb(), workerName(c.pool.Name, index), c.pool.Name, indices(c.pool.Count))
}

func indices(count int) string {
	switch count {
	case 0:
		return "no workers"
	case 1:
		return "one, 0"
	}
	return strconv.Itoa(count) + ", 0 to " + strconv.Itoa(count-1)
}

func (s *Server) getConfig(c *call) error {
	return s.reply(c, http.StatusOK, poolConfig(c.snap, c.pool, c.access.pool(c.pool) >= operator))
}

func (s *Server) getRevisions(c *call) error {
	return s.reply(c, http.StatusOK, rpc.RevisionList{Revisions: revisions(c.pool)})
}

func (s *Server) getDeployments(c *call) error {
	return s.reply(c, http.StatusOK, rpc.DeploymentList{Deployments: deployments(c.pool)})
}

// getDeployment answers at once, or with ?wait when the deployment has ended.
func (s *Server) getDeployment(c *call) error {
	wait, err := c.wait()
	if err != nil {
		return err
	}
	id := c.values["id"]
	if err := c.maySeeDeployment(id); err != nil {
		return err
	}
	var found *core.Deployment
	s.waitUntil(c.r.Context(), wait, func(snap *supervisor.Snapshot) bool {
		_, d := findDeployment(snap, id)
		if d != nil {
			found = d
		}
		return d == nil || d.State != core.DeployRunning
	})
	if found == nil {
		return c.noDeployment(id)
	}
	return s.reply(c, http.StatusOK, deployment(found))
}

// maySeeDeployment is an error for whoever may not see the deployment's pool,
// the same as for one that does not exist.
func (c *call) maySeeDeployment(id string) error {
	p, d := findDeployment(c.snap, id)
	switch {
	case d != nil && c.access.pool(p) >= viewer:
		return nil
	case c.access.all < viewer:
		return c.access.forbid(viewer, "show deployment "+clip(id), "")
	}
	return c.noDeployment(id)
}

func (c *call) noDeployment(id string) error {
	return rpc.Errorf(rpc.KindNotFound, "cannot show deployment %s: there is none with this ID, or it is too long ago", clip(id))
}

func findDeployment(snap *supervisor.Snapshot, id string) (*core.Pool, *core.Deployment) {
	for _, p := range snap.Pools {
		if p.Deployment != nil && p.Deployment.ID == id {
			return p, p.Deployment
		}
		for _, d := range p.Past {
			if d.ID == id {
				return p, d
			}
		}
	}
	return nil, nil
}

func (s *Server) getHealth(c *call) error {
	return s.reply(c, http.StatusOK, rpc.Health{Status: "ok"})
}

func (s *Server) getOpenAPI(c *call) error {
	return s.reply(c, http.StatusOK, openAPI(c.snap.Info.Version))
}

// newest is the newest snapshot that holds at least what c's did.
func (s *Server) newest() *supervisor.Snapshot {
	snap, _ := s.api.Snapshot()
	return snap
}

// bounded is the context of what is asked of the supervisor.
func (s *Server) bounded(c *call) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.r.Context(), s.opts.Work)
}

package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/superd/superd/rpc"
)

// health is what check found: its JSON, and what its line is made of.
type health struct {
	State   severity `json:"state"`
	Code    int      `json:"code"`    // the exit code
	Message string   `json:"message"` // the line without performance data
	// Superd is what superd says of itself; null when it was not reached.
	Superd   *rpc.Superd  `json:"superd"`
	Pools    []poolHealth `json:"pools"`
	Problems []problem    `json:"problems"` // the worst first

	notes []string // what is out of the ordinary and as it should be
	took  time.Duration
}

// poolHealth counts a pool's workers, or those of them that were asked about.
type poolHealth struct {
	Name      string `json:"name"`
	Desired   string `json:"desired"`
	Wanted    int    `json:"wanted"` // workers that are to run; the other numbers are of these
	Running   int    `json:"running"`
	Healthy   int    `json:"healthy"`
	Backoff   int    `json:"backoff"`
	Delayed   int    `json:"delayed"`
	Failed    int    `json:"failed"`
	Completed int    `json:"completed"`
}

// problem is why the state is not OK.
type problem struct {
	State   severity `json:"state"`
	Pool    string   `json:"pool,omitempty"`    // empty: superd itself
	Workers []string `json:"workers,omitempty"` // empty: the pool as a whole
	Text    string   `json:"text"`
}

// patience is how long a pool's workers may take to become healthy.
type patience struct{ minimum, deadline time.Duration }

// afterKill is how long after KILL a process is expected to be gone.
const afterKill = 10 * time.Second

// judge makes a health of what superd said, as of one instant.
type judge struct {
	now      time.Time
	patience map[string]patience // of the pools that need it, by name
	h        health
}

// isWanted tells whether a worker is to run.
func isWanted(p *rpc.Pool, w *rpc.Worker) bool {
	return p.Desired == "running" && !p.Removed && w.Desired == "running" && w.Index < p.Count
}

// needsPatience tells whether a pool cannot be judged without its configuration:
// a worker is on its way, and no deployment watches over it.
func (j *judge) needsPatience(t *target) bool {
	for i := range t.pool.Workers {
		w := &t.pool.Workers[i]
		if t.concerns(w.Index) && isWanted(t.pool, w) && !w.Healthy {
			switch w.State {
			case "starting", "running", "stopped":
				return true
			}
		}
	}
	return false
}

// judge looks at superd itself only when no pools were named: else the check of
// every single pool would warn of the same.
func (j *judge) judge(s *rpc.Superd, targets []target, superdToo bool) *health {
	j.h = health{Superd: s, Pools: []poolHealth{}, Problems: []problem{}}
	for i := range targets {
		j.pool(&targets[i])
	}
	if superdToo {
		j.superd(s)
	}
	j.sort()
	for _, p := range j.h.Problems {
		j.h.State = max(j.h.State, p.State)
	}
	j.h.Code = int(j.h.State)
	return &j.h
}

func (j *judge) superd(s *rpc.Superd) {
	for _, d := range s.Degraded {
		j.add(sevWarning, "", nil, "superd is degraded: "+d)
	}
	if s.ConfigPending {
		j.add(sevWarning, "", nil, "the configuration on disk is not what is in force")
	}
	if s.Stopping {
		j.add(sevWarning, "", nil, "superd is being shut down")
	}
	if s.KeeperPID == 0 {
		j.add(sevWarning, "", nil, "superd has no keeper")
	}
}

func (j *judge) add(s severity, pool string, workers []string, text string) {
	j.h.Problems = append(j.h.Problems, problem{State: s, Pool: pool, Workers: workers, Text: text})
}

// sort puts the worst first and leaves the order else.
func (j *judge) sort() {
	var sorted []problem
	for _, s := range []severity{sevCritical, sevWarning} {
		for _, p := range j.h.Problems {
			if p.State == s {
				sorted = append(sorted, p)
			}
		}
	}
	if sorted != nil {
		j.h.Problems = sorted
	}
}

// finding is the same trouble of several workers of one pool.
type finding struct {
	trouble trouble
	workers []*rpc.Worker
}

// pool judges one pool, or the workers of it that were asked about.
func (j *judge) pool(t *target) {
	p := t.pool
	c := poolHealth{Name: p.Name, Desired: p.Desired}
	var found []*finding
	stopped := 0
	for i := range p.Workers {
		w := &p.Workers[i]
		if !t.concerns(w.Index) {
			continue
		}
		if isWanted(p, w) {
			c.count(w)
		} else if w.Index < p.Count {
			stopped++
		}
		if x, ok := j.worker(p, w); ok {
			found = group(found, x, w)
		}
	}
	j.h.Pools = append(j.h.Pools, c)
	hurt := false // among those that are to run
	for _, f := range found {
		hurt = hurt || f.trouble.counts
	}
	// Of a single worker its own trouble says all: it may be back in a second.
	if hurt && c.Healthy == 0 && c.Wanted > 1 && t.workers == nil {
		j.add(sevCritical, p.Name, nil, p.Name+" has no healthy worker")
	}
	for _, f := range found {
		names := make([]string, len(f.workers))
		for i, w := range f.workers {
			names[i] = w.Name
		}
		j.add(f.trouble.state, p.Name, names, f.text(&c))
	}
	j.deployment(p)
	j.note(t, stopped)
}

func (c *poolHealth) count(w *rpc.Worker) {
	c.Wanted++
	if w.Healthy {
		c.Healthy++
	}
	switch w.State {
	case "running":
		c.Running++
	case "backoff":
		c.Backoff++
	case "delayed":
		c.Delayed++
	case "failed":
		c.Failed++
	case "completed":
		c.Completed++
	}
}

// group adds a worker to those with the same trouble.
func group(found []*finding, x trouble, w *rpc.Worker) []*finding {
	for _, f := range found {
		if f.trouble.what == x.what {
			f.workers = append(f.workers, w)
			return found
		}
	}
	return append(found, &finding{x, []*rpc.Worker{w}})
}

// manyFound is how many workers of a pool are listed one by one.
const manyFound = 5

// text is a finding in words.
func (f *finding) text(c *poolHealth) string {
	x := f.trouble
	text := f.workers[0].Name + " " + x.what
	if n := len(f.workers); n > 1 {
		indices := make([]string, 0, manyFound+1)
		for i, w := range f.workers {
			if i == manyFound {
				indices = append(indices, "...")
				break
			}
			indices = append(indices, strconv.Itoa(w.Index))
		}
		text = c.Name + ": " + strconv.Itoa(n) + " of " + strconv.Itoa(c.Wanted) + " " + x.what + " (" + strings.Join(indices, ", ") + ")"
	} else if x.more != "" {
		text += " " + x.more
	}
	if x.cause != "" {
		text += ": " + x.cause
	}
	return text
}

func (j *judge) deployment(p *rpc.Pool) {
	if d := p.Deployment; d != nil && d.State == "reverting" {
		text := p.Name + " is being reverted to revision " + number(d.From)
		if d.Error != "" {
			text += ": " + string(d.Error)
		}
		j.add(sevWarning, p.Name, nil, text)
	}
}

// note says what is unusual about a pool and as it should be.
func (j *judge) note(t *target, stopped int) {
	p := t.pool
	switch {
	case p.Removed:
		j.h.notes = append(j.h.notes, p.Name+" is being removed")
	case p.Desired != "running":
		j.h.notes = append(j.h.notes, p.Name+" is stopped")
	case stopped > 0:
		j.h.notes = append(j.h.notes, p.Name+": "+plural(stopped, "worker")+" stopped")
	}
	if d := p.Deployment; d != nil && d.State != "reverting" {
		j.h.notes = append(j.h.notes, p.Name+": "+d.Reason+" "+strings.ReplaceAll(d.State, "_", " ")+" "+strconv.Itoa(d.Done)+"/"+strconv.Itoa(d.Total))
	}
	if len(p.WaitsFor) > 0 && p.Desired == "running" {
		j.h.notes = append(j.h.notes, p.Name+" waits for "+strings.Join(p.WaitsFor, ", "))
	}
}

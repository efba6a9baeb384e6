package core

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// cloneState is a state that goes its own way from here. Nobody is told of its transitions.
func cloneState(s *State) *State {
	c := New(s.Seed)
	c.now, c.lastID, c.left, c.rested = s.now, s.lastID, s.left, s.rested
	if s.Leaving != nil {
		leaving := *s.Leaving
		c.Leaving = &leaving
	}
	for _, name := range s.names() {
		p := s.Pools[name]
		workers := make([]*Worker, len(p.Workers))
		for i, w := range p.Workers {
			workers[i] = w.Clone()
		}
		c.Load(p.Clone(nil), workers)
	}
	c.held = nil
	for _, p := range s.held {
		c.held = append(c.held, c.Pools[p.Name])
	}
	for _, name := range c.names() {
		p := c.Pools[name]
		c.alarms.set(&p.alarm, earliest(p.WaitsUntil, p.progressDeadline()))
		for _, w := range p.Workers {
			c.alarms.set(&w.alarm, c.deadline(p, w))
		}
	}
	return c
}

// canon is what matters of a state for what it will do, in a form that is equal
// for states that will do the same: instants are relative to now, IDs are
// numbered, and what only people read is left out.
type canon struct {
	Leaving *Leave
	Pools   []*Pool
	Workers [][]*Worker
}

var idPattern = regexp.MustCompile(`\b[0-9a-v]{20}\b`)

// canonical writes a state as its canon, in JSON.
func canonical(s *State) string {
	c := canon{Leaving: s.Leaving}
	for _, name := range s.names() {
		p := s.Pools[name]
		workers := make([]*Worker, len(p.Workers))
		for i, w := range p.Workers {
			workers[i] = canonicalWorker(p, w.Clone(), s.now)
		}
		c.Workers = append(c.Workers, workers)
		c.Pools = append(c.Pools, canonicalPool(p.Clone(nil), s.now))
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	ids := map[string]string{}
	return idPattern.ReplaceAllStringFunc(string(data), func(id string) string {
		if ids[id] == "" {
			ids[id] = "#" + strconv.Itoa(len(ids))
		}
		return ids[id]
	})
}

func canonicalPool(p *Pool, now Time) *Pool {
	p.Past, p.Config = nil, nil
	relative(&p.WaitsUntil, now)
	for _, r := range p.Revisions {
		r.Config, r.Digest, r.CreatedAt = nil, "", time.Time{}
	}
	if d := p.Deployment; d != nil {
		d.Steps = nil
		relative(&d.StartedAt, now)
		relative(&d.Progress, now)
	}
	if !p.going(p.Operation.ID) {
		p.Operation.ID = "" // nobody can join it any more
	}
	return p
}

func canonicalWorker(p *Pool, w *Worker, now Time) *Worker {
	relative(&w.NextStart, now)
	w.Since = Time{Boot: w.Since.Boot - now.Boot}
	if d := p.Deployment; d == nil || w.State == Running || w.Since.Boot < d.StartedAt.Boot-now.Boot {
		w.Since = Time{}
	}
	w.Window = slices.DeleteFunc(w.Window, func(at time.Duration) bool { return now.Boot-at >= p.Config.Restart.Interval })
	for i := range w.Window {
		w.Window[i] -= now.Boot
	}
	if len(w.Window) == 0 {
		w.Window = nil
	}
	w.LastExit, w.Restarts = canonicalExit(w.LastExit), 0
	if w.Operation != p.Operation.ID {
		w.Operation = ""
	}
	switch st := p.step(w); {
	case st != nil:
		relative(&st.Deadline, now)
	case p.isDown(w):
		w.Step = &Step{TookDown: true}
	default:
		w.Step = nil
	}
	if r := w.Run; r != nil {
		r.PID, r.StartTicks = min(r.PID, 1), 0
		r.Exit = canonicalExit(r.Exit)
		r.RequestedAt = Time{}
		relative(&r.StartedAt, now)
		relative(&r.SweptAt, now)
		if r.Healthy || r.Stop != nil {
			r.StartedAt = Time{Boot: min(r.StartedAt.Boot, 1)}
		}
		if r.Stop != nil {
			relative(&r.Stop.At, now)
			relative(&r.Stop.Began, now)
			relative(&r.Stop.Idle, now)
		}
		if p.Deployment == nil || r.Deployment != p.Deployment.ID {
			r.Deployment = ""
		}
	}
	return w
}

// relative makes an instant one from now on; zero stays zero.
func relative(t *Time, now Time) {
	if !t.IsZero() {
		t.Boot, t.Wall = t.Boot-now.Boot, time.Unix(0, 0)
	}
}

func canonicalExit(x *Exit) *Exit {
	if x == nil {
		return nil
	}
	return &Exit{Success: x.Success, Signal: x.Signal, Code: x.Code}
}

// differ shows where two texts begin to differ.

func differ(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	show := func(s string) string { return s[max(0, i-300):min(len(s), i+200)] }
	return "without the death\n" + show(a) + "\nwith it\n" + show(b)
}

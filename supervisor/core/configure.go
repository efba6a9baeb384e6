package core

import (
	"fmt"
	"slices"
	"strings"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
)

// configure makes the pools what an accepted configuration says. At the start
// of superd nothing is begun here that waits for other pools.
func (s *State) configure(specs []Spec, starting bool) {
	named := map[string]bool{}
	for _, spec := range specs {
		named[spec.Config.Name] = true
	}
	for _, name := range s.names() {
		if !named[name] {
			s.removePool(s.Pools[name])
		}
	}
	for _, spec := range specs {
		if p := s.Pools[spec.Config.Name]; p == nil {
			s.addPool(spec, starting)
		} else {
			s.changePool(p, spec, starting)
		}
	}
}

// addPool makes a new pool, and starts it unless it is to wait.
func (s *State) addPool(spec Spec, starting bool) {
	c := spec.Config
	p := &Pool{Name: c.Name, Config: c, Desired: Up, Count: c.Count}
	if !c.Autostart {
		p.Desired = Down
	}
	p.alarm = alarm{pool: p}
	s.Pools[p.Name] = p
	p.Target = s.revise(p, spec).Number
	for i := range c.Count {
		w := s.newWorker(p, i)
		p.Workers = append(p.Workers, w)
		s.touch(p, w)
	}
	s.publishPool(p, "pool.added", plural(c.Count, "worker"))
	if !starting {
		s.startPool(p, "the pool was added")
	}
}

// plural is "1 worker", "2 workers".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// changePool takes a pool that exists to its new configuration: what needs new
// processes by a deployment, the rest in place. Applied while superd runs, a
// configuration is deployed as well when the pool is not where it says: after a
// deployment that failed, say.
func (s *State) changePool(p *Pool, spec Spec, starting bool) {
	old, back := p.Config, p.Removed
	if back {
		// It was on its way out, and its runs still are: new ones follow them.
		p.Removed, p.Desired = false, Up
		for _, w := range p.Workers {
			w.Desired = Up
		}
	}
	change := config.Diff(old, spec.Config)
	behind := !starting && p.Behind(spec.Config)
	if len(change.Keys) == 0 && !back && !behind {
		return
	}
	p.Config = spec.Config
	s.touchPool(p)
	switch {
	case !change.NeedsNewProcesses && !behind:
		for _, r := range p.Revisions {
			if strings.HasPrefix(r.Digest, spec.Config.ContentDigest()+" ") {
				r.Config = spec.Config // others have their own stop sequences
			}
		}
		for _, w := range p.Workers {
			s.touch(p, w) // deadlines may have moved
		}
	case p.Desired == Down || p.waiting(): // it starts in it
		p.Target = s.revise(p, spec).Number
	default:
		s.deploy(p, s.revise(p, spec), "apply")
	}
	if spec.Config.Count != old.Count || back {
		s.rescale(p, spec.Config.Count)
	}
	if back {
		s.startPool(p, "the pool is back")
	}
}

// rescale takes a pool to the count of its configuration. New workers join the
// deployment that has begun by now.
func (s *State) rescale(p *Pool, count int) {
	before := p.Count
	p.Override = nil
	s.resize(p, count, "")
	if before != count {
		s.publishPool(p, "pool.scaled", fmt.Sprintf("from %d to %d by the configuration", before, count))
	}
}

// Behind tells whether a pool's target is another revision than a configuration
// of it would be.
func (p *Pool) Behind(c *config.Pool) bool {
	r := p.Revision(p.Target)
	return r != nil && r.Config.ContentDigest() != c.ContentDigest()
}

// removePool stops a pool that the configuration has no more. It goes away
// with its last run.
func (s *State) removePool(p *Pool) {
	if p.Removed {
		return
	}
	p.Removed, p.Desired = true, Down
	p.WaitsFor, p.WaitsUntil = nil, Time{}
	s.cancelDeployment(p, "the pool was removed from the configuration")
	s.touchPool(p)
	for _, w := range p.Workers {
		w.Desired = Down
		s.cue(p, w, cue{on: onStop, reason: "the pool was removed from the configuration"})
	}
}

// startPool starts what is wanted up and is not, be it for the first time.
func (s *State) startPool(p *Pool, reason string) {
	if p.Desired != Up || p.Removed || s.Leaving != nil {
		return
	}
	s.publishPool(p, "pool.started", reason)
	if p.Stable == 0 && p.Deployment == nil && p.live() == 0 {
		s.deploy(p, p.Revision(p.Target), "start")
		return
	}
	for _, w := range p.Workers {
		if s.wanted(p, w) && (w.State == Stopped || w.State == Stopping) {
			s.startWorker(p, w, reason)
		}
	}
}

// waiting tells that a pool has not been started yet, since others come first.
func (p *Pool) waiting() bool { return len(p.WaitsFor) > 0 }

// hold makes a pool wait for those of its `after`.
func (s *State) hold(p *Pool) bool {
	var first []string
	for _, name := range p.Config.After {
		if q := s.Pools[name]; q != nil && !q.Removed && q.Desired == Up && !s.allHealthy(q) {
			first = append(first, name)
		}
	}
	if len(first) == 0 {
		return false
	}
	p.WaitsFor, p.WaitsUntil = first, s.now.Add(p.Config.AfterTimeout)
	s.held = append(s.held, p)
	s.touchPool(p)
	return true
}

// unhold starts those waiting pools whose turn has come, or whose patience is
// at its end.
func (s *State) unhold() {
	held := s.held
	s.held = nil
	for _, p := range held {
		if !p.waiting() || s.Pools[p.Name] != p {
			continue
		}
		missing := slices.DeleteFunc(slices.Clone(p.WaitsFor), func(name string) bool {
			q := s.Pools[name]
			return q == nil || q.Removed || q.Desired == Down || s.allHealthy(q)
		})
		reason := "those before it are healthy"
		switch {
		case len(missing) == 0:
		case s.now.Boot >= p.WaitsUntil.Boot:
			reason = fmt.Sprintf("although %s was not healthy within %s", strings.Join(missing, ", "),
				signals.FormatDuration(p.Config.AfterTimeout))
		default:
			s.held = append(s.held, p)
			continue
		}
		p.WaitsFor, p.WaitsUntil = nil, Time{}
		s.touchPool(p)
		s.startPool(p, reason)
		// After a crash a pool that waits no more, and has no deployment, shows by its
		// workers alone that its turn had come: it would wait once more.
		p.late = p.Deployment == nil
	}
}

// allHealthy tells whether a pool can be relied on by those that come after it.
func (s *State) allHealthy(p *Pool) bool {
	if p.waiting() {
		return false
	}
	for _, w := range p.Workers {
		if p.takesPart(w) && w.State != Completed && (w.Run == nil || !w.Run.Healthy || w.State != Running) {
			return false
		}
	}
	return true
}

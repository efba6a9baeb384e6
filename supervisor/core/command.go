package core

import (
	"fmt"
	"slices"

	"github.com/superd/superd/signals"
)

// MaxWorkers is the largest count of a pool.
const MaxWorkers = 10000

// command does what an operator asks, or says why not. Each command has
// exactly one answer, at once: what it began is watched by its ID.
func (s *State) command(c Command) Reply {
	p := s.Pools[c.Pool]
	if r := s.refuse(p, c); r != nil {
		return Reply{Refusal: r}
	}
	switch c.Verb {
	case VerbStart:
		return s.commandStart(p, c)
	case VerbStop:
		return s.commandStop(p, c)
	case VerbRestart:
		if len(c.Workers) > 0 {
			return s.commandReplace(p, c)
		}
		return s.commandRestart(p, c)
	case VerbScale:
		return s.commandScale(p, c)
	}
	return s.commandSignal(p, c)
}

// refuse says why a command cannot be followed, or nil.
func (s *State) refuse(p *Pool, c Command) *Refusal {
	deny := func(kind RefusalKind, cause string) *Refusal {
		return &Refusal{kind, fmt.Sprintf("cannot %s %s: %s", c.Verb, c.Pool, cause)}
	}
	if p == nil || p.Removed {
		return deny(RefuseNotFound, "no such pool")
	}
	if s.Leaving != nil && c.Verb != VerbSignal && c.Verb != VerbStop {
		return deny(RefuseStopping, "superd is being stopped")
	}
	for _, i := range c.Workers {
		if i < 0 || i >= len(p.Workers) {
			return deny(RefuseNotFound, fmt.Sprintf("no worker %s/%d", p.Name, i))
		}
		if i >= p.Count && c.Verb != VerbSignal {
			return deny(RefuseConflict, fmt.Sprintf("%s/%d is leaving, the pool has %d workers", p.Name, i, p.Count))
		}
	}
	switch c.Verb {
	case VerbStart, VerbStop, VerbRestart:
	case VerbScale:
		if c.Count < 0 || c.Count > MaxWorkers {
			return deny(RefuseInvalid, fmt.Sprintf("count %d is not from 0 to %d", c.Count, MaxWorkers))
		}
	case VerbSignal:
		if _, err := signals.Parse(c.Signal); err != nil {
			return deny(RefuseInvalid, err.Error())
		}
	default:
		return deny(RefuseInvalid, "no such command")
	}
	return nil
}

// addressed are the workers that a command means.
func (p *Pool) addressed(c Command) []*Worker {
	if len(c.Workers) == 0 {
		return p.Workers[:min(p.Count, len(p.Workers))]
	}
	ws := make([]*Worker, 0, len(c.Workers))
	for _, i := range c.Workers {
		ws = append(ws, p.Workers[i])
	}
	return ws
}

// claim gives a command its ID and the workers it means; or tells that the same
// command is under way already, which the new one joins.
func (s *State) claim(p *Pool, c Command) (reply Reply, joined bool) {
	op := &p.Operation
	going := op.ID != "" && p.going(op.ID)
	if going && op.Verb == c.Verb && slices.Equal(op.Workers, c.Workers) && op.Count == c.Count {
		return Reply{Operation: op.ID, Joined: true}, true
	}
	if going {
		reply.Superseded = op.ID
	}
	reply.Operation = s.newID(s.now)
	p.Operation = Operation{ID: reply.Operation, Verb: c.Verb, Workers: c.Workers, Count: c.Count}
	s.touchPool(p)
	for _, w := range p.addressed(c) {
		w.Operation = reply.Operation
		s.touch(p, w)
	}
	return reply, false
}

// going tells whether the command of an ID still has something to wait for.
func (p *Pool) going(id string) bool {
	return slices.ContainsFunc(p.Workers, func(w *Worker) bool {
		return w.Operation == id && (w.State == Starting || w.State == Stopping)
	})
}

func (s *State) commandStart(p *Pool, c Command) Reply {
	reply, joined := s.claim(p, c)
	if joined {
		return reply
	}
	p.Desired = Up
	if len(c.Workers) == 0 { // else the others go on waiting
		p.WaitsFor, p.WaitsUntil = nil, Time{}
	}
	for _, w := range p.addressed(c) {
		w.Desired = Up
	}
	s.publishPool(p, "pool.started", "by "+c.By)
	if p.Stable == 0 && p.Deployment == nil && len(c.Workers) == 0 && p.live() == 0 {
		d, _ := s.deploy(p, p.Revision(p.Target), "start")
		reply.Operation, p.Operation.ID = d.ID, d.ID
		return reply
	}
	for _, w := range p.addressed(c) {
		s.startWorker(p, w, "started by "+c.By)
	}
	return reply
}

// startWorker starts a worker in the pool's target revision; in a deployment it
// joins that.
func (s *State) startWorker(p *Pool, w *Worker, reason string) {
	if w.Run == nil || w.State == Stopping {
		w.Revision = p.Target // of the run that comes next
		if p.Deployment != nil && p.step(w) == nil {
			w.Step = &Step{Deployment: p.Deployment.ID}
		}
	}
	s.cue(p, w, cue{on: onStart, reason: reason})
}

func (s *State) commandStop(p *Pool, c Command) Reply {
	on := onStop
	if c.Now {
		on = onKill
	}
	reply, joined := s.claim(p, c)
	if joined && !c.Now {
		return reply
	}
	whole := len(c.Workers) == 0
	if whole {
		p.Desired = Down
		p.WaitsFor, p.WaitsUntil = nil, Time{}
		if id := s.cancelDeployment(p, "the pool was stopped by "+c.By); id != "" {
			reply.Superseded = id
		}
	}
	workers := p.addressed(c)
	if whole {
		workers = p.Workers // those that are leaving too
	}
	for _, w := range workers {
		w.Desired = Down
		s.cue(p, w, cue{on: on, reason: "stopped by " + c.By})
	}
	return reply
}

// commandRestart is a rolling deployment of the pool's configuration, with its
// directory resolved anew.
func (s *State) commandRestart(p *Pool, c Command) Reply {
	release := c.Release
	if release == "" {
		release = p.Revision(p.Target).Release
	}
	if p.Desired == Down || p.allDown() {
		s.publishPool(p, "pool.started", "by "+c.By)
	}
	p.Desired, p.WaitsFor, p.WaitsUntil = Up, nil, Time{}
	for _, w := range p.addressed(c) {
		w.Desired = Up
	}
	d, superseded := s.deploy(p, s.revise(p, Spec{p.Config, release}), "restart")
	p.Operation = Operation{ID: d.ID, Verb: c.Verb}
	s.advance(p)
	view := *d
	view.Steps = p.steps(d)
	return Reply{Operation: d.ID, Superseded: superseded, Deployment: &view}
}

// commandReplace restarts single workers in their own revision, without a deployment.
func (s *State) commandReplace(p *Pool, c Command) Reply {
	reply, joined := s.claim(p, c)
	if joined {
		return reply
	}
	p.Desired = Up
	for _, w := range p.addressed(c) {
		w.Desired = Up
		s.cue(p, w, cue{on: onReplace, reason: "restarted by " + c.By})
	}
	return reply
}

func (s *State) commandScale(p *Pool, c Command) Reply {
	before := p.Count
	count := c.Count
	reply, joined := s.claim(p, c)
	if joined {
		return reply
	}
	p.Override = &count
	if count == p.Config.Count {
		p.Override = nil
	}
	s.resize(p, count, reply.Operation)
	s.publishPool(p, "pool.scaled", fmt.Sprintf("from %d to %d by %s", before, count, c.By))
	return reply
}

// resize takes a pool to a count: new workers start at once, the highest stop.
func (s *State) resize(p *Pool, count int, operation string) {
	p.Count = count
	s.touchPool(p)
	for len(p.Workers) < count {
		w := s.newWorker(p, len(p.Workers))
		p.Workers = append(p.Workers, w)
	}
	for _, w := range p.Workers {
		switch {
		case w.Index >= count:
			w.Operation = operation
			s.cue(p, w, cue{on: onStop, reason: "the pool shrank"})
		case w.Run == nil && w.State == Stopped, w.State == Stopping && w.Run.Stop != nil && !w.Again:
			s.touch(p, w)
			if w.Desired == Up && p.waiting() {
				continue
			}
			if operation != "" {
				w.Operation = operation
			}
			if s.wanted(p, w) {
				s.startWorker(p, w, "the pool grew")
			}
		}
	}
}

func (s *State) commandSignal(p *Pool, c Command) Reply {
	for _, w := range p.addressed(c) {
		s.cue(p, w, cue{on: onSignal, signal: &c})
	}
	return Reply{Operation: s.newID(s.now)}
}

// allDown tells that no worker is wanted up.
func (p *Pool) allDown() bool {
	return !slices.ContainsFunc(p.Workers, func(w *Worker) bool { return w.Desired == Up })
}

// live counts the workers that have a run.
func (p *Pool) live() int {
	n := 0
	for _, w := range p.Workers {
		if w.Run != nil {
			n++
		}
	}
	return n
}

func (s *State) publishPool(p *Pool, kind, message string) {
	s.emit(Publish{Notice{Type: kind, Pool: p.Name, Revision: p.Target, Message: message}})
}

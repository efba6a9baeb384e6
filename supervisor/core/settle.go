package core

import "fmt"

// settle ends a step: whatever follows from the changes so far is done, and
// deadlines are computed anew, until nothing follows any more.
func (s *State) settle() {
	for len(s.unsettled) > 0 {
		for len(s.unsettled) > 0 {
			p := s.unsettled[0]
			s.unsettled = s.unsettled[1:]
			if s.Pools[p.Name] == p {
				s.settlePool(p)
			}
		}
		s.settleAll()
	}
	for _, d := range s.dirtyWorkers {
		if !d.w.dropped && s.Pools[d.p.Name] == d.p {
			s.alarms.set(&d.w.alarm, s.deadline(d.p, d.w))
		}
	}
}

// settlePool looks at one pool after something in it has changed.
func (s *State) settlePool(p *Pool) {
	if p.turned {
		p.turned = false
		s.advance(p)
		s.alarms.set(&p.alarm, earliest(p.WaitsUntil, p.progressDeadline()))
	}
	s.trim(p)
	if p.rested {
		p.rested = false
		if p.Desired == Down && !p.Removed && p.live() == 0 {
			s.publishPool(p, "pool.stopped", "")
		}
	}
	if p.Removed && p.live() == 0 {
		s.dropPool(p)
		return
	}
	if p.Config.Essential && s.Leaving == nil {
		s.heedEssential(p)
	}
}

// trim drops the workers beyond the count that have no run any more.
func (s *State) trim(p *Pool) {
	n := len(p.Workers)
	for n > p.Count && p.Workers[n-1].Run == nil {
		n--
		s.alarms.set(&p.Workers[n].alarm, Time{})
		p.Workers[n].dropped = true
	}
	if n == len(p.Workers) {
		return
	}
	clear(p.Workers[n:])
	p.Workers = p.Workers[:n]
	s.drops = append(s.drops, DropWorkers{Pool: p, Count: n})
}

func (s *State) dropPool(p *Pool) {
	for _, w := range p.Workers {
		s.alarms.set(&w.alarm, Time{})
		w.dropped = true
	}
	s.alarms.set(&p.alarm, Time{})
	delete(s.Pools, p.Name)
	s.rested = true
	s.drops = append(s.drops, DropPool{Name: p.Name})
	s.publishPool(p, "pool.removed", "its last worker has ended")
}

// settleAll looks at what concerns several pools.
func (s *State) settleAll() {
	if s.Leaving != nil {
		if s.rested {
			s.rested = false
			s.leaveOn()
		}
		return
	}
	if len(s.held) > 0 {
		s.unhold()
	}
}

// heedEssential ends superd when an essential pool has come to its end.
func (s *State) heedEssential(p *Pool) {
	failed := false
	for _, w := range p.Workers {
		switch {
		case w.State != Failed && w.State != Completed:
			return
		case w.State == Failed:
			failed = true
		}
	}
	if len(p.Workers) == 0 {
		return
	}
	ev := Leave{By: fmt.Sprintf("the essential pool %s has completed", p.Name)}
	if failed {
		ev = Leave{Code: ExitEssentialFailed, By: fmt.Sprintf("the essential pool %s failed", p.Name)}
	}
	s.leave(ev)
}

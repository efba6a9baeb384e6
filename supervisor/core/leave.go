package core

import "slices"

// ExitEssentialFailed is superd's exit code when an essential pool has failed.
const ExitEssentialFailed = 10

// leave begins the end of superd. Told again, only a more urgent wish changes anything.
func (s *State) leave(ev Leave) {
	if s.Leaving != nil {
		if ev.Now && !s.Leaving.Now && !s.Leaving.Detach {
			s.Leaving.Now = true
			s.leaveOn()
		}
		return
	}
	s.Leaving = &ev
	s.emit(Publish{Notice{Type: "superd.stopping", Message: ev.By,
		Data: map[string]any{"now": ev.Now, "detach": ev.Detach, "code": ev.Code}}})
	if !ev.Detach {
		for _, name := range s.names() {
			p := s.Pools[name]
			s.cancelDeployment(p, "superd is being stopped")
			if p.waiting() { // nothing is started any more
				p.WaitsFor, p.WaitsUntil = nil, Time{}
				s.touchPool(p)
			}
		}
	}
	s.rested = true // even if no worker comes to rest, the end is to be looked at
	s.leaveOn()
}

// leaveOn stops what may be stopped by now, dependants first, and ends superd
// when nothing is left.
func (s *State) leaveOn() {
	if s.left {
		return
	}
	if s.Leaving.Detach {
		s.left = true
		s.emit(Quit{Code: s.Leaving.Code, Detached: true})
		return
	}
	live := false
	for _, name := range s.names() {
		p := s.Pools[name]
		if s.Leaving.Now || !s.leanedOn(p) {
			s.halt(p)
		}
		live = live || p.live() > 0
	}
	if !live && len(s.unsettled) == 0 {
		s.left = true
		s.emit(Quit{Code: s.Leaving.Code})
	}
}

// leanedOn tells whether a pool that comes after p still has runs.
func (s *State) leanedOn(p *Pool) bool {
	for _, q := range s.Pools {
		if q != p && q.live() > 0 && slices.Contains(q.Config.After, p.Name) {
			return true
		}
	}
	return false
}

// halt stops a pool's workers without a change of what is desired: they start
// again with superd.
func (s *State) halt(p *Pool) {
	c := cue{on: onStop, reason: "superd is being stopped"}
	if s.Leaving.Now {
		c.on = onKill
	}
	for _, w := range p.Workers {
		switch {
		case w.State == Stopped:
		case w.State == Stopping && c.on == onStop && !w.Again && !w.Run.draining():
		case w.State == Stopping && c.on == onKill && !w.Again && (w.Run.Exit != nil || w.Run.Stop.killing()):
		default:
			s.cue(p, w, c)
		}
	}
}

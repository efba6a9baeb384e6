package core

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/superd/superd/signals"
)

// ExitEssentialFailed is superd's exit code when an essential pool has failed.
const ExitEssentialFailed = 10

// leave begins the end of superd. Told again, only a more urgent wish changes anything.
func (s *State) leave(ev Leave) {
	if s.Leaving != nil {
		if ev.Now && !s.Leaving.Now && !s.Leaving.Detach {
			s.Leaving.Now = true
			s.leaveOn()
		}
		if ev.Within > 0 && s.Leaving.Within == 0 && !s.Leaving.Detach {
			s.Leaving.Within, s.Leaving.By = ev.Within, ev.By
			s.hurry()
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

// hurry bounds what the runs that are being ended may still take.
func (s *State) hurry() {
	l := s.Leaving
	s.emit(Publish{Notice{Type: "superd.stopping", Message: fmt.Sprintf("%s: no worker has more than %s to end", l.By, signals.FormatDuration(l.Within)),
		Data: map[string]any{"now": l.Now, "detach": l.Detach, "code": l.Code}}})
	for _, name := range s.names() {
		p := s.Pools[name]
		for _, w := range p.Workers {
			if w.Run == nil || w.Run.Stop == nil || w.Run.Exit != nil {
				continue
			}
			st := w.Run.Stop
			spent := time.Duration(0)
			if st.Step >= 0 {
				spent = s.now.After(st.At)
			}
			st.Sequence = within(st.Sequence, max(st.Step, 0), spent, l.Within)
			s.touch(p, w)
		}
	}
}

// within is a stop sequence that takes no more than limit from now on. It is in a
// step since spent; the ones before it stay as they are.
func within(seq signals.Sequence, step int, spent, limit time.Duration) signals.Sequence {
	seq = slices.Clone(seq)
	for i := step; i < len(seq) && seq[i].Signal != syscall.SIGKILL; i++ {
		if seq[i].Forever || seq[i].Wait-spent > limit {
			seq[i].Wait, seq[i].Forever = spent+limit, false
			return append(seq[:i+1], killSequence...)
		}
		limit -= max(seq[i].Wait-spent, 0)
		spent = 0
	}
	return seq
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

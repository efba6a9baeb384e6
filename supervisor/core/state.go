package core

import (
	"container/heap"
	"fmt"
	"slices"
	"time"
)

// State is all that superd knows about its pools. It is plain data: Pools, with
// their workers, is what is saved and loaded; the rest is derived from it.
// A State is not safe for concurrent use.
type State struct {
	// Seed is where the random source stands (jitter, IDs).
	Seed  uint64
	Pools map[string]*Pool
	// Leaving is set once superd is told to end.
	Leaving *Leave
	// Marks says that whoever sends signals tells so by Handed. It is set before the
	// first step.
	Marks bool

	now    Time // of the step at hand
	lastID int64
	alarms alarms
	runs   map[string]slot // by run ID
	left   bool            // Quit was asked for
	held   []*Pool         // those that wait for others
	rested bool            // a worker came to rest in the step at hand

	// What the step at hand has changed, in order.
	exits        []Action // how runs ended
	drops        []Action // records that are no longer needed
	out          []Action
	dirtyPools   []*Pool
	dirtyWorkers []slot
	unsettled    []*Pool

	// seen is told of every change of state; tests compare it with Transitions.
	seen func(from, to WorkerState)
}

// slot is a worker and its pool.
type slot struct {
	p *Pool
	w *Worker
}

// New is an empty state. Loaded entities are put in by Load before Begin.
func New(seed uint64) *State {
	return &State{Seed: seed, Pools: map[string]*Pool{}, runs: map[string]slot{}}
}

// Load puts a pool that was saved into a state that has not begun. Workers are
// those that were saved, in any order; where some are missing, they are stopped.
func (s *State) Load(p *Pool, workers []*Worker) {
	p.Workers = nil
	slices.SortFunc(workers, func(a, b *Worker) int { return a.Index - b.Index })
	for _, w := range workers {
		for len(p.Workers) < w.Index {
			p.Workers = append(p.Workers, s.newWorker(p, len(p.Workers)))
		}
		p.Workers = append(p.Workers, w)
	}
	for len(p.Workers) < p.Count && !p.Removed {
		p.Workers = append(p.Workers, s.newWorker(p, len(p.Workers)))
	}
	for _, w := range p.Workers {
		w.alarm = alarm{pool: p, worker: w}
		if w.Run != nil {
			s.runs[w.Run.ID] = slot{p, w}
		}
	}
	p.alarm = alarm{pool: p}
	s.Pools[p.Name] = p
	if p.waiting() {
		s.held = append(s.held, p)
	}
}

// Step is told what happened at an instant and returns what is to be done, in
// the order to do it in. The actions refer to live entities: they are to be
// executed before the next Step.
func (s *State) Step(now Time, ev Event) []Action {
	s.now = now
	switch ev := ev.(type) {
	case Begin:
		s.begin(ev)
	case Recheck:
		s.reconcile(ev.Found, true) // by definition another keeper
	case Configure:
		if s.Leaving == nil { // the next superd reads it anyway
			s.configure(ev.Specs, false)
		}
	case Do:
		s.emit(Answer{Ref: ev.Ref, Reply: s.command(ev.Command)})
	case Leave:
		s.leave(ev)
	case Forked:
		s.tell(ev.Run, cue{on: onForked, pid: ev.PID, ticks: ev.StartTicks})
	case Started:
		s.tell(ev.Run, cue{on: onStarted, pid: ev.PID, ticks: ev.StartTicks})
	case SpawnFailed:
		s.tell(ev.Run, cue{on: onSpawnFailed, fail: ev.Fail})
	case Exited:
		s.tell(ev.Run, cue{on: onExited, end: ev.End, gone: ev.Gone})
	case Gone:
		s.tell(ev.Run, cue{on: onGone})
	case Observed:
		s.observed(ev)
	case Warned:
		s.warned(ev)
	case Tick:
	default:
		panic(fmt.Sprintf("core: unknown event %T", ev))
	}
	s.settle()
	// Once superd leaves everything as it is, what is due is due to the next one.
	for (s.Leaving == nil || !s.Leaving.Detach) && s.ring() {
		s.settle()
	}
	return s.flush()
}

// Deadline is the next instant at which a Tick would do something; false: none.
func (s *State) Deadline() (Time, bool) {
	if len(s.alarms) == 0 {
		return Time{}, false
	}
	return Time{Boot: s.alarms[0].at}, true
}

// tell gives a run's news to the worker whose run it is. News of a run that is
// in no slot any more has no other answer than that it may be forgotten, once nothing
// of it is left.
func (s *State) tell(run string, c cue) {
	at, ok := s.runs[run]
	if !ok {
		if c.on == onExited && c.gone || c.on == onSpawnFailed || c.on == onGone {
			s.emit(Forget{Run: run})
		}
		return
	}
	s.cue(at.p, at.w, c)
}

// cue lets a worker answer to something, by its table.
func (s *State) cue(p *Pool, w *Worker, c cue) {
	table[w.State][c.on](s, p, w, c)
	s.touch(p, w)
	if c.on != onForked && c.on != onStarted && c.on != onSignal {
		p.turned = true // a deployment waits for ends and for health, not for beginnings
	}
}

// ring lets everything answer whose deadline has come, and tells if any did.
func (s *State) ring() bool {
	rung := false
	for len(s.alarms) > 0 && s.alarms[0].at <= s.now.Boot {
		a := heap.Pop(&s.alarms).(*alarm)
		a.armed = false
		rung = true
		if a.worker == nil {
			a.pool.turned = true
			s.unsettle(a.pool)
			continue
		}
		s.cue(a.pool, a.worker, cue{on: onDue})
	}
	return rung
}

// touch marks a worker as changed: it is saved, its deadline is computed anew,
// and its pool is looked at before the step ends.
func (s *State) touch(p *Pool, w *Worker) {
	s.dirtyWorkers = append(s.dirtyWorkers, slot{p, w})
	s.unsettle(p)
}

// touchPool marks the pool's own record as changed.
func (s *State) touchPool(p *Pool) {
	s.dirtyPools = append(s.dirtyPools, p)
	p.turned = true
	s.unsettle(p)
}

func (s *State) unsettle(p *Pool) {
	if n := len(s.unsettled); n == 0 || s.unsettled[n-1] != p {
		s.unsettled = append(s.unsettled, p)
	}
}

// emit adds an action that is not a saving.
func (s *State) emit(a Action) { s.out = append(s.out, a) }

// flush ends a step: savings first, each entity once, then the deeds in the
// order in which they were decided. A pool is saved before its workers, which are
// nothing without it, but for one that was saved before and is late.
func (s *State) flush() []Action {
	saves := make([]Action, 0, len(s.exits)+len(s.out)+len(s.dirtyWorkers)+len(s.dirtyPools))
	saves = append(saves, s.exits...)
	var late []Action
	for i, p := range s.dirtyPools {
		switch {
		case s.Pools[p.Name] != p || slices.Contains(s.dirtyPools[:i], p):
		case p.late:
			late = append(late, SavePool{p})
		default:
			saves = append(saves, SavePool{p})
		}
	}
	for _, d := range s.dirtyWorkers {
		if d.w.saved || d.w.dropped {
			continue
		}
		d.w.saved = true
		saves = append(saves, SaveWorker{d.p, d.w})
	}
	for _, d := range s.dirtyWorkers {
		d.w.saved = false
	}
	saves = append(saves, late...)
	for _, p := range s.dirtyPools {
		p.late = false
	}
	// A run is forgotten only when no record speaks of it any more.
	saves = append(append(saves, s.drops...), s.out...)
	s.out, s.drops, s.exits, s.dirtyPools, s.dirtyWorkers = nil, nil, s.exits[:0], s.dirtyPools[:0], s.dirtyWorkers[:0]
	return saves
}

// newWorker is a worker at rest that wants what its pool wants.
func (s *State) newWorker(p *Pool, index int) *Worker {
	w := &Worker{Index: index, State: Stopped, Since: s.now, Desired: p.Desired, Revision: p.Target}
	w.alarm = alarm{pool: p, worker: w}
	return w
}

// names are the pools' names in order: no decision may hang on a map's.
func (s *State) names() []string { return sortedKeys(s.Pools) }

// deadline is when a worker has to be looked at again, derived from what it is
// doing; zero: not before something else happens.
func (s *State) deadline(p *Pool, w *Worker) Time {
	var t Time
	switch run := w.Run; w.State {
	case Starting:
		if run.StartedAt.IsZero() {
			t = run.RequestedAt.Add(spawnTimeout)
		}
	case Running:
		if !run.Healthy {
			t = run.StartedAt.Add(p.Config.Update.MinHealthyTime)
		}
	case Stopping:
		t = stopDeadline(run)
	case Backoff, Delayed:
		t = w.NextStart
	}
	if st := p.step(w); st != nil && !st.Done && p.takesPart(w) {
		t = earliest(t, st.Deadline)
	}
	return t
}

const (
	// spawnTimeout is how long a run may take from the request to its program:
	// a directory on a dead network file system must not hold a worker for ever.
	spawnTimeout = time.Minute
	// stuckAfter is how long after KILL, and after each sweep, what is still
	// there is reported and killed once more.
	stuckAfter = 10 * time.Second
)

package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/superd/superd/config"
)

// history holds the promises that no single state can: those about what was
// done over time, the deaths of superd included.
type history struct {
	event       Event                      // of the step at hand
	life        int                        // of superd, or of its keeper
	asked       map[string]time.Duration   // by run: when it was decided
	spawned     map[string]int             // by run: the life in which it was last asked for
	sent        map[string]map[int]int     // by run and number: the life in which that signal was last sent
	restarts    map[string][]time.Duration // by slot: the automatic ones that count
	policies    map[string]config.Restart  // by pool: that they were judged by
	slots       map[string]slotSeen        // by slot: as the last step left it
	down        map[string]string          // by slot: the healthy run that a deployment has taken down
	deployments map[string]DeploymentState // by ID: what was last seen of it
	current     map[string]string          // by pool: its deployment
}

// slotSeen is what a step left of a worker.
type slotSeen struct {
	state    WorkerState
	run      string
	healthy  bool
	again    bool
	restarts int
	deployed bool // its pool had a deployment
}

func newHistory() *history {
	return &history{asked: map[string]time.Duration{}, spawned: map[string]int{}, sent: map[string]map[int]int{}, restarts: map[string][]time.Duration{},
		policies: map[string]config.Restart{}, slots: map[string]slotSeen{}, down: map[string]string{},
		deployments: map[string]DeploymentState{}, current: map[string]string{}}
}

// reboot empties what a new boot empties.
func (h *history) reboot() {
	clear(h.restarts)
	clear(h.slots)
	clear(h.down)
}

// decided looks at a step before its deeds are done.
func (h *history) decided(w *world, ev Event, actions []Action) {
	switch ev.(type) {
	case Begin, Recheck:
		h.life++
	}
	h.event = ev
	h.answers(ev, actions)
	for _, a := range actions {
		switch a := a.(type) {
		case Signal:
			at, ok := w.core.runs[a.Run]
			if !ok || at.w.Run.PID == 0 || at.w.Run.Exit != nil {
				panic(broken(fmt.Sprintf("%s is signalled, which does not live", a.Run)))
			}
		case Spawn:
			if _, known := h.asked[a.Run]; !known {
				h.asked[a.Run] = w.now.Boot
			}
		case Quit:
			if w.core.Leaving == nil {
				panic(broken("superd quits, and nobody said so"))
			}
		}
	}
}

// done looks at a step that was not cut short.
func (h *history) done(w *world) {
	for _, name := range w.core.names() {
		p := w.core.Pools[name]
		h.follow(p)
		h.takenDown(p)
		h.notDraining(w.core, p)
	}
	h.remember(w.core)
}

// answers: a command has exactly one answer, and nothing else has any.
func (h *history) answers(ev Event, actions []Action) {
	want, asked := ev.(Do)
	n := 0
	for _, a := range actions {
		if a, ok := a.(Answer); ok {
			n++
			if !asked || a.Ref != want.Ref {
				panic(broken(fmt.Sprintf("an answer to %d, which was not asked", a.Ref)))
			}
		}
	}
	if asked && n != 1 {
		panic(broken(fmt.Sprintf("%d answers to one command", n)))
	}
}

// restarted: in no interval are there more than so many restarts that superd
// decides by itself.
func (h *history) restarted(w *world, a Spawn) {
	slot, r := a.Pool.worker(a.Worker), a.Pool.Config.Restart
	if h.policies[a.Pool.Name] != r {
		h.policies[a.Pool.Name] = r
		for i := range a.Pool.Workers {
			delete(h.restarts, a.Pool.worker(a.Pool.Workers[i]))
		}
	}
	before, known := h.slots[slot]
	switch h.event.(type) {
	case Exited, SpawnFailed, Gone, Tick:
		bySelf := known && !before.again && !before.deployed && a.Pool.Deployment == nil && before.state != Stopped
		if bySelf && a.Worker.Restarts != before.restarts+1 {
			panic(broken(fmt.Sprintf("%s restarts by itself, and its restarts go from %d to %d", slot, before.restarts, a.Worker.Restarts)))
		}
	}
	if a.Worker.Restarts == 0 {
		delete(h.restarts, slot)
		return
	}
	if !a.Worker.Run.Restart {
		return // the end of a superd's end that was cut short
	}
	now := h.asked[a.Run] // a superd may have died before it came to it
	h.restarts[slot] = append(h.restarts[slot], now)
	n := 0
	for _, at := range h.restarts[slot] {
		if now-at < r.Interval {
			n++
		}
	}
	if n > r.Attempts {
		panic(broken(fmt.Sprintf("%s: %d restarts within %s, and %d are allowed: %v (the worker says %v)", slot, n, r.Interval, r.Attempts, h.restarts[slot], a.Worker.Window)))
	}
}

// follow: a deployment ends once.
func (h *history) follow(p *Pool) {
	see := func(d *Deployment) {
		was, known := h.deployments[d.ID]
		if known && was != DeployRunning && was != d.State {
			panic(broken(fmt.Sprintf("deployment %s was %s and is %s", d.ID, was, d.State)))
		}
		h.deployments[d.ID] = d.State
	}
	id := ""
	if p.Deployment != nil {
		see(p.Deployment)
		id = p.Deployment.ID
	}
	for _, d := range p.Past {
		see(d)
	}
	old := h.current[p.Name]
	if old != "" && old != id && h.deployments[old] == DeployRunning {
		panic(broken(fmt.Sprintf("deployment %s is gone without an end", old)))
	}
	if old != id {
		for _, w := range p.Workers {
			switch h.slots[p.worker(w)].state {
			case Stopped, Delayed, Failed, Completed:
				delete(h.down, p.worker(w)) // it counts no more for those that follow
			}
		}
	}
	h.current[p.Name] = id
}

// takenDown: a deployment takes down no more than max_parallel healthy workers
// at a time, and counts those whose successors are not yet healthy.
func (h *history) takenDown(p *Pool) {
	more := false
	for _, w := range p.Workers {
		slot := p.worker(w)
		before := h.slots[slot]
		if w.State == Stopping && before.state == Running && before.healthy && w.Run.ID == before.run &&
			w.Run.Stop != nil && strings.HasPrefix(w.Run.Stop.Reason, "replaced in deployment") {
			h.down[slot] = w.Run.ID
			_, before := h.event.(Begin) // then it was the superd that died who took it down
			more = more || !before
		}
	}
	n := 0
	_, begun := h.event.(Begin)
	for _, w := range p.Workers {
		slot := p.worker(w)
		switch old, down := h.down[slot]; {
		case !down:
		case begun && (w.Step == nil || w.Step.Done || w.Step.Relapses > 0): // it was healthy in the step in which superd died
			delete(h.down, slot)
		case !p.takesPart(w), w.State == Completed, w.State == Running && w.Run.Healthy && w.Run.ID != old:
			delete(h.down, slot)
		default:
			n++
		}
	}
	if more && n > p.Config.Update.MaxParallel {
		panic(broken(fmt.Sprintf("%s: %d healthy workers are taken down at a time, and %d are allowed", p.Name, n, p.Config.Update.MaxParallel)))
	}
}

// notDraining: a run that is to stop is not given the time of one that is replaced.
func (h *history) notDraining(s *State, p *Pool) {
	for _, w := range p.Workers {
		if w.State != Stopping || s.wanted(p, w) || w.Run.Stop == nil || w.Run.Exit != nil || s.Leaving != nil && (s.Leaving.Detach || s.leanedOn(p)) {
			continue
		}
		if w.Run.draining() && !slices.Equal(w.Run.Stop.Sequence, p.configOf(w.Run).Stop) && !w.Run.Stop.killing() {
			panic(broken(fmt.Sprintf("%s is to stop, and is being drained", p.worker(w))))
		}
	}
}

func (h *history) remember(s *State) {
	clear(h.slots)
	for _, p := range s.Pools {
		for _, w := range p.Workers {
			seen := slotSeen{state: w.State, again: w.Again, restarts: w.Restarts, deployed: p.Deployment != nil}
			if w.Run != nil {
				seen.run, seen.healthy = w.Run.ID, w.Run.Healthy
			}
			h.slots[p.worker(w)] = seen
		}
	}
}

// deed looks at one action when it is done: what it depends on is on disk.
func (h *history) deed(w *world, a Action) {
	switch a := a.(type) {
	case SaveExit:
		if a.Run.Exit == nil || a.Run.Exit.RunID != a.Run.ID {
			panic(broken(a.Run.ID + " is said to have ended, and not how"))
		}
	case SaveWorker:
		if r := w.disk[a.Pool.Name]; r != nil {
			h.keepsExit(w, r.workers[a.Worker.Index], a.Worker.Run)
		}
	case DropWorkers:
		for i, worker := range w.disk[a.Pool.Name].workers {
			if i >= a.Count {
				h.keepsExit(w, worker, nil)
			}
		}
	case Spawn:
		if life, ok := h.spawned[a.Run]; ok && life == h.life {
			panic(broken(a.Run + " is asked for twice"))
		}
		if h.spawned[a.Run] == 0 {
			h.restarted(w, a)
		}
		h.spawned[a.Run] = h.life
		if saved := w.saved(a.Run); saved == nil {
			panic(broken(a.Run + " is spawned and not on disk"))
		}
	case Signal:
		saved := w.saved(a.Run)
		if saved == nil || saved.Run.Signals < a.Number {
			panic(broken(fmt.Sprintf("signal %d of %s is sent and not on disk", a.Number, a.Run)))
		}
		if h.sent[a.Run] == nil {
			h.sent[a.Run] = map[int]int{}
		}
		if life, ok := h.sent[a.Run][a.Number]; ok && life == h.life {
			panic(broken(fmt.Sprintf("signal %d of %s is sent twice", a.Number, a.Run)))
		}
		h.sent[a.Run][a.Number] = h.life
	case Forget:
		if w.saved(a.Run) != nil {
			panic(broken(a.Run + " is forgotten by the keeper and still on disk"))
		}
		if _, known := h.asked[a.Run]; known && w.exits[a.Run] == nil {
			panic(broken(a.Run + " is forgotten by the keeper, and history has no exit of it"))
		}
	case DropPool:
		if r := w.disk[a.Name]; r != nil {
			for _, worker := range r.workers {
				h.keepsExit(w, worker, nil)
			}
		}
		delete(h.current, a.Name)
		delete(h.policies, a.Name)
		maps.DeleteFunc(h.restarts, func(slot string, _ []time.Duration) bool { return strings.HasPrefix(slot, a.Name+"/") })
		maps.DeleteFunc(h.down, func(slot, _ string) bool { return strings.HasPrefix(slot, a.Name+"/") })
	case Quit:
		for _, p := range w.keeper.processes {
			if p.live() && !a.Detached {
				panic(broken("superd quits while " + p.slot + " lives"))
			}
		}
	}
}

// keepsExit: no record loses a run of this boot before history has its exit.
func (h *history) keepsExit(w *world, before *Worker, now *Run) {
	if !w.boot || before == nil || before.Run == nil || now != nil && now.ID == before.Run.ID {
		return
	}
	if w.exits[before.Run.ID] == nil {
		panic(broken(before.Run.ID + " is in no record any more, and history has no exit of it"))
	}
}

// saved is the record on disk of the worker that has a run.
func (w *world) saved(run string) *Worker {
	for _, r := range w.disk {
		for _, worker := range r.workers {
			if worker.Run != nil && worker.Run.ID == run {
				return worker
			}
		}
	}
	return nil
}

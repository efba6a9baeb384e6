package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// broken is what a test world panics with when a promise was not kept.
type broken string

// world is everything around the core: a clock, the disk with the records, the
// keeper with the processes, the configuration, and superd, which may die before
// any of its deeds.
type world struct {
	now    Time
	core   *State // nil while superd is dead
	seed   uint64 // of the next superd
	specs  []Spec // the configuration on disk
	disk   map[string]*poolRecord
	exits  map[string]*Exit // the history on disk, by run
	keeper *keeper
	inbox  []Event // told by the keeper, not yet read by superd
	boot   bool    // the records are of this boot
	quit   *Quit   // superd has ended as told
	ref    uint64  // of the last command
	leave  *Leave  // what starts is there to end what it finds
	past   *history

	// dieBefore is asked before each deed of a step whether superd dies there.
	dieBefore func(n int, a Action) bool
	// behave says what the next run of a slot will do.
	behave func(slot string) behaviour
	// beforeStep is told of each step before it is taken.
	beforeStep func(ev Event)
	steps      int
	// watch is told of each step and the deeds that were done.
	watch func(ev Event, done []Action)
	// viaJSON: what is loaded was written as JSON, as the store does it.
	viaJSON bool
}

// poolRecord is what lies on disk of a pool.
type poolRecord struct {
	pool    *Pool
	workers map[int]*Worker
}

// bootStart is when the worlds begin: long after the boot of the machine.
var bootStart = Time{Boot: 1000 * time.Second, Wall: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}

func newWorld(specs ...Spec) *world {
	return &world{now: bootStart, seed: 1, specs: specs, disk: map[string]*poolRecord{}, exits: map[string]*Exit{}, keeper: &keeper{}, past: newHistory(),
		behave: func(string) behaviour { return behaviour{} }, viaJSON: true, boot: true}
}

// clone is a second world that goes its own way from here. It has no history.
func (w *world) clone() *world {
	c := *w
	c.disk = make(map[string]*poolRecord, len(w.disk))
	for name, r := range w.disk {
		c.disk[name] = &poolRecord{r.pool, maps.Clone(r.workers)}
	}
	c.exits = maps.Clone(w.exits)
	c.keeper, c.inbox = w.keeper.clone(), slices.Clone(w.inbox)
	c.past, c.watch, c.dieBefore, c.beforeStep = nil, nil, nil, nil
	c.behave, c.viaJSON = func(string) behaviour { return behaviour{} }, false
	if w.core != nil {
		c.core = cloneState(w.core)
	}
	return &c
}

// start is the only way in which superd starts.
func (w *world) start() bool {
	w.seed += 1000
	w.core, w.quit, w.inbox = New(w.seed), nil, nil
	w.core.seen = sawTransition
	for _, name := range sortedKeys(w.disk) {
		r := w.disk[name]
		var workers []*Worker
		for _, i := range sortedKeys(r.workers) {
			workers = append(workers, reload(w, r.workers[i], (*Worker).Clone))
		}
		w.core.Load(reload(w, r.pool, func(p *Pool) *Pool { return p.Clone(nil) }), workers)
	}
	begun := w.step(Begin{Specs: w.specs, Found: w.keeper.found(), SameBoot: w.boot, Leave: w.leave})
	w.boot = w.boot || begun // superd records the boot when its start is over
	return begun
}

// reload is what comes back from the disk.
func reload[T any](w *world, v *T, clone func(*T) *T) *T {
	if !w.viaJSON {
		return clone(v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	back := new(T)
	if err := json.Unmarshal(data, back); err != nil {
		panic(err)
	}
	return back
}

// crash ends superd as kill -9 does.
func (w *world) crash() {
	w.core, w.inbox, w.dieBefore = nil, nil, nil
	w.keeper.superdDied()
}

// reboot ends everything, and the clock that counts from the boot begins anew.
func (w *world) reboot() {
	w.crash()
	w.keeper = &keeper{pids: w.keeper.pids}
	w.boot = false
	w.now = Time{Boot: 30 * time.Second, Wall: w.now.Wall.Add(time.Minute)}
	if w.past != nil {
		w.past.reboot()
	}
}

// step tells the core what happened and does what follows; false: superd died in it.
func (w *world) step(ev Event) bool {
	if w.beforeStep != nil {
		w.beforeStep(ev)
	}
	w.steps++
	actions := w.core.Step(w.now, ev)
	if err := w.core.Check(); err != nil {
		panic(broken("after " + describeEvent(ev) + ": " + err.Error()))
	}
	if w.past != nil {
		w.past.decided(w, ev, actions)
	}
	for n, a := range actions {
		if w.dieBefore != nil && w.dieBefore(n, a) {
			w.report(ev, actions[:n])
			w.crash()
			return false
		}
		if w.past != nil {
			w.past.deed(w, a)
		}
		w.execute(a)
	}
	w.report(ev, actions)
	if w.past != nil {
		w.past.done(w)
	}
	if w.quit != nil {
		w.crash()
		return false
	}
	w.still()
	return true
}

func (w *world) report(ev Event, done []Action) {
	if w.watch != nil {
		w.watch(ev, done)
	}
}

// still holds that nothing more follows at this instant: neither from another
// tick, nor from a second look at every pool that was held not to be concerned.
func (w *world) still() {
	if more := w.core.Step(w.now, Tick{}); len(more) > 0 {
		panic(broken("a tick at the same instant: " + describeAction(more[0])))
	}
	for _, name := range w.core.names() {
		p := w.core.Pools[name]
		p.turned = true
		w.core.unsettle(p)
	}
	if more := w.core.Step(w.now, Tick{}); len(more) > 0 {
		panic(broken("a second look: " + describeAction(more[0])))
	}
}

// execute does one deed.
func (w *world) execute(a Action) {
	switch a := a.(type) {
	case SaveExit:
		w.exits[a.Run.ID] = a.Run.Exit
	case SavePool:
		r := w.disk[a.Pool.Name]
		if r == nil {
			r = &poolRecord{workers: map[int]*Worker{}}
			w.disk[a.Pool.Name] = r
		}
		r.pool = a.Pool.Clone(nil)
	case SaveWorker:
		r := w.disk[a.Pool.Name]
		if r == nil {
			panic(broken(a.Pool.worker(a.Worker) + " is saved before its pool"))
		}
		r.workers[a.Worker.Index] = a.Worker.Clone()
	case DropPool:
		delete(w.disk, a.Name)
	case DropWorkers:
		maps.DeleteFunc(w.disk[a.Pool.Name].workers, func(i int, _ *Worker) bool { return i >= a.Count })
	case Spawn:
		slot := a.Pool.worker(a.Worker)
		if w.keeper.find(a.Run) == nil {
			w.keeper.spawn(a.Run, slot, w.behave(slot), w.now.Boot)
		}
	case CancelSpawn:
		w.inbox = append(w.inbox, w.keeper.cancel(a.Run)...)
	case Signal:
		w.keeper.signal(a.Run, a.Signal, a.Number, w.now.Boot)
	case Sweep:
		w.keeper.sweep(a.Run, w.now.Boot)
	case Forget:
		w.keeper.forget(a.Run)
	case Quit:
		w.quit = &a
	case Publish, Answer:
	default:
		panic(fmt.Sprintf("unknown action %T", a))
	}
}

// command gives superd a command.
func (w *world) command(c Command) bool {
	w.ref++
	if c.By == "" {
		c.By = "uid 0"
	}
	return w.step(Do{Ref: w.ref, Command: c})
}

// read has superd read what the keeper has told; false: superd died over it.
func (w *world) read() bool {
	for len(w.inbox) > 0 && w.core != nil {
		w.readOne()
	}
	return w.core != nil
}

func (w *world) readOne() {
	ev := w.inbox[0]
	w.inbox = w.inbox[1:]
	w.step(ev)
}

// keeperDies has another keeper take over: it is told by superd of what lives.
func (w *world) keeperDies() {
	w.inbox = nil
	w.keeper.replaced()
	found := w.keeper.found()
	for _, p := range w.keeper.processes {
		if p.phase == preparing {
			found[p.run] = Found{Pending: true}
		}
	}
	w.step(Recheck{Found: found})
}

// next is the instant at which the next thing happens by itself.
func (w *world) next() time.Duration {
	at := w.keeper.next()
	if w.core != nil {
		if t, ok := w.core.Deadline(); ok {
			at = min(at, t.Boot)
		}
	}
	return at
}

// pass lets time pass up to an instant, and everything happen that it brings.
func (w *world) pass(until time.Duration) {
	for {
		w.read()
		at := w.next()
		if at > until {
			break
		}
		w.moveTo(max(at, w.now.Boot))
		w.happen()
	}
	w.moveTo(until)
}

// happen has happen what is due now: first what processes do, then superd's deadlines.
func (w *world) happen() {
	if w.keeper.next() <= w.now.Boot {
		events := w.keeper.advance(w.now.Boot)
		if w.core != nil {
			w.inbox = append(w.inbox, events...)
		}
		return
	}
	if w.core == nil {
		return
	}
	if t, ok := w.core.Deadline(); ok && t.Boot <= w.now.Boot {
		w.step(Tick{})
	}
}

func (w *world) moveTo(at time.Duration) {
	if at > w.now.Boot {
		w.now = w.now.Add(at - w.now.Boot)
	}
}

// states are the states of all workers by name.
func states(s *State) map[string]WorkerState {
	m := map[string]WorkerState{}
	for _, p := range s.Pools {
		for _, w := range p.Workers {
			m[p.worker(w)] = w.State
		}
	}
	return m
}

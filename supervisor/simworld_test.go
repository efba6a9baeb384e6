package supervisor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"time"

	"github.com/superd/superd/supervisor/core"
)

// simNames are the pools that may exist.
var simNames = []string{"a", "b", "c"}

// simStart is when the worlds begin: long after the boot of the machine.
var simStart = core.Time{Boot: 1000 * time.Second, Wall: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}

// simWorld is everything around the core: a clock, the disk, the keeper with its
// processes, the configuration, and superd, which may die after any of its deeds.
type simWorld struct {
	rnd    *rand.Rand
	now    core.Time
	st     *core.State // nil while superd is dead
	disk   *simDisk
	keeper *simKeeper
	specs  []core.Spec  // the configuration on disk
	inbox  []core.Event // told by the keeper, not yet read by superd
	boot   bool         // the records are of this boot
	lost   bool         // the keeper is another one than the superd that died had
	quit   bool         // superd has ended as told
	calm   bool         // nothing surprising happens any more
	seed   uint64       // of the next superd
	ref    uint64       // of the last command

	// fatal is asked before each deed whether superd dies there; a torn one is done in part.
	fatal func(a core.Action) (dies, torn bool)

	events int // that this world had
	steps  int // that the core took, those after a death that was only looked at included
	deaths int // that were looked at
	same   int // of them, those that were compared with a superd that lived on
	real   int // deaths from which this world went on
	log    func(format string, args ...any)
}

// simCut is what became of a superd that died in a step and started anew.
type simCut struct {
	st     *core.State
	keeper *simKeeper
	where  string
	quit   bool
}

// step tells the core what happened, does what follows, and looks at a death after
// every deed; false: superd died in earnest, or has ended.
func (w *simWorld) step(ev core.Event) bool {
	expect := w.expect(ev)
	var cuts []simCut
	if expect != simNothing {
		cut := w.cut("before anything was done")
		if expect == simOnceSaved {
			w.compare(ev, cut) // a command that was not heard of
		} else {
			cuts = append(cuts, cut)
		}
	}
	w.steps++
	actions := w.st.Step(w.now, ev)
	if err := w.st.Check(); err != nil {
		panic(broken(fmt.Sprintf("after %s: %v", tellEvent(ev), err)))
	}
	w.log("%8.3f %s%s", (w.now.Boot - simStart.Boot).Seconds(), tellEvent(ev), tellActions(actions))
	sealed := sealedBy(ev, actions)
	for i, a := range actions {
		if w.fatal != nil {
			if dies, torn := w.fatal(a); dies {
				w.die(a, torn)
				return false
			}
		}
		if !w.do(actions[:i], a) || w.calm {
			continue
		}
		cut := w.cut(fmt.Sprintf("after deed %d, %s", i, tellAction(a)))
		if expect == simAll || expect == simOnceSaved && i >= sealed {
			cuts = append(cuts, cut)
		}
	}
	if w.quit {
		w.crash()
		return false
	}
	if w.events++; w.events%64 == 0 {
		rec, read, _ := w.disk.read(0)
		w.disk.alike("everything is read", w.disk.recall(0), read)
		rec.shut()
	}
	if more := w.st.Step(w.now, core.Tick{}); len(more) > 0 {
		panic(broken("a tick at the same instant: " + tellAction(more[0])))
	}
	// What a spawn that was given up leads to comes at once, in both worlds.
	for expect != simNothing && len(w.inbox) > 0 {
		if !w.readOne() {
			return false
		}
	}
	for _, cut := range cuts {
		w.compare(ev, cut)
	}
	return true
}

// What is expected of a superd that dies in a step, and recovers at once.
type simExpect int

const (
	simNothing   simExpect = iota // other decisions, as good as those
	simAll                        // wherever it dies, it decides the same
	simOnceSaved                  // it decides the same once all is saved, and has heard of nothing before it began
)

// expect tells what holds for an event.
func (w *simWorld) expect(ev core.Event) simExpect {
	if w.calm || w.fatal != nil || len(w.inbox) > 0 || w.st.Leaving != nil {
		return simNothing // other news, which it would learn in another order; it would not leave
	}
	if at, ok := w.st.Deadline(); ok && at.Boot <= w.now.Boot && ev != (core.Tick{}) {
		return simNothing // what is late has its effect before or after the news
	}
	for i := range w.keeper.runs {
		r := &w.keeper.runs[i]
		if saved := w.disk.saved(r.id); r.phase == simPreparing && saved != nil && w.now.After(saved.Run.RequestedAt) >= time.Minute {
			return simNothing // it is given up for not having started; the next superd asks for it again
		}
	}
	switch ev := ev.(type) {
	case core.Begin:
		if ev.KeeperLost || !ev.SameBoot || w.brings(ev.Specs) || !w.disk.whole(w.st) || w.late() {
			// The keeper there is now was not lost; a configuration may be half
			// applied; what is made up for lack of a record follows its pool; and of
			// what is late, the second superd finds some done by the first.
			return simNothing
		}
	case core.Recheck, core.Leave, core.Configure:
		return simNothing
	case core.Do, core.Observed, core.Warned:
		return simOnceSaved
	case core.SpawnFailed:
		if ev.Stage == stagePrepare {
			return simNothing // superd alone knew, and tries again
		}
	}
	return simAll
}

// brings tells whether a start brings another configuration than the records have.
func (w *simWorld) brings(specs []core.Spec) bool {
	for _, spec := range specs {
		if p := w.st.Pools[spec.Config.Name]; p == nil || p.Removed || !reflect.DeepEqual(p.Config, spec.Config) {
			return true
		}
	}
	return len(specs) != len(w.st.Pools)
}

// late tells whether a restart or a deployment was due while no superd was there.
func (w *simWorld) late() bool {
	due := func(t core.Time) bool { return !t.IsZero() && t.Boot <= w.now.Boot }
	for _, p := range w.st.Pools {
		if d := p.Deployment; d != nil && due(d.Progress.Add(p.Config.Update.ProgressDeadline)) {
			return true
		}
		for _, worker := range p.Workers {
			if due(worker.NextStart) || p.Deployment != nil && worker.Step != nil && due(worker.Step.Deadline) {
				return true
			}
		}
	}
	return false
}

// sealedBy is the deed after which a command cannot be lost any more: the last record.
// Signals of an operator are not sent a second time by the next superd, who cannot
// know whether they were: whoever gave the command has had no answer.
func sealedBy(ev core.Event, actions []core.Action) int {
	do, _ := ev.(core.Do)
	sealed := -1
	for i, a := range actions {
		if _, sent := a.(core.Signal); saves(a) || sent && do.Command.Verb == core.VerbSignal {
			sealed = i
		}
	}
	return sealed
}

// saves tells an action that concerns the disk.
func saves(a core.Action) bool {
	switch a.(type) {
	case core.SavePool, core.SaveWorker, core.DropPool, core.DropWorkers, core.SaveExit:
		return true
	}
	return false
}

// do executes one action, and tells if a superd that dies now finds anything else
// than one that died before it.
func (w *simWorld) do(before []core.Action, a core.Action) bool {
	if saves(a) {
		return w.disk.save(a)
	}
	switch a := a.(type) {
	case core.Spawn:
		if w.disk.saved(a.Run) == nil {
			panic(broken(a.Run + " is spawned and not on disk"))
		}
		w.keeper.spawn(a.Run, slotOf(a.Pool, a.Worker), w.someFate(), w.now.Boot)
		return false // superd makes it ready first, and that dies with it
	case core.Signal:
		if saved := w.disk.saved(a.Run); saved == nil || saved.Run.Signals < a.Number {
			panic(broken(fmt.Sprintf("signal %d of %s is sent and not on disk", a.Number, a.Run)))
		}
	case core.Forget:
		if w.disk.saved(a.Run) != nil {
			panic(broken(a.Run + " is forgotten by the keeper and still on disk"))
		}
		w.keeper.forget(a.Run, w.now.Boot+w.upTo(100*time.Millisecond))
		return true
	case core.Quit:
		w.quit = true
		for i := range w.keeper.runs {
			if r := &w.keeper.runs[i]; r.live() && !r.alone && !a.Detached {
				panic(broken("superd quits while " + r.slot + " lives"))
			}
		}
		return false
	}
	w.inbox = append(w.inbox, w.keeper.do(a, w.now.Boot)...)
	switch a.(type) {
	case core.Signal, core.Sweep:
		return true
	}
	return false
}

// do executes what is the keeper's part in an action.
func (k *simKeeper) do(a core.Action, now time.Duration) []core.Event {
	switch a := a.(type) {
	case core.Spawn:
		k.spawn(a.Run, slotOf(a.Pool, a.Worker), simFate{}, now)
	case core.CancelSpawn:
		return k.cancel(a.Run)
	case core.Signal:
		k.signal(a.Run, a.Signal, a.Number, now)
	case core.Sweep:
		k.sweep(a.Run, now)
	case core.Forget:
		k.forget(a.Run, now)
	case core.Publish, core.Answer, core.Quit, core.SavePool, core.SaveWorker, core.DropPool, core.DropWorkers, core.SaveExit:
	default:
		panic(fmt.Sprintf("the simulation does not know %T", a))
	}
	return nil
}

func slotOf(p *core.Pool, w *core.Worker) string { return p.Name + "/" + string(rune('0'+w.Index)) }

// crash ends superd as kill -9 does.
func (w *simWorld) crash() {
	w.st, w.inbox, w.fatal = nil, nil, nil
	w.disk.close()
	w.keeper.superdDied()
}

// die is a crash in the course of a step: before a deed, or in the middle of it.
func (w *simWorld) die(a core.Action, torn bool) {
	w.log("         superd dies before %s (torn: %v)", tellAction(a), torn)
	if !torn || !saves(a) {
		w.crash()
		return
	}
	before := w.disk.recall(0)
	there := w.disk.tear(a, w.rnd)
	w.crash()
	rec, after, _ := w.disk.read(0)
	switch a.(type) {
	case core.SaveWorker:
		w.disk.alike("a worker's record was half written", before, after)
	case core.SavePool:
		if there { // else state_dir tells of it, and may be ahead
			w.disk.alike("a pool's record was half written", before, after)
		}
	}
	w.disk.keepAll(rec, after)
	w.disk.rec = rec
	w.disk.close()
}

// alike holds that two states were loaded from the same.
func (d *simDisk) alike(when string, a, b *core.State) {
	c := &simCompare{strict: true}
	if diff := c.states(a, b); diff != "" {
		panic(broken(when + ", and what is read is not what was written before:\n" + diff))
	}
}

// start is the only way in which superd starts.
func (w *simWorld) start() bool {
	w.real++
	w.seed++
	st, sameBoot := w.disk.open(w.seed)
	if sameBoot != w.boot {
		panic(broken(fmt.Sprintf("the records are of this boot: %v, and superd takes them so: %v", w.boot, sameBoot)))
	}
	w.disk.alike("superd starts", w.disk.recall(0), st)
	w.disk.keepAll(w.disk.rec, st)
	w.st, w.quit, w.inbox = st, false, nil
	begin := core.Begin{Specs: w.specs, Found: w.keeper.found(), SameBoot: sameBoot, KeeperLost: w.lost}
	w.lost = false
	w.restore(st, w.keeper, begin.Found)
	for run := range w.disk.values.owed {
		if saved := w.disk.saved(run); saved != nil && saved.Run.PID == 0 {
			w.disk.values.again[run] = true
		}
	}
	w.disk.forgetful = !w.boot
	if !w.step(begin) {
		return false
	}
	w.disk.rec.replayExits(w.st)
	w.disk.values.exitsKept()
	must(w.disk.rec.belong())
	w.boot, w.disk.forgetful = true, false
	return true
}

// restore gives workers back the runs that are found although no record tells of
// them, as Supervisor.restore does.
func (w *simWorld) restore(st *core.State, k *simKeeper, found map[string]core.Found) {
	for i := range k.runs {
		r := &k.runs[i]
		if !r.live() || r.alone || w.disk.saved(r.id) != nil {
			continue
		}
		name, index := r.slot[:1], int(r.slot[2]-'0')
		p := st.Pools[name]
		for _, spec := range w.specs {
			if p == nil && spec.Config.Name == name {
				p = st.Rebuild(spec, w.now)
			}
		}
		if p == nil || index >= len(p.Workers) || p.Workers[index].Run != nil {
			r.alone = true
			continue
		}
		st.Restore(p, p.Workers[index], r.id, found[r.id], w.now, w.now)
	}
}

// anotherBoot is what state_dir says after the machine was started anew.
const anotherBoot = `{"BootID":"another"}`

// rebooted ends everything, and the clock that counts from the boot begins anew.
func (w *simWorld) rebooted(old bool) {
	w.keeper = &simKeeper{pids: w.keeper.pids}
	w.now = core.Time{Boot: 30 * time.Second, Wall: w.now.Wall.Add(time.Minute)}
	w.lostRuntime(old)
	w.disk.values.Put(superdBucket, bootKey, []byte(anotherBoot))
	w.disk.values.written()
	w.boot = false
}

// lostRuntime is the end of all that is in runtime_dir; old: and state_dir was behind.
func (w *simWorld) lostRuntime(old bool) {
	must(os.RemoveAll(w.disk.dir + "/records"))
	w.disk.values.owed = maps.Clone(w.disk.values.exits) // the journal is lost too
	if old {
		w.disk.values.values = w.disk.values.old
	}
	w.disk.values.written()
	w.bootOfState()
	rec, st, _ := w.disk.read(0)
	w.disk.keepAll(rec, st)
	w.disk.rec = rec
	w.disk.close()
}

// bootOfState is whose boot the records are of, where state_dir alone says it.
func (w *simWorld) bootOfState() {
	if _, err := os.Stat(w.disk.dir + "/records/" + superdRecord + ".record"); err != nil {
		of, known := w.disk.values.Get(superdBucket, bootKey)
		w.boot = w.boot && known && string(of) != anotherBoot
	}
}

// read has superd read what the keeper has told; false: superd died over it.
func (w *simWorld) read() bool {
	for len(w.inbox) > 0 && w.st != nil {
		w.readOne()
	}
	return w.st != nil
}

func (w *simWorld) readOne() bool {
	ev := w.inbox[0]
	w.inbox = w.inbox[1:]
	return w.step(ev)
}

// next is the instant at which the next thing happens by itself.
func (w *simWorld) next() time.Duration {
	at := w.keeper.next()
	if w.st != nil {
		if t, ok := w.st.Deadline(); ok {
			at = min(at, t.Boot)
		}
	}
	return at
}

func (w *simWorld) moveTo(at time.Duration) {
	if at > w.now.Boot {
		w.now = w.now.Add(at - w.now.Boot)
	}
}

// pass lets time pass up to an instant, and everything happen that it brings.
func (w *simWorld) pass(until time.Duration) {
	for {
		w.read()
		at := w.next()
		if at > until {
			break
		}
		w.moveTo(at)
		w.happen()
	}
	w.moveTo(until)
}

// happen has the next thing happen that is due.
func (w *simWorld) happen() {
	if w.keeper.next() <= w.now.Boot {
		events := w.keeper.act(w.now.Boot)
		if w.st != nil {
			w.inbox = append(w.inbox, events...)
		}
		return
	}
	if w.st == nil {
		return
	}
	if t, ok := w.st.Deadline(); ok && t.Boot <= w.now.Boot {
		w.step(core.Tick{})
	}
}

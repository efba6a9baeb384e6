package supervisor

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor/core"
)

var (
	simSeed  = flag.Uint64("seed", 0, "simulate this one world alone; 0: a series")
	simSteps = flag.Int("steps", 30_000, "how many steps the simulated worlds take in all")
	simEvery = flag.Int("decode", 8, "decode one in so many records as soon as it is written; 1: all")
	simFew   = flag.Int("things", 0, "how much happens in a world; 0: enough")
	simFirst = flag.Uint64("first", 1, "the seed of the first world of a series")
)

func (w *simWorld) chance(of int) bool { return w.rnd.IntN(of) == 0 }

// upTo is a duration below a limit, often a round one.
func (w *simWorld) upTo(limit time.Duration) time.Duration {
	return limit * time.Duration(w.rnd.IntN(20)) / 20
}

func newSimWorld(seed uint64, dir string, every int) *simWorld {
	w := &simWorld{rnd: rand.New(rand.NewPCG(seed, 3)), now: simStart, keeper: &simKeeper{}, seed: seed << 20,
		disk: newSimDisk(dir, every), log: func(string, ...any) {}}
	for _, name := range simNames {
		if name == "a" || w.chance(2) {
			w.specs = append(w.specs, w.spec(simPool(name), "/r1"))
		}
	}
	return w
}

// spec is a pool with something else in it.
func (w *simWorld) spec(old *config.Pool, release string) core.Spec {
	c := w.change(old)
	w.disk.configs = append(w.disk.configs, c)
	return core.Spec{Config: c, Release: release}
}

var simTerm = signals.Sequence{{Signal: syscall.SIGTERM, Wait: 10 * time.Second}, {Signal: syscall.SIGKILL}}

// simPool is a pool with the defaults of the documentation.
func simPool(name string) *config.Pool {
	return &config.Pool{Name: name, Command: []string{name}, Count: 1, Directory: "/", Stop: simTerm, Drain: simTerm,
		SignalScope: config.ScopeMain, KillScope: config.ScopeGroup, SuccessExit: []config.ExitMatch{{Code: 0}},
		Autostart: true, AfterTimeout: time.Minute,
		Restart: config.Restart{On: config.RestartAlways, Attempts: 10, Interval: 10 * time.Minute, Delay: time.Second,
			MaxDelay: time.Second, Mode: config.ModeDelay},
		Update: config.Update{MaxParallel: 1, MinHealthyTime: 10 * time.Second, HealthyDeadline: 5 * time.Minute,
			ProgressDeadline: 10 * time.Minute}}
}

func pick[T any](w *simWorld, of ...T) T { return of[w.rnd.IntN(len(of))] }

func (w *simWorld) change(old *config.Pool) *config.Pool {
	c := *old
	for range 1 + w.rnd.IntN(3) {
		switch w.rnd.IntN(13) {
		case 0:
			c.Command = []string{c.Name, fmt.Sprint(w.rnd.IntN(3))}
		case 1, 2:
			c.Count = w.rnd.IntN(4)
		case 3:
			c.Restart.On = pick(w, config.RestartAlways, config.RestartFailure, config.RestartNever)
		case 4:
			c.Restart.Attempts, c.Restart.Interval = w.rnd.IntN(4), time.Duration(10+w.rnd.IntN(3)*30)*time.Second
		case 5:
			c.Restart.Delay = time.Duration(w.rnd.IntN(3)) * time.Second
			c.Restart.MaxDelay = c.Restart.Delay * time.Duration(1+w.rnd.IntN(5))
			c.Restart.Jitter = pick(w, 0, 0, 0.5)
		case 6:
			c.Restart.Mode = pick(w, config.ModeDelay, config.ModeFail)
		case 7:
			c.Stop = pick(w, simTerm, signals.Sequence{{Signal: syscall.SIGTERM, Forever: true}}, signals.Sequence{{Signal: syscall.SIGKILL}},
				signals.Sequence{{Signal: syscall.SIGQUIT, Wait: time.Second}, {Signal: syscall.SIGTERM, Wait: 3 * time.Second}, {Signal: syscall.SIGKILL}})
		case 8:
			c.Drain = pick(w, c.Stop, signals.Sequence{{Signal: syscall.SIGUSR1, Wait: time.Minute}, {Signal: syscall.SIGKILL}},
				signals.Sequence{{Signal: syscall.SIGUSR1, Wait: 2 * time.Minute}, {Signal: syscall.SIGTERM, Wait: 3 * time.Second}, {Signal: syscall.SIGKILL}})
		case 9:
			c.Update.MaxParallel = 1 + w.rnd.IntN(2)
			c.Update.MinHealthyTime = time.Duration(w.rnd.IntN(3)*5) * time.Second
			c.Update.HealthyDeadline = c.Update.MinHealthyTime + time.Duration(5+w.rnd.IntN(30))*time.Second
			c.Update.ProgressDeadline = c.Update.HealthyDeadline + time.Duration(w.rnd.IntN(60))*time.Second
		case 10:
			c.After = nil
			for _, name := range simNames {
				if name < c.Name && w.chance(2) {
					c.After = append(c.After, name)
				}
			}
		case 11:
			c.Busy.Title = pick(w, "", "busy")
		case 12:
			c.Autostart, c.Essential = !w.chance(4), w.chance(15)
		}
	}
	return &c
}

// someFate is a process of any kind.
func (w *simWorld) someFate() simFate {
	if w.calm {
		return simFate{}
	}
	f := simFate{prepare: w.upTo(40 * time.Millisecond), fork: w.upTo(40 * time.Millisecond), execute: w.upTo(time.Second), obeys: w.upTo(5 * time.Second)}
	switch w.rnd.IntN(14) {
	case 0:
		f.fails = pick(w, stagePrepare, "fork", "limits", "directory", "exec")
	case 1:
		f.hangs = true
	case 2, 3, 4:
		f.life, f.end = 1+w.upTo(20*time.Second), core.End{Code: w.rnd.IntN(3)}
	case 5:
		f.life, f.end = 1+w.upTo(20*time.Second), core.End{Signal: "SEGV", Core: true}
	case 6:
		f.deaf = true
	case 7:
		f.deaf, f.stubborn = true, w.upTo(40*time.Second)
	case 8:
		f.leaves = 1 + w.upTo(25*time.Second)
	case 9:
		f.leaves, f.sweeps = 1000*time.Hour, 1+w.rnd.IntN(3)
	case 10:
		f.onSignal = &core.End{Code: w.rnd.IntN(2)}
	}
	return f
}

// something happens.
func (w *simWorld) something() {
	if w.st == nil {
		w.startAnew()
		return
	}
	if !w.calm && w.chance(150) {
		w.dieSoon()
	}
	switch n := w.rnd.IntN(100); {
	case n < 66:
		if at := w.next(); at != simNever {
			w.moveTo(at)
			w.happen()
		}
		if !w.chance(8) { // else the news is late, and overtaken
			w.read()
		}
	case n < 70:
		w.pass(w.now.Boot + w.upTo(30*time.Second))
	case n < 74:
		for i := range w.keeper.runs {
			if r := &w.keeper.runs[i]; r.phase == simRunning && w.chance(3) {
				r.dying, r.due = &core.End{Code: w.rnd.IntN(2)}, w.now.Boot
			}
		}
	case n < 86:
		w.ref++
		w.step(core.Do{Ref: w.ref, Command: w.someCommand()})
	case n < 88 && w.chance(2):
		w.configure()
	case n < 90 && w.chance(6):
		w.crash()
	case n == 90:
		w.keeperDies()
	case n == 91:
		w.now.Wall = w.now.Wall.Add(pick(w, time.Hour, -time.Hour))
	case n == 92:
		w.suspend(w.upTo(2 * time.Hour))
	case n < 97 && w.chance(2):
		w.look()
	case n == 97 && w.chance(6):
		w.leave()
	case n == 98:
		w.disk.values.written()
		if w.chance(2) {
			w.disk.values.exitsWritten()
		}
	case n == 99 && w.read():
		w.step(pick[core.Event](w, core.Exited{Run: "nobody", Gone: true}, core.Forked{Run: "nobody"}, core.Gone{Run: "nobody"},
			core.Warned{Run: "nobody"}, core.SpawnFailed{Run: "nobody"}))
	}
}

// startAnew has superd start after it died, and often not only it has gone.
func (w *simWorld) startAnew() {
	w.pass(w.now.Boot + w.upTo(time.Minute))
	switch w.rnd.IntN(30) {
	case 0: // both are dead
		w.keeper.replaced()
		w.lost = true
	case 1:
		w.rebooted(w.chance(2))
	case 2, 3: // state_dir is lost: runtime_dir knows it all
		v := w.disk.values
		maps.DeleteFunc(v.owed, func(run, _ string) bool { return v.exits[run] != "" })
		clear(v.exits)
		w.disk.otherState(map[string]map[string][]byte{})
		w.bootOfState()
	case 4, 5: // or is behind
		w.disk.otherState(w.disk.values.old)
		w.bootOfState()
	case 6:
		w.lostRuntime(w.chance(2))
	}
	if w.chance(8) {
		w.dieSoon()
	}
	w.start()
}

func (w *simWorld) leave() {
	w.step(core.Leave{Now: w.chance(3), Detach: w.chance(3), By: "uid 0"})
	if w.st != nil && w.chance(3) {
		w.step(core.Leave{Within: time.Second + w.upTo(20*time.Second), By: "the system goes down"})
	}
}

// suspend stops processes for a while, and superd with them.
func (w *simWorld) suspend(d time.Duration) {
	w.keeper.pause(d)
	w.moveTo(w.now.Boot + d)
}

// keeperDies has another keeper take over: it is told by superd of what lives.
func (w *simWorld) keeperDies() {
	w.inbox = nil
	w.keeper.replaced()
	found := w.keeper.found()
	for i := range w.keeper.runs {
		if r := &w.keeper.runs[i]; r.phase == simPreparing {
			found[r.id] = core.Found{Pending: true}
		}
	}
	w.step(core.Recheck{Found: found})
}

// look tells of all live runs what they do: most of them something else than before.
func (w *simWorld) look() {
	for _, r := range w.keeper.clone().runs {
		if w.st == nil {
			return
		}
		ev := core.Observed{Run: r.id, Work: pick(w, core.AtWork, core.Idle, core.Idle)}
		if w.chance(2) {
			ev.Changed = core.Time{Boot: w.now.Boot - w.upTo(20*time.Second)}
		}
		w.step(ev)
	}
}

// dieSoon has superd die before one of its next deeds, or in the middle of it.
func (w *simWorld) dieSoon() {
	left, torn := w.rnd.IntN(8), w.chance(2)
	w.fatal = func(a core.Action) (bool, bool) {
		left--
		return left < 0 && (!torn || saves(a)), torn
	}
}

func (w *simWorld) someCommand() core.Command {
	c := core.Command{Verb: pick(w, core.VerbStart, core.VerbStop, core.VerbRestart, core.VerbScale, core.VerbSignal), Pool: pick(w, simNames...), By: "uid 0"}
	if w.chance(3) {
		c.Workers = []int{w.rnd.IntN(4)}
	}
	switch c.Verb {
	case core.VerbStop:
		c.Now = w.chance(4)
	case core.VerbScale:
		c.Count, c.Workers = w.rnd.IntN(5), nil
	case core.VerbSignal:
		c.Signal, c.Group = pick(w, "USR1", "TERM", "nonsense"), w.chance(2)
	case core.VerbRestart:
		c.Release = pick(w, "", "/r1", "/r2")
	}
	return c
}

// configure applies a configuration that differs a little.
func (w *simWorld) configure() {
	var specs []core.Spec
	for _, name := range simNames {
		at := -1
		for i, spec := range w.specs {
			if spec.Config.Name == name {
				at = i
			}
		}
		switch {
		case at < 0 && w.chance(2):
			specs = append(specs, w.spec(simPool(name), "/r1"))
		case at < 0 || w.chance(6):
		case w.chance(2):
			specs = append(specs, w.spec(w.specs[at].Config, w.specs[at].Release))
		default:
			specs = append(specs, w.specs[at])
		}
	}
	w.specs = specs
	w.step(core.Configure{Specs: specs})
}

// calmDown makes everybody well-behaved, and wants everything to come to rest as it
// is desired.
func (w *simWorld) calmDown() {
	w.calm, w.fatal = true, nil
	for w.st == nil {
		w.start()
	}
	for i := range w.keeper.runs {
		r := &w.keeper.runs[i]
		r.deaf, r.stubborn, r.leaves, r.sweeps = false, 0, 0, 0
		if r.phase == simEnded || r.phase == simRunning && (r.life > 0 || r.told) {
			r.due = w.now.Boot
		}
	}
	w.pass(w.now.Boot + 30*time.Minute)
	if w.st == nil {
		return // an essential pool has come to its end
	}
	for _, name := range simNames {
		p := w.st.Pools[name]
		if p == nil {
			continue
		}
		if p.Removed || len(p.WaitsFor) > 0 || p.Deployment != nil {
			panic(broken(fmt.Sprintf("%s has not come to rest: %+v, deployment %+v", name, *p, p.Deployment)))
		}
		for _, wk := range p.Workers {
			well := wk.State == core.Stopped
			if wk.Index < p.Count && wk.Desired == core.Up {
				well = wk.State == core.Failed || wk.State == core.Completed || wk.State == core.Running && wk.Run.Healthy
			}
			if !well {
				panic(broken(fmt.Sprintf("%s/%d has not come to rest: %s, desired %s, run %+v", name, wk.Index, wk.State, wk.Desired, wk.Run)))
			}
		}
	}
	w.step(core.Leave{By: "uid 0"})
	w.pass(w.now.Boot + 10*time.Minute)
	if w.st != nil {
		panic(broken("superd was told to end and did not"))
	}
}

// live lives through a world; an error tells which promise was broken.
func (w *simWorld) live(things int) (err error) {
	defer func() {
		r := recover()
		w.disk.close()
		if r == nil {
			return
		}
		if what, ok := r.(broken); ok {
			err = errors.New(string(what))
			return
		}
		err = fmt.Errorf("%v\n%s", r, debug.Stack())
	}()
	w.start()
	for range things {
		w.something()
	}
	w.calmDown()
	return nil
}

// simThings is how much happens in a world.
func simThings(seed uint64) int {
	if *simFew > 0 {
		return *simFew
	}
	if seed%16 == 0 {
		return 3000
	}
	return 400
}

// simFolder is a folder in memory if there is one: the records are meant for one.
func simFolder(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "superd-simulation")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestSimulation lives through worlds in which the core decides and the store keeps,
// and superd dies after every single deed: it starts anew from what was really
// written, everything in it agrees, and it goes on to decide what it would have
// decided had it lived. At random it dies in earnest too, in the middle of a write,
// with the keeper, with the machine, or with one of its two folders, and the world
// goes on from there.
func TestSimulation(t *testing.T) {
	dir := simFolder(t)
	if testing.Short() { // no two goroutines of it share a world
		*simSteps /= 10
	}
	if *simSeed != 0 {
		if err := newSimWorld(*simSeed, dir+"/0", 1).live(simThings(*simSeed)); err != nil {
			t.Fatal(explain(*simSeed, dir+"/0"))
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // worlds are small and short
	var steps, deaths, same, real, worlds, failed atomic.Int64
	var next atomic.Uint64
	next.Store(*simFirst - 1)
	var wg sync.WaitGroup
	for i := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for failed.Load() == 0 && steps.Load() < int64(*simSteps) {
				seed := next.Add(1)
				w := newSimWorld(seed, fmt.Sprintf("%s/%d", dir, i), *simEvery)
				if err := w.live(simThings(seed)); err != nil {
					if failed.Add(1) == 1 {
						t.Errorf("-seed %d: %v\n%s", seed, err, explain(seed, fmt.Sprintf("%s/%d", dir, i)))
					}
					return
				}
				worlds.Add(1)
				steps.Add(int64(w.steps))
				deaths.Add(int64(w.deaths))
				same.Add(int64(w.same))
				real.Add(int64(w.real))
			}
		})
	}
	wg.Wait()
	t.Logf("%d worlds, %d steps of the core, %d deaths, %d of them compared with a life; %d starts in earnest", worlds.Load(), steps.Load(), deaths.Load(), same.Load(), real.Load())
}

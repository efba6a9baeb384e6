package core

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
)

var (
	simSeed  = flag.Uint64("seed", 0, "simulate this one host alone; 0: a series")
	simHosts = flag.Int("hosts", 60, "how many hosts the simulation lives through")
)

// host is a simulated machine on which anything happens.
type host struct {
	*world
	choose func(n int) int // a number below n
	names  []string        // pools that may exist
	log    []string        // what happened last
	twins  int             // how often a crash was compared with none
	calm   bool            // nothing surprising happens any more
}

func (h *host) chance(of int) bool { return h.choose(of) == 0 }

// spread is a duration up to a limit, often a short or round one.
func (h *host) upTo(limit time.Duration) time.Duration {
	return limit * time.Duration(h.choose(20)) / 20
}

func newHost(choose func(n int) int) *host {
	h := &host{choose: choose, names: []string{"a", "b", "c"}}
	h.world = newWorld()
	for _, name := range h.names {
		if name == "a" || h.chance(2) {
			h.specs = append(h.specs, Spec{Config: h.change(basePool(name)), Release: "/r1"})
		}
	}
	h.behave = func(string) behaviour { return h.someBehaviour() }
	h.beforeStep = h.compareCrash
	return h
}

var term10 = signals.Sequence{{Signal: syscall.SIGTERM, Wait: 10 * time.Second}, {Signal: syscall.SIGKILL}}

// basePool is a pool with the defaults of the documentation.
func basePool(name string) *config.Pool {
	return &config.Pool{Name: name, Command: []string{name}, Count: 1, Directory: "/", Stop: term10, Drain: term10,
		SignalScope: config.ScopeMain, KillScope: config.ScopeGroup, SuccessExit: []config.ExitMatch{{Code: 0}},
		Autostart: true, AfterTimeout: time.Minute,
		Restart: config.Restart{On: config.RestartAlways, Attempts: 10, Interval: 10 * time.Minute, Delay: time.Second,
			MaxDelay: time.Second, Mode: config.ModeDelay},
		Update: config.Update{MaxParallel: 1, MinHealthyTime: 10 * time.Second, HealthyDeadline: 5 * time.Minute,
			ProgressDeadline: 10 * time.Minute}}
}

// change is a pool with something else in it.
func (h *host) change(old *config.Pool) *config.Pool {
	c := *old
	for range 1 + h.choose(3) {
		switch h.choose(13) {
		case 0, 1:
			c.Command = []string{c.Name, fmt.Sprint(h.choose(3))}
		case 2:
			c.Count = h.choose(4)
		case 3:
			c.Restart.On = []config.RestartOn{config.RestartAlways, config.RestartFailure, config.RestartNever}[h.choose(3)]
		case 4:
			c.Restart.Attempts, c.Restart.Interval = h.choose(4), time.Duration(10+h.choose(3)*30)*time.Second
		case 5:
			c.Restart.Delay = time.Duration(h.choose(3)) * time.Second
			c.Restart.MaxDelay = c.Restart.Delay * time.Duration(1+h.choose(5))
			c.Restart.Jitter = []float64{0, 0, 0.5}[h.choose(3)]
		case 6:
			c.Restart.Mode = []config.RestartMode{config.ModeDelay, config.ModeFail}[h.choose(2)]
		case 7:
			c.Stop = []signals.Sequence{term10, {{Signal: syscall.SIGQUIT, Wait: time.Second}, {Signal: syscall.SIGTERM, Wait: 3 * time.Second}, {Signal: syscall.SIGKILL}},
				{{Signal: syscall.SIGTERM, Forever: true}}, {{Signal: syscall.SIGKILL}}}[h.choose(4)]
		case 8:
			c.Drain = []signals.Sequence{c.Stop, {{Signal: syscall.SIGUSR1, Wait: time.Minute}, {Signal: syscall.SIGKILL}},
				{{Signal: syscall.SIGUSR1, Wait: 2 * time.Minute}, {Signal: syscall.SIGTERM, Wait: 3 * time.Second}, {Signal: syscall.SIGKILL}}}[h.choose(3)]
		case 9:
			c.Update.MaxParallel = 1 + h.choose(2)
			c.Update.MinHealthyTime = time.Duration(h.choose(3)*5) * time.Second
			c.Update.HealthyDeadline = c.Update.MinHealthyTime + time.Duration(5+h.choose(30))*time.Second
			c.Update.ProgressDeadline = c.Update.HealthyDeadline + time.Duration(h.choose(60))*time.Second
		case 10:
			c.After = nil
			for _, name := range h.names {
				if name < c.Name && h.chance(2) {
					c.After = append(c.After, name)
				}
			}
		case 11:
			c.Busy.Title = []string{"", "busy"}[h.choose(2)]
		case 12:
			c.Autostart, c.Essential = h.choose(4) != 0, h.chance(15)
		}
	}
	return &c
}

// someBehaviour is a process of any kind.
func (h *host) someBehaviour() behaviour {
	if h.calm {
		return behaviour{}
	}
	b := behaviour{prepare: h.upTo(40 * time.Millisecond), fork: h.upTo(40 * time.Millisecond), execute: h.upTo(time.Second), obeys: h.upTo(5 * time.Second)}
	switch h.choose(14) {
	case 0:
		b.fails = []string{"prepare", "fork", "limits", "directory", "exec"}[h.choose(5)]
	case 1:
		b.hangs = true
	case 2, 3, 4:
		b.life, b.end = 1+h.upTo(20*time.Second), End{Code: h.choose(3)}
	case 5:
		b.life, b.end = 1+h.upTo(20*time.Second), End{Signal: "SEGV", Core: true}
	case 6:
		b.deaf = true
	case 7:
		b.deaf, b.stubborn = true, h.upTo(40*time.Second)
	case 8:
		b.leaves = 1 + h.upTo(25*time.Second)
	case 9:
		b.leaves, b.sweeps = 1000*time.Hour, 1+h.choose(3)
	case 10:
		b.onSignal = &End{Code: h.choose(2)}
	}
	return b
}

// something happens.
func (h *host) something() {
	if h.core == nil {
		h.pass(h.now.Boot + h.upTo(time.Minute))
		h.dieSoon()
		h.start()
		return
	}
	h.dieSoon()
	switch n := h.choose(62); {
	case n < 34:
		if at := h.next(); at != never_ {
			h.moveTo(at)
			h.happen()
		}
		for h.chance(2) && h.core != nil && len(h.inbox) > 0 {
			h.readOne()
		}
	case n < 40:
		h.pass(h.now.Boot + h.upTo(30*time.Second))
	case n < 43:
		for _, p := range h.keeper.processes {
			if p.phase == running && h.chance(3) {
				h.keeper.exit(p, End{Code: h.choose(2)}, h.now.Boot)
			}
		}
	case n < 52:
		h.command(h.someCommand())
	case n < 55:
		h.configure()
	case n == 55:
		h.crash()
	case n == 56:
		h.keeperDies()
	case n == 60:
		h.setWallClock()
		h.look()
	case n == 61:
		h.suspend(h.upTo(2 * time.Hour))
	case n == 57 && h.chance(6):
		h.step(Leave{Now: h.chance(3), Detach: h.chance(3), By: "uid 0"})
		if h.core != nil && h.chance(3) {
			h.step(Leave{Within: time.Second + h.upTo(20*time.Second), By: "the system goes down"})
		}
	case n == 58 && h.chance(8):
		h.reboot()
	case n == 59:
		if !h.read() {
			return
		}
		h.step([]Event{Exited{Run: "nobody", Gone: true}, Forked{Run: "nobody"}, Gone{Run: "nobody"}, Warned{Run: "nobody"},
			SpawnFailed{Run: "nobody"}}[h.choose(5)])
	}
}

// setWallClock puts it an hour ahead or back: nothing may hang on it but what
// people read. It takes no choice, so that the same seed gives the same without it.
func (h *host) setWallClock() {
	step := time.Hour
	if h.now.Boot/time.Millisecond%2 == 0 {
		step = -step
	}
	h.now.Wall = h.now.Wall.Add(step)
}

// suspend stops the machine for a while: nothing happens in it, and afterwards all of
// superd's deadlines are late.
func (h *host) suspend(d time.Duration) {
	for _, p := range h.keeper.processes {
		if p.due != never_ {
			p.due += d
		}
	}
	h.moveTo(h.now.Boot + d)
}

// look tells of all live runs what they do: most of them something else than before.
func (h *host) look() {
	for _, p := range slices.Clone(h.keeper.processes) {
		if h.core == nil {
			return
		}
		ev := Observed{Run: p.run, Work: []Work{AtWork, Idle, Idle}[h.choose(3)]}
		if h.chance(2) {
			ev.Changed = Time{Boot: h.now.Boot - h.upTo(20*time.Second)}
		}
		h.step(ev)
	}
}

// dieSoon may have superd die before one of its next deeds.
func (h *host) dieSoon() {
	if h.calm || !h.chance(25) {
		return
	}
	left := h.choose(8)
	h.dieBefore = func(int, Action) bool {
		left--
		return left < 0
	}
}

func (h *host) someCommand() Command {
	c := Command{Verb: []Verb{VerbStart, VerbStop, VerbRestart, VerbScale, VerbSignal}[h.choose(5)], Pool: h.names[h.choose(len(h.names))]}
	if h.chance(3) {
		c.Workers = []int{h.choose(4)}
	}
	switch c.Verb {
	case VerbStop:
		c.Now = h.chance(4)
	case VerbScale:
		c.Count, c.Workers = h.choose(5), nil
	case VerbSignal:
		c.Signal, c.Group = []string{"USR1", "TERM", "nonsense"}[h.choose(3)], h.chance(2)
	case VerbRestart:
		c.Release = []string{"", "/r1", "/r2"}[h.choose(3)]
	}
	return c
}

// configure applies a configuration that differs a little.
func (h *host) configure() {
	var specs []Spec
	for _, name := range h.names {
		at := -1
		for i, spec := range h.specs {
			if spec.Config.Name == name {
				at = i
			}
		}
		switch {
		case at < 0 && h.chance(2):
			specs = append(specs, Spec{Config: h.change(basePool(name)), Release: "/r1"})
		case at < 0 || h.chance(5):
		case h.chance(2):
			specs = append(specs, Spec{Config: h.change(h.specs[at].Config), Release: h.specs[at].Release})
		default:
			specs = append(specs, h.specs[at])
		}
	}
	h.specs = specs
	h.step(Configure{Specs: specs})
}

// compareCrash compares, before a step that is none of an operator's, what becomes
// of the state with what becomes of it when superd dies somewhere in the step and
// is there again at once: it must be the same.
func (h *host) compareCrash(ev Event) {
	switch ev := ev.(type) {
	case Do, Configure, Leave, Begin, Recheck, Warned, Observed:
		return
	case SpawnFailed:
		if ev.Stage == "prepare" {
			return // superd alone knew, and tries again
		}
	}
	if h.calm || h.dieBefore != nil || len(h.inbox) > 0 || h.core.Leaving != nil || !h.chance(6) {
		return
	}
	if at, ok := h.core.Deadline(); ok && at.Boot < h.now.Boot {
		return // what is late at once may be done in another order
	}
	for _, p := range h.core.Pools {
		if p.Config.Restart.Jitter != 0 {
			return
		}
	}
	whole, cut := h.clone(), h.clone()
	n := h.choose(8)
	cut.dieBefore = func(i int, _ Action) bool { return i == n }
	if whole.step(ev); whole.quit != nil || whole.core.Leaving != nil { // an essential pool: the next superd starts it afresh
		return
	}
	whole.read()
	if cut.step(ev) {
		cut.crash()
	}
	if cut.quit != nil || !cut.start() || !cut.read() || whole.core == nil {
		return
	}
	h.twins++
	if a, b := canonical(whole.core), canonical(cut.core); a != b {
		panic(broken(fmt.Sprintf("%s, and superd dies before deed %d of it:\n%s", describeEvent(ev), n, differ(a, b))))
	}
}

// calmDown makes everybody well-behaved, and wants everything to come to rest as
// it is desired.
func (h *host) calmDown() {
	h.calm, h.dieBefore = true, nil
	for h.core == nil {
		h.start()
	}
	for _, p := range h.keeper.processes {
		p.deaf, p.stubborn, p.leaves, p.sweeps = false, 0, 0, 0
		if p.phase == ended || p.phase == running && (p.life > 0 || p.told) {
			p.due = h.now.Boot
		}
	}
	h.pass(h.now.Boot + 30*time.Minute)
	if h.core == nil {
		return // an essential pool has come to its end
	}
	for _, name := range h.core.names() {
		p := h.core.Pools[name]
		if p.Removed || p.waiting() || p.Deployment != nil {
			panic(broken(fmt.Sprintf("%s has not come to rest: removed %v, waits for %v, deployment %+v", name, p.Removed, p.WaitsFor, p.Deployment)))
		}
		for _, w := range p.Workers {
			well := w.State == Stopped
			if h.core.wanted(p, w) {
				well = w.State == Failed || w.State == Completed || w.State == Running && w.Run.Healthy
			}
			if !well {
				text := canonical(h.core)
				if w.Run != nil {
					text = fmt.Sprintf("run %+v, stop %+v, process %+v", *w.Run, w.Run.Stop, h.keeper.find(w.Run.ID))
				}
				panic(broken(fmt.Sprintf("%s has not come to rest: %s, desired %s: %s", p.worker(w), w.State, w.Desired, text)))
			}
		}
	}
	h.step(Leave{By: "uid 0"})
	h.pass(h.now.Boot + 10*time.Minute)
	if h.quit == nil && h.core != nil {
		panic(broken("superd was told to end and did not"))
	}
}

// live lives through a host; an error tells which promise was broken, and how it
// came to that.
func (h *host) live(steps int) (err error) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		what := fmt.Sprint(r)
		if _, ok := r.(broken); !ok {
			what += "\n" + string(debug.Stack())
		}
		err = fmt.Errorf("%s\n--- %s", strings.Join(h.log[max(0, len(h.log)-300):], "\n"), what)
	}()
	h.start()
	for range steps {
		h.something()
	}
	h.calmDown()
	return nil
}

// keepLog has a host write down what happens, which takes more time than all else.
func (h *host) keepLog() {
	h.watch = func(ev Event, done []Action) {
		h.log = append(h.log, describeStep(h.now.Boot-bootStart.Boot, ev, done)...)
	}
}

func simulate(seed uint64, steps int, log bool) (*host, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	h := newHost(r.IntN)
	if log {
		h.keepLog()
	}
	return h, h.live(steps)
}

// TestSimulation lives through hosts on which anything happens: commands, exits,
// configurations, hanging processes, and deaths of superd before any of its deeds.
// Every promise of Check, of the history and of the fake keeper is held in every
// step, and at the end everything comes to rest.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if _, err := simulate(*simSeed, 800, true); err != nil {
			t.Fatal(err)
		}
		return
	}
	steps, twins := 0, 0
	for seed := uint64(1); seed <= uint64(*simHosts); seed++ {
		h, err := simulate(seed, 800, false)
		if err != nil {
			_, err = simulate(seed, 800, true)
			t.Fatalf("-seed %d: %v", seed, err)
		}
		steps += h.steps
		twins += h.twins
	}
	t.Logf("%d steps, %d of them also with a death in them", steps, twins)
}

// TestSimulationRepeats holds that the same events have the same consequences.
func TestSimulationRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, _ := simulate(seed, 800, true)
		b, _ := simulate(seed, 800, true)
		if x, y := strings.Join(a.log, "\n"), strings.Join(b.log, "\n"); x != y {
			t.Fatalf("-seed %d: the first time\n%s\nthe second time\n%s", seed, x, y)
		}
	}
}

package supervisor

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor/core"
)

// broken is what the simulation panics with when a promise was not kept.
type broken string

// simFate is what a simulated process does with its life. Zero: it starts at once,
// lives on, and ends when it is told to.
type simFate struct {
	prepare, fork, execute time.Duration // how long its start takes in superd, in the keeper, before its program

	fails    string        // the stage at which its start fails; empty: it does not
	hangs    bool          // it never gets to execute its program
	life     time.Duration // it ends by itself after so long; 0: it does not
	end      core.End      // like this
	deaf     bool          // it ignores all but KILL
	obeys    time.Duration // how long it takes to do as a signal says
	onSignal *core.End     // how it ends then; nil: by that signal
	stubborn time.Duration // how long it stays in the kernel after KILL
	leaves   time.Duration // how long what it leaves behind stays
	sweeps   int           // or after so many sweeps; 0: sweeps do not help
}

type simPhase int

const (
	simPreparing simPhase = iota // superd is making the spawn ready; the keeper knows nothing
	simAsked                     // the keeper is about to fork
	simForked                    // a process exists, before its program
	simRunning                   // the program is executed
	simEnded                     // the main process has ended, what it left has not
	simGone                      // nothing is left
	simFailed                    // it never started
)

// simNever is an instant that does not come.
const simNever = time.Duration(1<<63 - 1)

// simRun is one run as the keeper and the kernel see it.
type simRun struct {
	id, slot string // slot: "a/0"
	simFate
	phase simPhase
	due   time.Duration // when it does the next thing by itself
	dying *core.End     // what it then dies of
	pid   int
	end   *core.End
	fail  *core.Fail
	got   []simSignal   // what this keeper has sent to it
	told  bool          // some keeper has told it to end
	ack   time.Duration // when the keeper hears that it may forget it; 0: superd has not said so
	alone bool          // nobody knows whose it is, and it is left alone
}

type simSignal struct {
	number int
	signal syscall.Signal
}

func (r *simRun) live() bool { return r.phase >= simAsked && r.phase < simGone }

// simKeeper is the second process and the kernel below it. It lives on when superd
// dies. (The core's own tests have a similar one, which cannot be imported: tests
// inside a package cannot be shared with others.)
type simKeeper struct {
	runs []simRun // in the order in which they were asked for
	pids int
}

// clone is a keeper that goes its own way from here.
func (k *simKeeper) clone() *simKeeper {
	c := &simKeeper{runs: slices.Clone(k.runs), pids: k.pids}
	for i := range c.runs {
		c.runs[i].got = slices.Clip(c.runs[i].got)
	}
	return c
}

func (k *simKeeper) find(id string) *simRun {
	for i := range k.runs {
		if k.runs[i].id == id {
			return &k.runs[i]
		}
	}
	return nil
}

func (k *simKeeper) remove(id string) {
	k.runs = slices.DeleteFunc(k.runs, func(r simRun) bool { return r.id == id })
}

// next is the instant at which the next run does something by itself.
func (k *simKeeper) next() time.Duration {
	at := simNever
	for i := range k.runs {
		at = min(at, k.runs[i].due)
	}
	return at
}

// spawn takes a run on, or for granted if it is here already.
func (k *simKeeper) spawn(id, slot string, fate simFate, now time.Duration) {
	for i := range k.runs {
		r := &k.runs[i]
		if r.id == id {
			return
		}
		if r.slot == slot && r.live() && !r.alone {
			panic(broken(fmt.Sprintf("two runs in %s: %s is asked for while %s is in phase %d", slot, id, r.id, r.phase)))
		}
	}
	k.runs = append(k.runs, simRun{id: id, slot: slot, simFate: fate, due: now + fate.prepare})
}

// cancel gives up a spawn that has not reached the keeper.
func (k *simKeeper) cancel(id string) []core.Event {
	r := k.find(id)
	if r == nil || r.phase != simPreparing {
		return nil
	}
	k.remove(id)
	return []core.Event{core.SpawnFailed{Run: id, Fail: core.Fail{Stage: stagePrepare, Reason: "it was given up before it was begun"}}}
}

// act has the first run that is due do its next thing.
func (k *simKeeper) act(now time.Duration) []core.Event {
	for i := range k.runs {
		r := &k.runs[i]
		if r.ack > 0 && r.ack <= now {
			k.remove(r.id)
			return nil
		}
		if r.due <= now {
			return k.advance(r, now)
		}
	}
	return nil
}

func (k *simKeeper) advance(r *simRun, now time.Duration) []core.Event {
	r.due = simNever
	switch r.phase {
	case simPreparing:
		if r.fails == stagePrepare {
			id := r.id
			k.remove(id)
			return []core.Event{core.SpawnFailed{Run: id, Fail: core.Fail{Stage: stagePrepare, Reason: "no such user"}}}
		}
		r.phase, r.due = simAsked, now+r.fork
	case simAsked:
		if r.fails == "fork" {
			return failStart(r, "fork")
		}
		k.pids++
		r.pid, r.phase = 100+k.pids, simForked
		if !r.hangs {
			r.due = now + r.execute
		}
		return []core.Event{core.Forked{Run: r.id, PID: r.pid, StartTicks: uint64(r.pid) * 10}}
	case simForked:
		if r.dying != nil {
			return failStart(r, "exec")
		}
		if r.fails != "" {
			return failStart(r, r.fails)
		}
		r.phase = simRunning
		if r.life > 0 {
			r.due = now + r.life
		}
		return []core.Event{core.Started{Run: r.id, PID: r.pid, StartTicks: uint64(r.pid) * 10}}
	case simRunning:
		e := r.simFate.end
		if r.dying != nil {
			e = *r.dying
		}
		r.end, r.phase = &e, simGone
		if r.leaves > 0 {
			r.phase, r.due = simEnded, now+r.leaves
		}
		return []core.Event{core.Exited{Run: r.id, End: e, Gone: r.phase == simGone}}
	case simEnded:
		r.phase = simGone
		return []core.Event{core.Gone{Run: r.id}}
	}
	return nil
}

func failStart(r *simRun, stage string) []core.Event {
	r.phase, r.fail = simFailed, &core.Fail{Stage: stage, Reason: stage + ": it cannot be"}
	if r.dying != nil {
		r.fail.Reason = "ended by signal " + r.dying.Signal
	}
	return []core.Event{core.SpawnFailed{Run: r.id, Fail: *r.fail}}
}

// signal delivers a signal, each number once.
func (k *simKeeper) signal(id string, sig syscall.Signal, number int, now time.Duration) {
	r := k.find(id)
	if r == nil || r.phase < simForked {
		panic(broken(fmt.Sprintf("%s is sent %s and was never spawned", id, signals.Name(sig))))
	}
	for _, s := range r.got {
		if s.number == number && s.signal != sig {
			panic(broken(fmt.Sprintf("signal %d of %s is %s, and was %s", number, id, signals.Name(sig), signals.Name(s.signal))))
		}
		if s.number == number {
			return
		}
	}
	if r.phase != simForked && r.phase != simRunning {
		return
	}
	r.got = append(r.got, simSignal{number, sig})
	ends := sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
	r.told = r.told || ends
	switch {
	case sig == syscall.SIGKILL && r.dying != nil && r.dying.Signal == "KILL": // it is on its way already
	case sig == syscall.SIGKILL:
		r.dying, r.due = &core.End{Signal: "KILL"}, now+r.stubborn
	case r.dying != nil:
	case r.phase == simForked: // before its program nobody handles anything
		r.dying, r.due = &core.End{Signal: signals.Name(sig)}, now
	case r.deaf || !ends:
	case r.onSignal != nil:
		r.dying, r.due = r.onSignal, now+r.obeys
	default:
		r.dying, r.due = &core.End{Signal: signals.Name(sig)}, now+r.obeys
	}
}

func (k *simKeeper) sweep(id string, now time.Duration) {
	r := k.find(id)
	if r == nil || r.phase < simEnded {
		panic(broken(fmt.Sprintf("%s is swept and has not ended", id)))
	}
	if r.sweeps > 0 && r.phase == simEnded {
		if r.sweeps--; r.sweeps == 0 {
			r.due = now
		}
	}
}

// forget is what superd says when the end of a run is recorded. The keeper hears of
// it when the last line of the run is where it belongs.
func (k *simKeeper) forget(id string, at time.Duration) {
	r := k.find(id)
	if r == nil {
		return
	}
	if r.live() {
		panic(broken(fmt.Sprintf("%s is forgotten and lives", id)))
	}
	r.ack, r.due = at, at
}

// found is what a superd learns that starts anew.
func (k *simKeeper) found() map[string]core.Found {
	found := make(map[string]core.Found, len(k.runs))
	for i := range k.runs {
		r := &k.runs[i]
		if r.phase == simPreparing {
			continue
		}
		f := core.Found{PID: r.pid, StartTicks: uint64(r.pid) * 10, Started: r.phase == simRunning || r.phase == simEnded || r.end != nil,
			End: r.end, Failed: r.fail, Gone: r.phase == simGone || r.phase == simFailed}
		if n := len(r.got); n > 0 {
			f.Signals = r.got[n-1].number
		}
		found[r.id] = f
	}
	return found
}

// superdDied drops what was under way in superd alone.
func (k *simKeeper) superdDied() {
	k.runs = slices.DeleteFunc(k.runs, func(r simRun) bool { return r.phase == simPreparing })
	for i := range k.runs {
		if r := &k.runs[i]; r.ack > 0 {
			r.ack, r.due = 0, simNever
		}
	}
}

// replaced is another keeper in place of one that died: it watches what lives,
// knows nothing of what ended, and has never sent a signal.
func (k *simKeeper) replaced() {
	k.runs = slices.DeleteFunc(k.runs, func(r simRun) bool { return r.phase != simPreparing && r.phase != simRunning })
	for i := range k.runs {
		k.runs[i].got = nil
	}
}

// pause is what a suspended machine does to processes: nothing happens in them.
func (k *simKeeper) pause(d time.Duration) {
	for i := range k.runs {
		if r := &k.runs[i]; r.due != simNever {
			r.due += d
		}
		if r := &k.runs[i]; r.ack > 0 {
			r.ack += d
		}
	}
}

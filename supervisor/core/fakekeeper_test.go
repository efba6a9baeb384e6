package core

import (
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/superd/superd/signals"
)

// behaviour is what a fake process does with its life.
type behaviour struct {
	prepare, fork, execute time.Duration // how long its start takes in superd, in the keeper, before its program

	fails string // the stage at which its start fails; empty: it does not
	hangs bool   // it never gets to execute its program

	life time.Duration // it ends by itself after so long; 0: it does not
	end  End           // like this

	deaf     bool          // it ignores all but KILL
	obeys    time.Duration // how long it takes to do as a signal says
	onSignal *End          // how it ends then; nil: by that signal
	stubborn time.Duration // how long it stays in the kernel after KILL
	leaves   time.Duration // how long what it leaves behind stays
	sweeps   int           // or after so many sweeps; 0: sweeps do not help
}

// phase is how far a fake process has come.
type phase int

const (
	preparing phase = iota // superd is making the spawn ready; the keeper knows nothing
	asked                  // the keeper is about to fork
	forked                 // a process exists, before its program
	running                // the program is executed
	ended                  // the main process has ended, what it left has not
	gone                   // nothing is left
	failed                 // it never started
)

// never_ is an instant that does not come.
const never_ = time.Duration(1<<63 - 1)

// process is one run as the kernel and the keeper see it.
type process struct {
	run, slot string // slot: "mailers/0"
	behaviour
	phase phase
	due   time.Duration // when it does the next thing by itself
	dying *End          // what it then dies of
	pid   int
	end   *End
	fail  *Fail
	got   map[int]syscall.Signal // the signals that this keeper sent to it, by number
	told  bool                   // some keeper has told it to end
}

func (p *process) live() bool { return p.phase >= asked && p.phase < gone }

// keeper is a fake of the second process and of the kernel below it.
type keeper struct {
	processes []*process // in the order in which they were asked for
	pids      int
}

func (k *keeper) find(run string) *process {
	for _, p := range k.processes {
		if p.run == run {
			return p
		}
	}
	return nil
}

// next is the instant at which the next process does something by itself.
func (k *keeper) next() time.Duration {
	at := never_
	for _, p := range k.processes {
		at = min(at, p.due)
	}
	return at
}

// spawn takes a run on, or for granted if it is here already.
func (k *keeper) spawn(run, slot string, b behaviour, now time.Duration) {
	for _, p := range k.processes {
		if p.run == run {
			return
		}
		if p.slot == slot && p.live() {
			panic(broken(fmt.Sprintf("two runs in %s: %s is asked for while %s is %d", slot, run, p.run, p.phase)))
		}
	}
	k.processes = append(k.processes, &process{run: run, slot: slot, behaviour: b, phase: preparing,
		due: now + b.prepare, got: map[int]syscall.Signal{}})
}

// cancel gives up a spawn that has not reached the keeper.
func (k *keeper) cancel(run string) []Event {
	p := k.find(run)
	if p == nil || p.phase != preparing {
		return nil
	}
	k.forget(run)
	return []Event{SpawnFailed{Run: run, Fail: Fail{Stage: "prepare", Reason: "it was given up before it was begun"}}}
}

// advance has every process do what it is due to do by now, one thing each.
func (k *keeper) advance(now time.Duration) (events []Event) {
	for _, p := range slices.Clone(k.processes) {
		if p.due <= now {
			events = append(events, k.act(p, now)...)
		}
	}
	return events
}

// act is the next thing that a process does by itself.
func (k *keeper) act(p *process, now time.Duration) []Event {
	p.due = never_
	switch p.phase {
	case preparing:
		if p.fails == "prepare" {
			k.forget(p.run)
			return []Event{SpawnFailed{Run: p.run, Fail: Fail{Stage: "prepare", Reason: "no such user"}}}
		}
		p.phase, p.due = asked, now+p.fork
	case asked:
		if p.fails == "fork" {
			return k.failStart(p, "fork")
		}
		k.pids++
		p.pid, p.phase = 100+k.pids, forked
		if !p.hangs {
			p.due = now + p.execute
		}
		return []Event{Forked{Run: p.run, PID: p.pid, StartTicks: uint64(p.pid) * 10}}
	case forked:
		if p.dying != nil {
			return k.failStart(p, "exec")
		}
		if p.fails != "" {
			return k.failStart(p, p.fails)
		}
		p.phase = running
		if p.life > 0 {
			p.due = now + p.life
		}
		return []Event{Started{Run: p.run, PID: p.pid, StartTicks: uint64(p.pid) * 10}}
	case running:
		e := p.behaviour.end
		if p.dying != nil {
			e = *p.dying
		}
		p.end = &e
		p.phase = gone
		if p.leaves > 0 {
			p.phase, p.due = ended, now+p.leaves
		}
		return []Event{Exited{Run: p.run, End: e, Gone: p.phase == gone}}
	case ended:
		p.phase = gone
		return []Event{Gone{Run: p.run}}
	}
	return nil
}

func (k *keeper) failStart(p *process, stage string) []Event {
	p.phase, p.fail = failed, &Fail{Stage: stage, Reason: stage + ": it cannot be"}
	if p.dying != nil {
		p.fail.Reason = "ended by signal " + p.dying.Signal
	}
	return []Event{SpawnFailed{Run: p.run, Fail: *p.fail}}
}

// signal delivers a signal, each number once.
func (k *keeper) signal(run string, sig syscall.Signal, number int, now time.Duration) {
	p := k.find(run)
	switch {
	case p == nil || p.phase < forked:
		panic(broken(fmt.Sprintf("%s is sent %s and was never spawned", run, signals.Name(sig))))
	case p.got[number] == sig:
		return
	case p.got[number] != 0:
		panic(broken(fmt.Sprintf("signal %d of %s is %s, and was %s", number, run, signals.Name(sig), signals.Name(p.got[number]))))
	case p.phase != forked && p.phase != running:
		return
	}
	p.got[number] = sig
	p.told = p.told || ends(sig)
	kill := sig == syscall.SIGKILL
	switch {
	case kill && p.dying != nil && p.dying.Signal == "KILL": // it is on its way already
	case kill:
		p.dying, p.due = &End{Signal: "KILL"}, now+p.stubborn
	case p.dying != nil:
	case p.phase == forked: // before its program nobody handles anything
		p.dying, p.due = &End{Signal: signals.Name(sig)}, now
	case p.deaf || !ends(sig):
	case p.onSignal != nil:
		p.dying, p.due = p.onSignal, now+p.obeys
	default:
		p.dying, p.due = &End{Signal: signals.Name(sig)}, now+p.obeys
	}
}

// ends tells the signals that a fake process takes as a wish for its end.
func ends(sig syscall.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
}

// exit ends a process by itself, now.
func (k *keeper) exit(p *process, e End, now time.Duration) {
	p.dying, p.due = &e, now
}

func (k *keeper) sweep(run string, now time.Duration) {
	p := k.find(run)
	if p == nil || p.phase < ended {
		panic(broken(fmt.Sprintf("%s is swept and has not ended", run)))
	}
	if p.sweeps > 0 && p.phase == ended {
		if p.sweeps--; p.sweeps == 0 {
			p.due = now
		}
	}
}

// forget is what superd says when the end of a run is recorded.
func (k *keeper) forget(run string) {
	p := k.find(run)
	if p == nil {
		return
	}
	if p.live() {
		panic(broken(fmt.Sprintf("%s is forgotten and lives", run)))
	}
	k.processes = slices.DeleteFunc(k.processes, func(q *process) bool { return q == p })
}

// found is what a superd learns that starts anew.
func (k *keeper) found() map[string]Found {
	found := map[string]Found{}
	for _, p := range k.processes {
		if p.phase == preparing {
			continue
		}
		f := Found{PID: p.pid, Started: p.phase == running || p.phase == ended || p.end != nil,
			End: p.end, Failed: p.fail, Gone: p.phase == gone || p.phase == failed}
		if p.pid != 0 {
			f.StartTicks = uint64(p.pid) * 10
		}
		for number := range p.got {
			f.Signals = max(f.Signals, number)
		}
		found[p.run] = f
	}
	return found
}

// superdDied drops what was under way in superd alone.
func (k *keeper) superdDied() {
	k.processes = slices.DeleteFunc(k.processes, func(p *process) bool { return p.phase == preparing })
}

// replaced is another keeper in place of one that died: it watches what lives,
// knows nothing of what ended, and has never sent a signal.
func (k *keeper) replaced() {
	k.processes = slices.DeleteFunc(k.processes, func(p *process) bool {
		return p.phase != preparing && p.phase != running
	})
	for _, p := range k.processes {
		p.got = map[int]syscall.Signal{}
	}
}

func (k *keeper) clone() *keeper {
	c := &keeper{pids: k.pids}
	for _, p := range k.processes {
		q := *p
		q.got = maps.Clone(p.got)
		c.processes = append(c.processes, &q)
	}
	return c
}

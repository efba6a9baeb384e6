package core

import (
	"slices"
	"testing"
	"time"

	"github.com/superd/superd/config"
)

// transitionsSeen are the changes of state that the simulation has seen.
var transitionsSeen = map[Transition]bool{}

func sawTransition(from, to WorkerState) { transitionsSeen[Transition{From: from, To: to}] = true }

var workerStates = []WorkerState{Stopped, Starting, Running, Stopping, Backoff, Delayed, Failed, Completed}

// inState is a state with one worker in the given state, come to by events alone.
func inState(t *testing.T, want WorkerState) *world {
	t.Helper()
	c := basePool("a")
	b := behaviour{}
	switch want {
	case Starting:
		b.hangs = true
	case Backoff:
		b.life, b.end = time.Second, End{Code: 1}
	case Delayed:
		c.Restart.Attempts, c.Restart.Delay = 1, 0
		b.life, b.end = time.Second, End{Code: 1}
	case Failed:
		c.Restart.On = "never"
		b.life, b.end = time.Second, End{Code: 1}
	case Completed:
		c.Restart.On = "never"
		b.life = time.Second
	}
	w := newWorld(Spec{Config: c, Release: "/"})
	w.behave = func(string) behaviour { return b }
	w.start()
	for range 100 {
		if w.core.Pools["a"].Workers[0].State == want {
			return w
		}
		switch want {
		case Stopped:
			w.command(Command{Verb: VerbStop, Pool: "a", Now: true})
			w.pass(w.now.Boot + time.Second)
			continue
		case Stopping:
			w.pass(w.now.Boot)
			w.command(Command{Verb: VerbStop, Pool: "a"})
			continue
		}
		w.read()
		if w.core.Pools["a"].Workers[0].State == want {
			return w
		}
		w.moveTo(w.next())
		w.happen()
	}
	t.Fatalf("no worker comes to be %s", want)
	return nil
}

// TestTable gives every state every trigger, and looks at what it makes of it.
func TestTable(t *testing.T) {
	if len(table) != len(workerStates) {
		t.Fatalf("the table has %d states of %d", len(table), len(workerStates))
	}
	for _, state := range workerStates {
		for on := range triggers {
			w := inState(t, state)
			if table[state][on] == nil {
				t.Errorf("%s has no answer to trigger %d", state, on)
				continue
			}
			p := w.core.Pools["a"]
			worker := p.Workers[0]
			hasRun := worker.Run != nil
			if on <= onGone && !hasRun {
				continue // news of a run reaches no worker without one
			}
			switch on { // what a command changes before it tells a worker
			case onStart, onReplace:
				p.Desired, worker.Desired = Up, Up
			case onStop, onKill:
				p.Desired, worker.Desired = Down, Down
			}
			w.core.cue(p, worker, cue{on: on, pid: 7, ticks: 70, end: End{Code: 1}, gone: true,
				fail: Fail{Stage: "exec", Reason: "exec: no"}, signal: &Command{Signal: "USR1"}, reason: "a test"})
			actions := w.core.Step(w.now, Tick{})
			if err := w.core.Check(); err != nil {
				t.Errorf("%s, trigger %d: %v", state, on, err)
			}
			again := w.core.Step(w.now, Tick{})
			if len(again) > 0 {
				t.Errorf("%s, trigger %d: after %d actions a second tick brings %s", state, on, len(actions), describeAction(again[0]))
			}
		}
	}
}

// TestTransitions compares the list of transitions with what happens in the
// simulation: all of them do, and no others.
func TestTransitions(t *testing.T) {
	clear(transitionsSeen)
	for seed := uint64(1); seed <= 60; seed++ {
		if _, err := simulate(seed, 800, false); err != nil {
			t.Fatalf("-seed %d: %v", seed, err)
		}
	}
	rarities(t)
	var listed []Transition
	for _, tr := range Transitions {
		key := Transition{From: tr.From, To: tr.To}
		if slices.Contains(listed, key) {
			t.Errorf("%s to %s is listed twice", tr.From, tr.To)
		}
		listed = append(listed, key)
		if !transitionsSeen[key] {
			t.Errorf("%s to %s (%s) is listed and never happens", tr.From, tr.To, tr.Because)
		}
	}
	for key := range transitionsSeen {
		if !slices.Contains(listed, key) {
			t.Errorf("%s to %s happens and is not listed", key.From, key.To)
		}
	}
}

// rarities are changes of state that take a change of policy at the right moment.
func rarities(t *testing.T) {
	policies := map[string]func(c *config.Pool){
		"fewer attempts": func(c *config.Pool) { c.Restart.Attempts = 1 },
		"none":           func(c *config.Pool) { c.Restart.Attempts = 0 },
	}
	for _, from := range []WorkerState{Backoff, Delayed} {
		for _, code := range []int{0, 1} {
			for _, name := range sortedKeys(policies) {
				c := basePool("a")
				c.Restart.Attempts, c.Restart.Delay, c.Restart.MaxDelay = 2, time.Minute, time.Minute
				w := newWorld(Spec{Config: c, Release: "/"})
				w.behave = func(string) behaviour { return behaviour{life: time.Second, end: End{Code: code}} }
				w.start()
				restarts := map[WorkerState]int{Backoff: 1, Delayed: 2}[from]
				for i := 0; w.core.Pools["a"].Workers[0].State != from || w.core.Pools["a"].Workers[0].Restarts < restarts; i++ {
					if i == 100 {
						t.Fatalf("no worker comes to be %s", from)
					}
					w.read()
					w.moveTo(w.next())
					w.happen()
					w.read()
				}
				changed := *c
				policies[name](&changed)
				w.step(Configure{Specs: []Spec{{Config: &changed, Release: "/"}}})
				w.pass(w.now.Boot + time.Hour)
			}
		}
	}
	first, second := basePool("a"), basePool("b")
	second.After = []string{"a"}
	w := newWorld(Spec{Config: first, Release: "/"}, Spec{Config: second, Release: "/"})
	w.start()
	w.pass(w.now.Boot + time.Minute)
	w.behave = func(string) behaviour { return behaviour{fork: time.Second, fails: "fork"} }
	w.keeper.exit(w.keeper.find(w.core.Pools["a"].Workers[0].Run.ID), End{Code: 1}, w.now.Boot)
	w.keeper.find(w.core.Pools["b"].Workers[0].Run.ID).deaf = true
	w.pass(w.now.Boot + time.Second)
	w.step(Leave{})
	w.pass(w.now.Boot + time.Minute)
}

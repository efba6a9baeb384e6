package core

import (
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/signals"
)

// TestHealthBeforeDeadlines holds that a run that has become healthy in time is not
// judged by a deadline that passed later, when nobody was there to see either.
func TestHealthBeforeDeadlines(t *testing.T) {
	for name, away := range map[string]func(w *world){
		"superd was dead": func(w *world) {
			w.crash()
			w.moveTo(w.now.Boot + time.Hour)
			w.start()
		},
		"the machine slept": func(w *world) {
			w.moveTo(w.now.Boot + time.Hour)
			w.step(Tick{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(Spec{Config: basePool("a"), Release: "/"})
			w.start()
			w.pass(w.now.Boot + time.Second)
			away(w)
			if p := w.core.Pools["a"]; p.Deployment != nil || len(p.Past) != 1 || p.Past[0].State != DeploySucceeded {
				t.Errorf("a run that was up for an hour: %+v, %+v", p.Deployment, p.Past)
			}
		})
	}
}

// TestSignalOfAnotherKeeper holds that a run gets no signal of its stop sequence
// twice when first its keeper and later superd died.
func TestSignalOfAnotherKeeper(t *testing.T) {
	c := basePool("a")
	c.Stop = signals.Sequence{{Signal: syscall.SIGTERM, Wait: time.Hour}, {Signal: syscall.SIGKILL}}
	w := newWorld(Spec{Config: c, Release: "/"})
	w.behave = func(string) behaviour { return behaviour{deaf: true} }
	w.start()
	w.pass(w.now.Boot + time.Second)
	w.command(Command{Verb: VerbStop, Pool: "a"})
	p := w.keeper.processes[0]
	if len(p.got) != 1 {
		t.Fatalf("it was sent %v", p.got)
	}
	w.pass(w.now.Boot + time.Minute)
	w.keeperDies()
	w.crash()
	w.start()
	if len(p.got) != 0 {
		t.Errorf("TERM was sent once more, a minute later: %v", p.got)
	}
	w.pass(w.now.Boot + time.Hour)
	if len(p.got) != 1 || p.end == nil || p.end.Signal != "KILL" {
		t.Errorf("the sequence did not go on: %v, %+v", p.got, p.end)
	}
}

// TestGraceCountsFromTheSignal holds that a run is not killed because superd died
// before it sent what comes first, and was dead for longer than the wait.
func TestGraceCountsFromTheSignal(t *testing.T) {
	w := newWorld(Spec{Config: basePool("a"), Release: "/"})
	w.behave = func(string) behaviour { return behaviour{obeys: 5 * time.Second} }
	w.start()
	w.pass(w.now.Boot + time.Second)
	w.dieBefore = func(_ int, a Action) bool { _, ok := a.(Signal); return ok }
	w.command(Command{Verb: VerbStop, Pool: "a"})
	w.moveTo(w.now.Boot + time.Hour)
	w.start()
	w.pass(w.now.Boot + time.Minute)
	if x := w.core.Pools["a"].Workers[0].LastExit; x == nil || x.Signal != "TERM" {
		t.Errorf("it ended by %+v, and should have had the time to end by TERM", x)
	}
}

// TestRestoreWhatIsFound gives a worker a run of which there is no record, however far
// that is.
func TestRestoreWhatIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		found  Found
		state  WorkerState
		number int // of the next signal
	}{
		"before its program": {Found{PID: 7, StartTicks: 70}, Starting, 1},
		"running":            {Found{PID: 7, StartTicks: 70, Started: true, Signals: 3}, Running, 4},
		"left something":     {Found{PID: 7, StartTicks: 70, Started: true, End: &End{}}, Stopping, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, now := New(1), bootStart
			spec := Spec{Config: basePool("a"), Release: "/"}
			p := s.Rebuild(spec, now)
			s.Restore(p, p.Workers[0], "run", c.found, now, now)
			actions := s.Step(now, Begin{Specs: []Spec{spec}, Found: map[string]Found{"run": c.found}, SameBoot: true})
			if err := s.Check(); err != nil {
				t.Error(err)
			}
			for _, a := range actions {
				switch a.(type) {
				case Spawn, Forget:
					t.Errorf("%s, although there is something of it", describeAction(a))
				}
			}
			if w := p.Workers[0]; w.State != c.state {
				t.Errorf("it is %s and should be %s", w.State, c.state)
			}
			number := 0
			for _, a := range s.Step(now, Do{Command: Command{Verb: VerbStop, Pool: "a"}}) {
				if a, ok := a.(Signal); ok {
					number = a.Number
				}
			}
			if number != c.number {
				t.Errorf("signal %d is sent, and should be %d: the keeper takes each number once", number, c.number)
			}
		})
	}
}

// TestForgetWhatIsGone holds that the keeper is told to forget a run in no slot when
// nothing is left of it, and not before.
func TestForgetWhatIsGone(t *testing.T) {
	forgets := func(actions []Action) bool {
		for _, a := range actions {
			if _, ok := a.(Forget); ok {
				return true
			}
		}
		return false
	}
	s := New(1)
	left := map[string]Found{"run": {PID: 7, Started: true, End: &End{}}}
	if forgets(s.Step(bootStart, Begin{Found: left, SameBoot: true})) || forgets(s.Step(bootStart, Exited{Run: "run"})) {
		t.Error("what a run has left behind is still there, and it is forgotten")
	}
	if !forgets(s.Step(bootStart, Gone{Run: "run"})) {
		t.Error("nothing is left of a run, and it is not forgotten")
	}
}

// TestWorkerWithoutRecord holds that a worker of which nothing was loaded is at rest
// since superd started, and not since the year one.
func TestWorkerWithoutRecord(t *testing.T) {
	c := basePool("a")
	c.Autostart = false
	w := newWorld(Spec{Config: c, Release: "/"})
	w.start()
	w.crash()
	clear(w.disk["a"].workers)
	w.moveTo(w.now.Boot + time.Hour)
	w.start()
	if since := w.core.Pools["a"].Workers[0].Since; since != w.now {
		t.Errorf("since %v, and superd started at %v", since, w.now)
	}
}

// TestNothingStartsInWhatIsOver holds that a worker of which there is no record is
// not started in the revision of a deployment that has failed meanwhile.
func TestNothingStartsInWhatIsOver(t *testing.T) {
	c := basePool("a")
	w := newWorld(Spec{Config: c, Release: "/r1"})
	w.start()
	w.pass(w.now.Boot + time.Minute)
	w.behave = func(string) behaviour { return behaviour{fails: "exec"} }
	w.command(Command{Verb: VerbRestart, Pool: "a", Release: "/r2"})
	w.pass(w.now.Boot + 5*time.Second)
	w.reboot()
	w.boot, w.now = true, bootStart.Add(time.Hour) // the machine is the same, and its runtime_dir was deleted
	clear(w.disk["a"].workers)
	w.start()
	p := w.core.Pools["a"]
	if run := p.Workers[0].Run; p.Deployment != nil || p.Target != 1 || run == nil || run.Revision != 1 {
		t.Errorf("target %d, deployment %+v, run %+v", p.Target, p.Deployment, run)
	}
}

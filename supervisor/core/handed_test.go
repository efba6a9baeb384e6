package core

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// started is a worker with a live run, and at is the instant of it.
func started(t *testing.T) (s *State, w *Worker, at Time) {
	t.Helper()
	s, at = New(1), Time{Boot: time.Hour}
	s.Marks = true
	s.Step(at, Begin{Specs: []Spec{{Config: basePool("web")}}, SameBoot: true})
	w = s.Pools["web"].Workers[0]
	s.Step(at, Started{Run: w.Run.ID, PID: 100, StartTicks: 7})
	return s, w, at
}

func signalsIn(actions []Action) (sent []syscall.Signal) {
	for _, a := range actions {
		if a, ok := a.(Signal); ok {
			sent = append(sent, a.Signal)
		}
	}
	return sent
}

// TestUnsentSignal: superd and the keeper die after a signal was decided on. If the
// keeper had not been told, it is sent, and the run has all of its time after it; if
// it had, the time that has passed counts, and nothing is sent twice.
func TestUnsentSignal(t *testing.T) {
	for _, told := range []bool{false, true} {
		s, w, at := started(t)
		for _, a := range s.Step(at, Do{Command: Command{Verb: VerbStop, Pool: "web"}}) {
			if a, ok := a.(Signal); ok && told {
				s.Handed(a.Run, a.Number)
			}
		}
		at.Boot += 9 * time.Second
		found := map[string]Found{w.Run.ID: {PID: 100, StartTicks: 7, Started: true}}
		sent := signalsIn(s.Step(at, Recheck{Found: found}))
		at.Boot += 2 * time.Second
		sent = append(sent, signalsIn(s.Step(at, Tick{}))...)
		want := []syscall.Signal{syscall.SIGTERM} // and 8 s are left
		if told {
			want = []syscall.Signal{syscall.SIGKILL}
		}
		if !slices.Equal(sent, want) {
			t.Errorf("told: %v: sent %v, want %v", told, sent, want)
		}
	}
}

// TestDoubtfulSignal: what was written to a keeper that died in that moment counts as
// not sent, and what was written long before as sent.
func TestDoubtfulSignal(t *testing.T) {
	for _, c := range []struct {
		since time.Duration
		want  int
	}{{signalDoubt / 2, 1}, {2 * signalDoubt, 0}} {
		s, w, at := started(t)
		for _, a := range s.Step(at, Do{Command: Command{Verb: VerbStop, Pool: "web"}}) {
			if a, ok := a.(Signal); ok {
				s.Handed(a.Run, a.Number)
			}
		}
		at.Boot += c.since
		changed := 0
		s.Doubt(at, func(*Pool, *Worker) { changed++ })
		at.Boot += 5 * time.Second // until there is another keeper, and another superd
		sent := signalsIn(s.Step(at, Recheck{Found: map[string]Found{w.Run.ID: {PID: 100, StartTicks: 7, Started: true}}}))
		if changed != c.want || len(sent) != c.want {
			t.Errorf("lost %s after it: %d records changed, sent %v", c.since, changed, sent)
		}
	}
}

// TestDetachLeavesWhatIsDue: a worker that waits for its restart when superd is told
// to leave everything as it is waits on, and its window stays.
func TestDetachLeavesWhatIsDue(t *testing.T) {
	s, w, at := started(t)
	run := w.Run.ID
	s.Step(at, Exited{Run: run, End: End{Code: 1}, Gone: true})
	at.Boot += time.Second
	s.Step(at, Tick{})
	if len(w.Window) != 1 || w.Run == nil {
		t.Fatalf("it was not restarted: %s, window %v", w.State, w.Window)
	}
	s.Step(at, Started{Run: w.Run.ID, PID: 101, StartTicks: 8})
	s.Step(at, Exited{Run: w.Run.ID, End: End{Code: 1}, Gone: true})
	at.Boot += time.Minute
	s.Step(at, Leave{Detach: true, By: "uid 0"})
	if w.State != Backoff || len(w.Window) != 1 {
		t.Errorf("it is %s, its window is %v", w.State, w.Window)
	}
}

// TestUnseenRestartCounts: a restart that the keeper was asked for, and took with it
// when it died, counts from when its end is noticed: nobody knows when it began.
func TestUnseenRestartCounts(t *testing.T) {
	s, w, at := started(t)
	s.Step(at, Exited{Run: w.Run.ID, End: End{Code: 1}, Gone: true})
	at.Boot += time.Second
	s.Step(at, Tick{})
	at.Boot += 5 * time.Second
	s.Step(at, Recheck{Found: map[string]Found{}})
	if len(w.Window) != 1 || w.Window[0] != at.Boot {
		t.Errorf("at %s the window is %v", at.Boot, w.Window)
	}
}

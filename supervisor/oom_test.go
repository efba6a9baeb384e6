package supervisor

import (
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/proc"
)

// TestLooksForAnEndByKill counts how often the kernel is asked whom it killed for
// want of memory: not for a run that superd or an operator has sent KILL to, or that
// nobody cares for any more, and once for all that were heard of together.
func TestLooksForAnEndByKill(t *testing.T) {
	const n = 1000
	looks := 0
	s := &Supervisor{oom: proc.OOM{Count: func() uint64 { looks++; return 0 }}}
	var actions []core.Action
	s.state, actions = startedState(t, n)
	var runs []string
	for _, a := range actions {
		if a, ok := a.(core.Spawn); ok {
			runs = append(runs, a.Run)
		}
	}
	if len(runs) != n {
		t.Fatalf("%d runs", len(runs))
	}
	for i, run := range runs {
		s.state.Step(now(), core.Started{Run: run, PID: 1000 + i, StartTicks: 1})
	}
	killed := proc.ExitStatus{Signal: syscall.SIGKILL}
	end := func(runs []string, heard func() time.Time) int {
		before := looks
		for i, run := range runs {
			s.state.Step(now(), core.Exited{Run: run, End: s.endOf(run, killed, 1000+i, 1, heard()), Gone: true})
		}
		return looks - before
	}

	together := time.Now()
	if got := end(runs[:400], func() time.Time { return together }); got != 1 {
		t.Errorf("%d looks for 400 that were killed from outside and heard of together", got)
	}
	if got := end(runs[400:410], time.Now); got != 10 {
		t.Errorf("%d looks for 10 that were killed from outside one after the other", got)
	}
	if got := end(runs[400:410], time.Now); got != 0 {
		t.Errorf("%d looks for runs that have ended before", got)
	}
	s.state.Step(now(), core.Do{Command: core.Command{Verb: core.VerbSignal, Pool: "w", Workers: []int{410, 411}, Signal: "KILL"}})
	if got := end(runs[410:412], time.Now); got != 0 {
		t.Errorf("%d looks for 2 that an operator killed", got)
	}
	s.state.Step(now(), core.Do{Command: core.Command{Verb: core.VerbStop, Pool: "w"}})
	if got := end(runs[412:413], time.Now); got != 1 {
		t.Errorf("%d looks for one that has only been sent TERM", got)
	}
	s.state.Step(now(), core.Do{Command: core.Command{Verb: core.VerbStop, Pool: "w", Now: true}})
	if got := end(runs[413:], time.Now); got != 0 {
		t.Errorf("%d looks for %d that superd killed", got, n-413)
	}
}

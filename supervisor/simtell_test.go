package supervisor

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/superd/superd/supervisor/core"
)

// explain tells how a world came to its end: by the shortest history that ends alike.
func explain(seed uint64, dir string) string {
	type story struct {
		seed   uint64
		things int
		lines  []string
		err    error
	}
	tell := func(seed uint64, things int) story {
		t := story{seed: seed, things: things}
		w := newSimWorld(seed, dir, 1)
		w.log = func(format string, args ...any) { t.lines = append(t.lines, fmt.Sprintf(format, args...)) }
		t.err = w.live(things)
		return t
	}
	best := tell(seed, simThings(seed))
	if best.err == nil {
		return "it did not happen again when every record was decoded: see -decode"
	}
	kind := kindOf(best.err)
	for n, begin := uint64(1), time.Now(); n < 2000 && time.Since(begin) < 5*time.Second; n++ {
		if t := tell(n, 1+int(n%150)); t.err != nil && kindOf(t.err) == kind && len(t.lines) < len(best.lines) {
			best = t
		}
	}
	return fmt.Sprintf("the shortest like it: -seed %d -things %d\n%s\n--- %v", best.seed, best.things,
		strings.Join(best.lines[max(0, len(best.lines)-150):], "\n"), best.err)
}

var simNumber = regexp.MustCompile(`[0-9][0-9a-v]*`)

// kindOf is what failures of one cause have in common: where two lives differ, or
// what was broken.
func kindOf(err error) string {
	lines := strings.SplitN(err.Error(), "\n", 3)
	kind := lines[0]
	if len(lines) > 1 {
		kind, _, _ = strings.Cut(lines[1], ":")
		kind = strings.TrimLeft(kind, "abc")
	}
	return simNumber.ReplaceAllString(kind, "#")
}

func tellEvent(ev core.Event) string {
	switch ev := ev.(type) {
	case core.Begin:
		return fmt.Sprintf("superd starts (same boot %v, keeper lost %v)", ev.SameBoot, ev.KeeperLost)
	case core.Configure:
		return "another configuration"
	case core.Tick:
		return "time"
	}
	return fmt.Sprintf("%T%+v", ev, ev)
}

func tellActions(actions []core.Action) string {
	var b strings.Builder
	for _, a := range actions {
		b.WriteString("\n             " + tellAction(a))
	}
	return b.String()
}

func tellAction(a core.Action) string {
	switch a := a.(type) {
	case core.SavePool:
		return "save " + a.Pool.Name
	case core.SaveWorker:
		w := a.Worker
		text := fmt.Sprintf("save %s/%d: %s, desired %s", a.Pool.Name, w.Index, w.State, w.Desired)
		if w.Run != nil {
			text += fmt.Sprintf(", run %s of revision %d, pid %d", w.Run.ID, w.Run.Revision, w.Run.PID)
			if w.Run.Stop != nil {
				text += fmt.Sprintf(", step %d of %v", w.Run.Stop.Step, w.Run.Stop.Sequence)
			}
		}
		return text
	case core.DropWorkers:
		return fmt.Sprintf("drop %s from %d", a.Pool.Name, a.Count)
	case core.Spawn:
		return fmt.Sprintf("spawn %s/%d as %s", a.Pool.Name, a.Worker.Index, a.Run)
	case core.Publish:
		return "tell " + a.Notice.Type + " " + a.Notice.Worker + ": " + a.Notice.Message
	}
	return fmt.Sprintf("%T%+v", a, a)
}

// tellState is what is in the pool in which there is a difference.
func tellState(st *core.State, diff string) string {
	p := st.Pools[diff[:1]]
	if p == nil {
		return "no pool"
	}
	c := copyPool(p)
	c.Config, c.Revisions, c.Past = nil, nil, nil
	data, _ := json.Marshal(struct {
		Pool    *core.Pool
		Workers []*core.Worker
	}{c, p.Workers})
	return string(data)
}

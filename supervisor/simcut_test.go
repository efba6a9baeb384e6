package supervisor

import (
	"fmt"
	"slices"

	"github.com/superd/superd/supervisor/core"
)

// cut is what becomes of a superd that dies now and starts anew at once.
func (w *simWorld) cut(where string) simCut {
	w.deaths++
	w.seed++
	c := simCut{st: w.disk.recall(w.seed), keeper: w.keeper.clone(), where: where}
	c.keeper.superdDied()
	defer func() {
		if r := recover(); r != nil {
			panic(broken(fmt.Sprintf("superd dies %s, and starts: %v", where, r)))
		}
	}()
	found := c.keeper.found()
	w.restore(c.st, c.keeper, found)
	c.step(w, core.Begin{Specs: w.specs, Found: found, SameBoot: w.boot})
	return c
}

func (c *simCut) step(w *simWorld, ev core.Event) {
	w.steps++
	actions := c.st.Step(w.now, ev)
	must(c.st.Check())
	var news []core.Event
	for i, a := range actions {
		switch a := a.(type) {
		case core.Spawn:
			if !savedAmong(actions[:i], a.Run) {
				panic(broken(a.Run + " is spawned and was not saved"))
			}
		case core.Quit:
			c.quit = true
		}
		news = append(news, c.keeper.do(a, w.now.Boot)...)
	}
	for _, ev := range news {
		c.step(w, ev)
	}
}

func savedAmong(actions []core.Action, run string) bool {
	return slices.ContainsFunc(actions, func(a core.Action) bool {
		s, ok := a.(core.SaveWorker)
		return ok && s.Worker.Run != nil && s.Worker.Run.ID == run
	})
}

// compare holds that a superd that died knows, and has asked for, what one that
// lived has.
func (w *simWorld) compare(ev core.Event, cut simCut) {
	if cut.quit || w.st.Leaving != nil {
		return // an essential pool has come to its end: the next superd would start it afresh
	}
	if w.drawnOtherwise(cut) {
		return
	}
	w.same++
	c := &simCompare{now: w.now}
	diff := c.states(w.st, cut.st)
	if diff == "" {
		diff = c.keepers(w.keeper, cut.keeper)
	}
	if diff != "" {
		panic(broken(fmt.Sprintf("%s, and superd dies %s: without the death and with it\n%s\nwithout: %s\nwith:    %s",
			tellEvent(ev), cut.where, diff, tellState(w.st, diff), tellState(cut.st, diff))))
	}
}

// drawnOtherwise tells of a worker whose next restart falls before the end of its
// window in one life and after it in the other, by chance.
func (w *simWorld) drawnOtherwise(cut simCut) bool {
	waits := func(w *core.Worker) bool {
		return w.State == core.Backoff || w.State == core.Delayed || w.State == core.Failed
	}
	for name, p := range w.st.Pools {
		q := cut.st.Pools[name]
		if q == nil || p.Config.Restart.Jitter == 0 {
			continue
		}
		for i := range min(len(p.Workers), len(q.Workers)) {
			if v, w := p.Workers[i], q.Workers[i]; v.State != w.State && waits(v) && waits(w) {
				return true
			}
		}
	}
	return false
}

// keepers tells the first difference in what was asked of two keepers.
func (c *simCompare) keepers(a, b *simKeeper) string {
	n := 0
	for i := range b.runs {
		if b.runs[i].phase < simGone {
			n++
		}
	}
	for i := range a.runs {
		r := &a.runs[i]
		if r.phase >= simGone {
			continue
		}
		n--
		id := r.id
		if c.to[id] != "" {
			id = c.to[id]
		}
		q := b.find(id)
		switch {
		case q == nil:
			return fmt.Sprintf("the run %s of %s is asked for, and not at all", r.id, r.slot)
		case q.phase != r.phase:
			return fmt.Sprintf("the run %s of %s is in phase %d, and in phase %d", r.id, r.slot, r.phase, q.phase)
		case !slices.Equal(q.got, r.got):
			return fmt.Sprintf("the run %s of %s was sent %v, and %v", r.id, r.slot, r.got, q.got)
		}
	}
	if n != 0 {
		return fmt.Sprintf("%d more runs are asked for", n)
	}
	return ""
}

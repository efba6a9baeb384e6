package supervisor

import (
	"context"
	"regexp"
	"sync"
	"time"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/proc"
)

const (
	// lookEvery is how often runs are looked at while a decision hangs on it.
	lookEvery = time.Second
	// lookPatience is how long an asker waits for titles: a process whose memory
	// map is held, as in a long page fault, must not hold a status.
	lookPatience = 250 * time.Millisecond
)

// Work is what a run shows of its work, by `busy`.
type Work struct {
	Busy bool
	Text string // with what; empty when idle
}

// titles remembers what the runs' titles said when they were last looked at.
type titles struct {
	mu      sync.Mutex
	seen    map[string]title // by run
	regexps map[string]*regexp.Regexp
	looking bool
}

type title struct {
	text    string
	looked  core.Time
	changed core.Time // see core.Observed
	work    Work
}

// liveRun is a run to be looked at.
type liveRun struct {
	id      string
	pid     int
	pattern string
}

// liveRuns are a pool's runs that have a title to look at.
func liveRuns(p *core.Pool) []liveRun {
	if p.Config == nil || p.Config.Busy.Title == "" {
		return nil
	}
	var runs []liveRun
	for _, w := range p.Workers {
		if run := w.Run; run != nil && run.PID != 0 && !run.StartedAt.IsZero() && run.Exit == nil {
			runs = append(runs, liveRun{run.ID, run.PID, p.Config.Busy.Title})
		}
	}
	return runs
}

// Work implements API. What could not be seen in time is as it was last seen.
func (s *Supervisor) Work(p *core.Pool) map[string]Work {
	runs := liveRuns(p)
	if len(runs) == 0 {
		return nil
	}
	s.titles.lookFor(runs, lookEvery/4, lookPatience)
	return s.titles.work(runs)
}

// work is what is remembered of runs.
func (t *titles) work(runs []liveRun) map[string]Work {
	t.mu.Lock()
	defer t.mu.Unlock()
	work := make(map[string]Work, len(runs))
	for _, r := range runs {
		if seen, ok := t.seen[r.id]; ok {
			work[r.id] = seen.work
		}
	}
	return work
}

// lookFor looks at runs, but waits no longer than patience: the look then goes on
// by itself, and nobody begins another beside it.
func (t *titles) lookFor(runs []liveRun, fresh, patience time.Duration) {
	t.mu.Lock()
	if t.looking {
		t.mu.Unlock()
		return
	}
	t.looking = true
	t.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.look(runs, fresh)
		t.mu.Lock()
		t.looking = false
		t.mu.Unlock()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// look reads the titles of runs, but for those that are fresher than so much.
func (t *titles) look(runs []liveRun, fresh time.Duration) {
	for _, r := range runs {
		at := now()
		t.mu.Lock()
		old, had := t.seen[r.id]
		re := t.compile(r.pattern)
		t.mu.Unlock()
		if had && at.After(old.looked) < fresh {
			continue
		}
		text, err := proc.Title(r.pid)
		if err != nil || text == "" {
			continue // it is about to be reported as ended
		}
		next := title{text: text, looked: at, changed: old.changed, work: workIn(re, text)}
		if had && text != old.text {
			next.changed = old.looked
		}
		t.mu.Lock()
		t.seen[r.id] = next
		t.mu.Unlock()
	}
}

// compile is the compiled form of a pattern; t.mu is held. There are as many as
// pools ever had.
func (t *titles) compile(pattern string) *regexp.Regexp {
	if t.regexps == nil {
		t.regexps, t.seen = map[string]*regexp.Regexp{}, map[string]title{}
	}
	re := t.regexps[pattern]
	if re == nil {
		re = regexp.MustCompile(pattern) // the configuration's check has compiled it too
		t.regexps[pattern] = re
	}
	return re
}

// workIn reads a title: it matches while there is work, and the first group, or
// all that matched, says which.
func workIn(re *regexp.Regexp, text string) Work {
	m := re.FindStringSubmatch(text)
	switch {
	case m == nil:
		return Work{}
	case len(m) > 1:
		return Work{Busy: true, Text: m[1]}
	}
	return Work{Busy: true, Text: m[0]}
}

// observations is what the core is told of runs.
func (t *titles) observations(runs []liveRun) []core.Observed {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]core.Observed, 0, len(runs))
	for _, r := range runs {
		seen, ok := t.seen[r.id]
		if !ok {
			continue
		}
		o := core.Observed{Run: r.id, Work: core.Idle, Changed: seen.changed}
		if seen.work.Busy {
			o.Work = core.AtWork
		}
		all = append(all, o)
	}
	return all
}

// forget drops what is remembered of a run that has ended.
func (t *titles) forget(run string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.seen, run)
}

// watcher looks at runs while decisions of the core hang on what they do. It is
// the loop's alone.
type watcher struct {
	pools map[string]bool // that may want looks
	busy  bool            // a look is under way, or its time is waited for
}

// mayWatch takes note of a pool that has changed.
func (s *Supervisor) mayWatch(p *core.Pool) {
	if p.Config != nil && p.Config.Busy.Title != "" {
		s.watcher.pools[p.Name] = true
	}
}

// watchWork begins the next look if one is wanted. It is called after each round
// of the loop.
func (s *Supervisor) watchWork() {
	if s.watcher.busy || len(s.watcher.pools) == 0 {
		return
	}
	var runs []liveRun
	for name := range s.watcher.pools {
		p := s.state.Pools[name]
		if p == nil || !p.WantsLooks() {
			delete(s.watcher.pools, name)
			continue
		}
		runs = append(runs, liveRuns(p)...)
	}
	if len(s.watcher.pools) == 0 {
		return
	}
	s.watcher.busy = true
	go func() {
		s.titles.lookFor(runs, 0, lookPatience)
		s.inbox.put(func() { s.observe(runs) })
		time.Sleep(lookEvery)
		s.inbox.put(func() { s.watcher.busy = false })
	}()
}

// observe brings the core what is known of runs.
func (s *Supervisor) observe(runs []liveRun) {
	for _, o := range s.titles.observations(runs) {
		s.step(o)
	}
}

// lookBefore looks at the pools that are about to be deployed, so that the first
// worker that is taken is an idle one. The answer is for the loop, before the
// command itself.
func (s *Supervisor) lookBefore(ctx context.Context, names ...string) (observe func()) {
	snap, _ := s.Snapshot()
	var runs []liveRun
	for _, name := range names {
		if p := snap.Pool(name); p != nil && ctx.Err() == nil {
			runs = append(runs, liveRuns(p)...)
		}
	}
	if len(runs) > 0 {
		s.titles.lookFor(runs, 0, lookPatience)
	}
	return func() { s.observe(runs) }
}

package supervisor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/keeper"
)

// keepers are the keeper that superd has and, after an upgrade, those before it that
// still have runs: a keeper cannot be replaced while it is somebody's parent. The
// current one gets all that is new. Whatever concerns a run goes to the keeper that
// has it. A former one that has none any more is told to end.
//
// Its methods are safe for concurrent use; those that change which keepers there are
// belong to the loop.
type keepers struct {
	told chan told // what they tell, all of them
	done chan struct{}

	mu    sync.Mutex
	all   []*keeper.Client          // the current one is the first
	owner map[string]*keeper.Client // of each run that was not acknowledged
	runs  map[*keeper.Client]int    // how many it owns
	// ending are those that were told to end: that they are lost is as it should be.
	ending map[*keeper.Client]bool
}

// told is an event, or the loss of the keeper that would have told more.
type told struct {
	by   *keeper.Client
	lost bool
	keeper.Event
}

func newKeepers(all []*keeper.Client) *keepers {
	k := &keepers{told: make(chan told, 64), done: make(chan struct{}), owner: map[string]*keeper.Client{},
		runs: map[*keeper.Client]int{}, ending: map[*keeper.Client]bool{}}
	for _, c := range slices.Backward(all) {
		k.add(c)
	}
	return k
}

// add makes a keeper the current one.
func (k *keepers) add(c *keeper.Client) {
	k.mu.Lock()
	k.all = slices.Insert(k.all, 0, c)
	k.mu.Unlock()
	go k.follow(c)
}

// follow passes on what a keeper tells.
func (k *keepers) follow(c *keeper.Client) {
	tell := func(t told) bool {
		select {
		case k.told <- t:
			return true
		case <-k.done:
			return false
		}
	}
	for ev := range c.Events() {
		if !tell(told{by: c, Event: ev}) {
			return
		}
	}
	tell(told{by: c, lost: true})
}

// drop forgets a keeper. Its runs are nobody's.
func (k *keepers) drop(c *keeper.Client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = slices.DeleteFunc(k.all, func(have *keeper.Client) bool { return have == c })
	for run, have := range k.owner {
		if have == c {
			delete(k.owner, run)
		}
	}
	delete(k.runs, c)
	delete(k.ending, c)
}

// close passes on nothing any more.
func (k *keepers) close() { close(k.done) }

// current is the keeper that gets what is new.
func (k *keepers) current() *keeper.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all[0]
}

// list is all of them, the current one first.
func (k *keepers) list() []*keeper.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all)
}

// former tells those that are not the current one.
func (k *keepers) former() []*keeper.Client { return k.list()[1:] }

// of is the keeper that has a run, or that would get it.
func (k *keepers) of(run string) *keeper.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ofLocked(run)
}

func (k *keepers) ofLocked(run string) *keeper.Client {
	if c := k.owner[run]; c != nil {
		return c
	}
	return k.all[0]
}

// own notes which keeper has a run.
func (k *keepers) own(run string, c *keeper.Client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ownLocked(run, c)
}

func (k *keepers) ownLocked(run string, c *keeper.Client) {
	if before := k.owner[run]; before != nil {
		k.runs[before]--
	}
	k.owner[run] = c
	k.runs[c]++
}

// holder is the keeper that holds what has a name: that of a run's FIFO begins with
// the run's ID and a dot.
func (k *keepers) holder(name string) *keeper.Client {
	run, _, _ := strings.Cut(name, ".")
	return k.of(run)
}

// Spawn is that of the keeper, as are those below.
func (k *keepers) Spawn(ctx context.Context, s keeper.Spawn) error {
	k.mu.Lock()
	c := k.ofLocked(s.Run) // one that is asked for again has its keeper
	k.ownLocked(s.Run, c)
	k.mu.Unlock()
	return c.Spawn(ctx, s)
}

func (k *keepers) Adopt(a keeper.Adopt) error {
	c := k.current()
	err := c.Adopt(a)
	if err == nil {
		k.own(a.Run, c)
	}
	return err
}

func (k *keepers) Sweep(run string) error { return k.of(run).Sweep(run) }

// Acknowledge also ends a former keeper whose last run it was.
func (k *keepers) Acknowledge(run string) error {
	k.mu.Lock()
	c := k.ofLocked(run)
	if k.owner[run] != nil {
		delete(k.owner, run)
		k.runs[c]--
	}
	k.mu.Unlock()
	err := c.Acknowledge(run)
	k.endIdle(c)
	return err
}

func (k *keepers) Hold(name string, f *os.File) error { return k.holder(name).Hold(name, f) }

func (k *keepers) Fetch(name string) (*os.File, error) { return k.holder(name).Fetch(name) }

// FetchAll asks each keeper for what it holds, in one go.
func (k *keepers) FetchAll(names []string) []keeper.Fetched {
	by := map[*keeper.Client][]int{}
	for i, name := range names {
		c := k.holder(name)
		by[c] = append(by[c], i)
	}
	all := make([]keeper.Fetched, len(names))
	for c, places := range by {
		asked := make([]string, len(places))
		for i, place := range places {
			asked[i] = names[place]
		}
		for i, f := range c.FetchAll(asked) {
			all[places[i]] = f
		}
	}
	return all
}

// List asks all keepers what they have, and learns from it who has what. A run that
// two of them know is its parent's: the other one has adopted it, for a superd that
// knew of one keeper only.
func (k *keepers) List(ctx context.Context) (runs []keeper.RunState, held []string, err error) {
	place := map[string]int{}
	for _, c := range k.list() {
		listed, names, err := c.List(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("keeper, pid %d: %w", c.PID(), err)
		}
		held = append(held, names...)
		for _, r := range listed {
			i, twice := place[r.Run]
			switch {
			case !twice:
				place[r.Run] = len(runs)
				runs = append(runs, r)
			case runs[i].Adopted && !r.Adopted:
				runs[i] = r
			default:
				continue
			}
			k.own(r.Run, c)
		}
	}
	return runs, held, nil
}

// stray tells that an event is of a run that another keeper has. Once it is over, the
// one that told it may forget it.
func (k *keepers) stray(t told) bool {
	if k.of(t.Run) == t.by {
		return false
	}
	if t.Gone || t.Kind == keeper.Gone || t.Kind == keeper.SpawnFailed {
		t.by.Acknowledge(t.Run)
		k.endIdle(t.by)
	}
	return true
}

// endIdle tells a former keeper to end that has no run. The first process of a
// container cannot: it stays, with nothing to do.
func (k *keepers) endIdle(c *keeper.Client) {
	k.mu.Lock()
	idle := c != k.all[0] && k.runs[c] == 0 && !k.ending[c] && slices.Contains(k.all, c) && c.PID() != 1
	if idle {
		k.ending[c] = true
	}
	k.mu.Unlock()
	if !idle {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), listPatience)
		defer cancel()
		if c.End(ctx) != nil {
			k.mu.Lock()
			delete(k.ending, c) // it stays, and is told again with its next run, or by the next superd
			k.mu.Unlock()
		}
	}()
}

// ended tells whether a keeper that is lost was told to end.
func (k *keepers) ended(c *keeper.Client) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ending[c]
}

// gather has the current keeper hold what a former one has and what belongs to none
// of its runs, like the control socket.
func (k *keepers) gather(ctx context.Context, from *keeper.Client) error {
	listed, names, err := from.List(ctx)
	if err != nil {
		return err
	}
	runs := map[string]bool{}
	for _, r := range listed {
		runs[r.Run] = true
	}
	current := k.current()
	_, have, err := current.List(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if run, _, _ := strings.Cut(name, "."); runs[run] {
			continue
		}
		if !slices.Contains(have, name) {
			f, err := from.Fetch(name)
			if err != nil {
				return err
			}
			err = current.Hold(name, f)
			f.Close()
			if err != nil {
				return err
			}
		}
		aim.At("gather.held")
		if err := from.Release(name); err != nil {
			return err
		}
	}
	return nil
}

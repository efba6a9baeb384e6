package supervisor

import (
	"slices"
	"strings"
	"sync"

	"github.com/superd/superd/supervisor/core"
)

// showcase holds the newest snapshot. It copies what has changed since the last
// one and shares the rest.
type showcase struct {
	mu      sync.Mutex
	current *Snapshot
	newer   chan struct{}

	// Below is the loop's alone.
	pools   map[string]*core.Pool     // published copies
	workers map[string][]*core.Worker // published copies, by pool and index
	stale   map[string]bool
	info    bool // Info has changed
}

func newShowcase() *showcase {
	return &showcase{current: &Snapshot{}, newer: make(chan struct{}), pools: map[string]*core.Pool{},
		workers: map[string][]*core.Worker{}, stale: map[string]bool{}}
}

// get is the newest snapshot and a channel that is closed when there is a newer one.
func (c *showcase) get() (*Snapshot, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current, c.newer
}

// worker takes note of a change.
func (c *showcase) worker(p *core.Pool, w *core.Worker) {
	c.stale[p.Name] = true
	ws := c.workers[p.Name]
	if w.Index < len(ws) {
		ws[w.Index] = nil
	}
}

// pool takes note of a change of the pool itself.
func (c *showcase) pool(name string) { c.stale[name] = true }

// publish makes a snapshot of what has changed, if anything has.
func (c *showcase) publish(st *core.State, at core.Time, seq uint64, info func() Info) {
	if len(c.stale) == 0 && !c.info {
		return
	}
	for name := range c.stale {
		if p := st.Pools[name]; p != nil {
			c.pools[name] = p.Clone(c.copyWorkers(p))
		} else {
			delete(c.pools, name)
			delete(c.workers, name)
		}
	}
	clear(c.stale)
	c.info = false
	snap := &Snapshot{Info: info(), Seq: seq, At: at, Pools: make([]*core.Pool, 0, len(c.pools))}
	for _, p := range c.pools {
		snap.Pools = append(snap.Pools, p)
	}
	slices.SortFunc(snap.Pools, func(a, b *core.Pool) int { return strings.Compare(a.Name, b.Name) })
	c.mu.Lock()
	c.current = snap
	close(c.newer)
	c.newer = make(chan struct{})
	c.mu.Unlock()
}

// copyWorkers copies those workers of a pool that have changed, into a slice
// that no snapshot has yet.
func (c *showcase) copyWorkers(p *core.Pool) []*core.Worker {
	ws := make([]*core.Worker, len(p.Workers))
	copy(ws, c.workers[p.Name])
	for i, w := range p.Workers {
		if ws[i] == nil {
			ws[i] = w.Clone()
		}
	}
	c.workers[p.Name] = slices.Clone(ws)
	return ws
}

package supervisor

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
)

// resolvePatience is how long the directories of all pools may take to be
// resolved, at the start and whenever somebody asks for something that needs it.
const resolvePatience = 5 * time.Second

// specs resolves the directories of all pools, beside each other: one whose disk hangs
// must not use up the time of the others.
func (s *Supervisor) specs(ctx context.Context, cfg *config.Config) []core.Spec {
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	specs := make([]core.Spec, len(cfg.Pools))
	var all sync.WaitGroup
	for i, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		p := cfg.Pools[name]
		all.Go(func() { specs[i] = core.Spec{Config: p, Release: s.release(ctx, p)} })
	}
	all.Wait()
	return specs
}

// release is a pool's directory with its symlinks resolved; empty when it differs
// from worker to worker. One that cannot be resolved, or not in time, stays as
// it is written: the start says what is wrong with it.
func (s *Supervisor) release(ctx context.Context, p *config.Pool) string {
	dir, fixed := p.FixedDirectory()
	if !fixed {
		return ""
	}
	return s.resolver.resolve(ctx, dir)
}

// resolver resolves symlinks. Where a disk hangs a thread waits for it, for good maybe:
// whoever asks for such a path waits for that one, and then has it resolved anew, since
// it may mean something else by then. The zero value is ready.
type resolver struct {
	eval func(string) (string, error) // nil: filepath.EvalSymlinks; changed by tests alone

	mu   sync.Mutex
	slow map[string]*resolving // by path, one that somebody has waited for in vain
}

// resolving is a path that is being resolved.
type resolving struct {
	ended chan struct{}
	over  bool   // guarded by resolver.mu
	found string // once ended is closed
}

// resolve gives what a path is by now, or the path as it is if that cannot be had
// before ctx is over.
func (r *resolver) resolve(ctx context.Context, path string) string {
	for {
		r.mu.Lock()
		slow := r.slow[path]
		r.mu.Unlock()
		if slow == nil {
			break
		}
		select {
		case <-slow.ended:
		case <-ctx.Done():
			return path
		}
	}
	one := r.begin(path)
	select {
	case <-one.ended:
		return one.found
	case <-ctx.Done():
		r.mark(path, one)
		return path
	}
}

// begin resolves a path on a goroutine of its own.
func (r *resolver) begin(path string) *resolving {
	one := &resolving{ended: make(chan struct{}), found: path}
	eval := r.eval
	if eval == nil {
		eval = filepath.EvalSymlinks
	}
	go func() {
		if found, err := eval(path); err == nil {
			one.found = found
		}
		r.mu.Lock()
		one.over = true
		if r.slow[path] == one {
			delete(r.slow, path)
		}
		r.mu.Unlock()
		close(one.ended)
	}()
	return one
}

// mark notes that somebody has waited for one in vain, if it has not ended just now.
func (r *resolver) mark(path string, one *resolving) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one.over {
		return
	}
	if r.slow == nil {
		r.slow = map[string]*resolving{}
	}
	r.slow[path] = one
}

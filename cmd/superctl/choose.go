package main

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

// target is a pool, or some of its workers, that a command is about.
type target struct {
	pool    *rpc.Pool
	workers []int // sorted; nil: all
}

// String is how the user would name it.
func (t *target) String() string {
	if t.workers == nil {
		return t.pool.Name
	}
	names := make([]string, len(t.workers))
	for i, index := range t.workers {
		names[i] = t.pool.Name + "/" + strconv.Itoa(index)
	}
	return strings.Join(names, " ")
}

// concerns tells whether a worker is meant.
func (t *target) concerns(index int) bool {
	return t.workers == nil || slices.Contains(t.workers, index)
}

// choose turns what the user named into targets, by name. all is every pool.
func (a *app) choose(ctx context.Context, st *rpc.Status, names []string, all bool) ([]target, error) {
	chosen := map[string]*target{}
	if all {
		for i := range st.Pools {
			chosen[st.Pools[i].Name] = &target{pool: &st.Pools[i]}
		}
	}
	for _, name := range names {
		pools, index, err := a.match(ctx, st, name)
		if err != nil {
			return nil, err
		}
		for _, p := range pools {
			t := chosen[p.Name]
			switch {
			case t == nil && index < 0:
				chosen[p.Name] = &target{pool: p}
			case t == nil:
				chosen[p.Name] = &target{pool: p, workers: []int{index}}
			case index < 0:
				t.workers = nil
			case t.workers != nil && !slices.Contains(t.workers, index):
				t.workers = append(t.workers, index)
			}
		}
	}
	list := make([]target, 0, len(chosen))
	for _, t := range chosen {
		slices.Sort(t.workers)
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b target) int { return cmp.Compare(a.pool.Name, b.pool.Name) })
	return list, nil
}

// match finds the pools that one name means, and the worker's index, -1 for all.
func (a *app) match(ctx context.Context, st *rpc.Status, name string) ([]*rpc.Pool, int, error) {
	name, index, err := splitWorker(name)
	if err != nil {
		return nil, 0, err
	}
	var fits func(*rpc.Pool) bool
	var what string
	switch {
	case strings.HasPrefix(name, "@"):
		what = "no pool is in the group " + strconv.Quote(name[1:])
		fits = func(p *rpc.Pool) bool { return slices.Contains(p.Groups, name[1:]) }
	case isPattern(name):
		if _, err := path.Match(name, ""); err != nil {
			return nil, 0, usage("quote the pattern, as in 'mail*'", "%q is not a pattern: a [ is not closed", name)
		}
		what = "no pool matches " + strconv.Quote(name)
		fits = func(p *rpc.Pool) bool { ok, _ := path.Match(name, p.Name); return ok }
	default:
		fits = func(p *rpc.Pool) bool { return p.Name == name }
	}
	var pools []*rpc.Pool
	for i := range st.Pools {
		if fits(&st.Pools[i]) {
			pools = append(pools, &st.Pools[i])
		}
	}
	if len(pools) > 0 {
		return pools, index, nil
	}
	if what != "" {
		return nil, 0, &failure{code: rpc.ExitNotFound, text: what, next: []string{"superctl status lists the pools"}}
	}
	p, err := a.unlisted(ctx, st, name)
	return []*rpc.Pool{p}, index, err
}

// isPattern tells whether a name may mean several pools, or none.
func isPattern(name string) bool {
	return strings.HasPrefix(name, "@") || strings.ContainsAny(name, `*?[\`)
}

// splitWorker cuts "mailers/0" into its pool and index, -1 without one.
func splitWorker(name string) (string, int, error) {
	pool, number, ok := strings.Cut(name, "/")
	if pool == "" || pool == "@" {
		return "", 0, usage("superctl status lists the pools", "%q names no pool", name)
	}
	if !ok {
		return name, -1, nil
	}
	index, err := strconv.Atoi(number)
	if err != nil || index < 0 || strconv.Itoa(index) != number {
		return "", 0, usage("superctl status lists the workers", "%q names no worker: after the slash comes its number, as in mailers/0", name)
	}
	return pool, index, nil
}

// unlisted asks superd about a pool that it did not list: only superd knows
// whether there is none, or whether it is not for us to see.
func (a *app) unlisted(ctx context.Context, st *rpc.Status, name string) (*rpc.Pool, error) {
	p, _, err := a.connect().Pool(ctx, name)
	if a.acts && isForbidden(err) {
		return &rpc.Pool{Name: name}, nil // superd refuses what is asked for, and says which role it takes
	}
	var e *rpc.Error
	if !errors.As(err, &e) || e.Kind != rpc.KindNotFound {
		return p, err
	}
	names := make([]string, len(st.Pools))
	for i := range st.Pools {
		names[i] = st.Pools[i].Name
	}
	f := &failure{code: rpc.ExitNotFound, text: "there is no pool " + strconv.Quote(name), next: []string{"superctl status lists the pools"}}
	if near := signals.Nearest(name, names); near != "" {
		f.text += "; did you mean " + strconv.Quote(near) + "?"
	}
	return nil, f
}

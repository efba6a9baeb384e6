package supervisor

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/store"
)

// Records that could not be written, or were deleted while superd lives: what they had
// is in memory, and is written again.

// note remembers whether a record could be written.
func (r *records) note(name recordName, err error) error {
	if err != nil {
		r.behind[name] = err
	} else {
		delete(r.behind, name)
	}
	return err
}

// catchUp writes again what could not be written. Of a pool whose disk is still full
// it does not try every worker.
func (r *records) catchUp(st *core.State) {
	failed := map[string]bool{}
	for name := range r.behind {
		p := st.Pools[name.pool]
		switch {
		case failed[name.pool]:
		case name.pool == "":
			failed[""] = r.saveHost() != nil
		case p == nil, name.index >= len(p.Workers):
			delete(r.behind, name)
		case name.index == wholePool:
			failed[p.Name] = r.savePool(p) != nil
		default:
			failed[p.Name] = r.saveWorker(p, p.Workers[name.index]) != nil
		}
	}
}

// lost tells that records are not to be found by their names any more.
func (r *records) lost(st *core.State) bool {
	if r.dir.Lost() || r.journal.Lost() {
		return true
	}
	for _, t := range r.tables {
		if t.Lost() {
			return true
		}
	}
	files, err := r.dir.Files()
	if err != nil {
		return true
	}
	there := map[string]bool{}
	for _, name := range files {
		there[name] = true
	}
	gone := func(file string, name recordName) bool {
		_, never := r.behind[name] // it could not be written
		return !there[file] && !never
	}
	for name := range st.Pools {
		if gone(poolPrefix+name, recordName{name, wholePool}) {
			return true
		}
	}
	return gone(superdRecord, recordName{})
}

// rewrite puts everything once more, after somebody has deleted records.
func (r *records) rewrite(st *core.State) error {
	dir, err := store.OpenDir(r.dir.Path())
	if err != nil {
		return err
	}
	for _, t := range r.tables {
		t.Close()
	}
	clear(r.tables)
	r.dir.Close()
	r.dir = dir
	errs := []error{r.saveHost(), r.journal.Move(dir)}
	for _, name := range slices.Sorted(maps.Keys(st.Pools)) {
		p := st.Pools[name]
		err := r.savePool(p)
		for _, w := range p.Workers {
			err = cmp.Or(err, r.saveWorker(p, w)) // one reason is enough
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/store"
	"golang.org/x/sys/unix"
)

// The buckets and keys of what is kept on disk.
const (
	superdRecord = "superd" // hostRecord
	poolPrefix   = "pool."  // core.Pool, without its workers
	poolBucket   = "pool"
	superdBucket = "superd"
	seqKey       = "seq"
	bootKey      = "boot" // hostRecord: the boot that the durable instants are of
)

// The size of a worker's record: room for what is always there, and for each
// restart in its window.
const (
	workerRecordBase  = 1536
	workerRecordStamp = 24
)

// hostRecord is what is kept of superd itself.
type hostRecord struct {
	BootID       string
	PIDNamespace uint64
	Seq          uint64 // reserved event numbers
	// Keepers are those of which everything is known; see agreed.
	Keepers []string `json:",omitempty"`

	// NamespaceStart is when the namespace's first process was started, since that
	// number is used again. 0: not known.
	NamespaceStart uint64 `json:",omitempty"`
}

// values is what the records need of state_dir; tests have one without a disk.
type values interface {
	Get(bucket, key string) ([]byte, bool)
	All(bucket string) map[string][]byte
	Put(bucket, key string, value []byte)
	Delete(bucket, key string)
	Append(history string, e store.Entry)
	DropHistory(history string)
	OnSettled(f func(n int))
}

// records keeps the core's entities: in runtime_dir what must be known after a
// crash, before the deed; in state_dir, written behind, what outlives a reboot.
type records struct {
	dir    *store.Dir
	state  *store.State // state_dir
	values values       // what is in it
	tables map[string]*store.Table
	host   hostRecord
	world  hostRecord // the boot and namespace that superd is in
	bare   bool       // runtime_dir had no record of superd itself

	// What load found: sound are the workers that have a record; partial, that
	// something is missing or could not be read; older, that there was anything at all
	// in runtime_dir.
	sound          map[recordName]bool
	partial, older bool

	// The journal of exits, or why there is none; see exits.go. What was in it when
	// superd started: the runs, and what is still to be written, with its pools.
	journal     *store.Journal
	noJournal   error
	journalled  map[string]bool
	replaying   bool
	replay      []store.Entry
	replayPools []string

	// saves numbers what is saved of each pool, so that of its two records the newer
	// one is known: the disk of either may have been full.
	saves map[string]uint64
	// behind are the records in runtime_dir that could not be written, and why.
	behind map[recordName]error
}

// recordName is a record in runtime_dir.
type recordName struct {
	pool  string // empty: that of superd itself
	index int    // of a worker; wholePool: the pool's own record
}

const wholePool = -1

// savedPool is how a pool is written.
type savedPool struct {
	*core.Pool
	Saved uint64 // as in records.saves; 0: by a superd that did not count
}

func openRecords(runtimeDir, stateDir string) (*records, error) {
	if err := store.CheckVersions(runtimeDir + "/records"); err != nil {
		return nil, err
	}
	dir, err := store.OpenDir(runtimeDir + "/records")
	if err != nil {
		return nil, err
	}
	state, err := store.OpenState(stateDir)
	if err != nil {
		dir.Close()
		return nil, err
	}
	r := newRecords(dir, state)
	r.openJournal()
	return r, nil
}

func newRecords(dir *store.Dir, state *store.State) *records {
	return &records{dir: dir, state: state, values: state, tables: map[string]*store.Table{},
		saves: map[string]uint64{}, behind: map[recordName]error{}, sound: map[recordName]bool{}}
}

// load reads what was kept. sameBoot tells whether the instants in it are of
// this boot; damage is what could not be read, in words.
func (r *records) load(st *core.State) (sameBoot bool, damage []string, err error) {
	if r.world, err = thisWorld(); err != nil {
		return false, nil, err
	}
	if data, ok, err := r.dir.GetFile(superdRecord); err != nil {
		damage = append(damage, err.Error())
	} else if ok {
		if err := json.Unmarshal(data, &r.host); err != nil {
			damage = append(damage, fmt.Sprintf("cannot read the record of superd: %v", err))
		}
	}
	boot := r.host
	r.older = r.host.BootID != ""
	if r.host.BootID == "" { // a first start, or runtime_dir was deleted while nobody was there
		r.bare = true
		if data, ok := r.values.Get(superdBucket, bootKey); ok && json.Unmarshal(data, &boot) != nil {
			boot = hostRecord{}
		}
	}
	sameBoot = boot.sameWorld(r.world)
	if data, ok := r.values.Get(superdBucket, seqKey); ok {
		var seq uint64
		if json.Unmarshal(data, &seq) == nil {
			r.host.Seq = max(r.host.Seq, seq)
		}
	}
	names, err := r.poolNames()
	if err != nil {
		return false, nil, err
	}
	for _, name := range names {
		if err := r.loadPool(st, name); err != nil {
			damage = append(damage, err.Error())
		}
	}
	damage = append(damage, r.dir.Damage()...)
	r.partial = len(damage) > 0 || r.lacks(st)
	r.older = r.older || len(damage) > 0
	return sameBoot, damage, nil
}

// lacks tells that there is a worker that has no record.
func (r *records) lacks(st *core.State) bool {
	for name, p := range st.Pools {
		for _, w := range p.Workers {
			if !r.sound[recordName{name, w.Index}] {
				return true
			}
		}
	}
	return false
}

// sameWorld tells whether pids and instants of one mean the same in the other.
func (h hostRecord) sameWorld(o hostRecord) bool {
	return h.BootID == o.BootID && h.PIDNamespace == o.PIDNamespace &&
		(h.NamespaceStart == o.NamespaceStart || h.NamespaceStart == 0 || o.NamespaceStart == 0)
}

// belong says that the records are of this boot now. It comes after all that
// belonged to another one has been dealt with: superd may die in between.
func (r *records) belong() error {
	r.host.BootID, r.host.PIDNamespace, r.host.NamespaceStart = r.world.BootID, r.world.PIDNamespace, r.world.NamespaceStart
	data, err := json.Marshal(r.world)
	if err != nil {
		return err
	}
	r.values.Put(superdBucket, bootKey, data)
	return r.saveHost()
}

// poolNames are the pools of which either place knows.
func (r *records) poolNames() ([]string, error) {
	files, err := r.dir.Files()
	if err != nil {
		return nil, fmt.Errorf("cannot list the records: %w", err)
	}
	var names []string
	seen := map[string]bool{}
	for _, file := range files {
		if name, ok := strings.CutPrefix(file, poolPrefix); ok {
			names, seen[name] = append(names, name), true
		}
	}
	for name := range r.values.All(poolBucket) {
		if !seen[name] {
			names = append(names, name)
		}
	}
	return names, nil
}

// loadPool reads a pool from the runtime record, or else from the durable one, or
// from that if it is the newer of both.
func (r *records) loadPool(st *core.State, name string) error {
	var p, durable savedPool
	data, ok, err := r.dir.GetFile(poolPrefix + name)
	if err == nil && ok {
		r.older = true
		p, err = readPool(name, data)
	}
	var wrong error
	if data, ok := r.values.Get(poolBucket, name); ok {
		durable, wrong = readPool(name, data)
	}
	if p.Pool == nil || durable.Pool != nil && durable.Saved > p.Saved {
		r.behind[recordName{name, wholePool}] = store.ErrDamaged // to be written again
	}
	switch {
	case p.Pool == nil && durable.Pool == nil:
		if err = errors.Join(err, wrong); err != nil {
			err = fmt.Errorf("%w (it starts afresh)", err)
		}
		return err
	case p.Pool == nil, durable.Pool != nil && durable.Saved > p.Saved:
		p = durable
	}
	r.saves[name] = p.Saved
	workers, lost := r.loadWorkers(name)
	st.Load(p.Pool, workers)
	return errors.Join(err, lost)
}

func readPool(name string, data []byte) (savedPool, error) {
	p := savedPool{Pool: &core.Pool{}}
	if err := json.Unmarshal(data, &p); err != nil {
		return savedPool{}, fmt.Errorf("cannot read the record of pool %s: %w", name, err)
	}
	if p.Name != name || p.Config == nil {
		return savedPool{}, fmt.Errorf("cannot read the record of pool %s: it is not whole", name)
	}
	return p, nil
}

func (r *records) loadWorkers(pool string) ([]*core.Worker, error) {
	t, err := r.dir.Table(pool, 0, 0)
	if errors.Is(err, unix.ENOSPC) {
		return nil, nil // there was none, and there is no room for one: it is made when it can be
	}
	if err != nil {
		return nil, err
	}
	r.tables[pool] = t
	var stored []storedWorker
	err = t.Each(func(slot int, data []byte, err error) {
		stored = append(stored, storedWorker{slot: slot, data: data, err: err})
	})
	decodeWorkers(pool, stored)
	var workers []*core.Worker
	damaged := []error{err}
	for _, w := range stored {
		if w.err != nil {
			damaged = append(damaged, w.err)
		} else {
			workers = append(workers, w.worker)
			r.sound[recordName{pool, w.slot}] = true
		}
	}
	return workers, errors.Join(damaged...)
}

func (r *records) saveHost() error {
	data, err := json.Marshal(r.host)
	if err != nil {
		return err
	}
	return r.note(recordName{}, r.dir.PutFile(superdRecord, data))
}

// reserveSeq keeps the number up to which events may be numbered.
func (r *records) reserveSeq(limit uint64) error {
	r.host.Seq = limit
	data, _ := json.Marshal(limit) // a number
	r.values.Put(superdBucket, seqKey, data)
	return r.saveHost()
}

func (r *records) savePool(p *core.Pool) error {
	r.saves[p.Name]++
	data, err := json.Marshal(savedPool{p, r.saves[p.Name]})
	if err != nil {
		return fmt.Errorf("cannot save pool %s: %w", p.Name, err)
	}
	// The durable one is the newer only if there was no room for this one.
	err = r.note(recordName{p.Name, wholePool}, r.dir.PutFile(poolPrefix+p.Name, data))
	r.values.Put(poolBucket, p.Name, data)
	return err
}

func (r *records) saveWorker(p *core.Pool, w *core.Worker) error {
	data, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("cannot save %s/%d: %w", p.Name, w.Index, err)
	}
	t, err := r.table(p, w.Index+1, len(data))
	if t != nil && w.Index < t.Slots() && len(data) <= t.Size() {
		err = t.Put(w.Index, data)
	}
	return r.note(recordName{p.Name, w.Index}, err)
}

// table is a pool's table, with room for all its workers and for what they may
// come to need: later nothing has to be asked of a disk that may be full.
func (r *records) table(p *core.Pool, slots, size int) (*store.Table, error) {
	t := r.tables[p.Name]
	if t != nil && slots <= t.Slots() && size <= t.Size() {
		return t, nil
	}
	slots = max(slots, len(p.Workers))
	size = max(size, workerRecordBase+workerRecordStamp*min(p.Config.Restart.Attempts, 1000))
	if t != nil {
		return t, t.Grow(slots, size)
	}
	t, err := r.dir.Table(p.Name, slots, size)
	if err != nil { // no room, most likely: what is there serves those whom it has
		var none error
		if t, none = r.dir.Table(p.Name, 0, 0); none != nil {
			return nil, err
		}
	}
	r.tables[p.Name] = t
	return t, err
}

// dropWorkers forgets the workers from an index on.
func (r *records) dropWorkers(pool string, from int) error {
	t := r.tables[pool]
	if t == nil {
		return nil
	}
	var errs []error
	for slot := from; slot < t.Slots(); slot++ {
		errs = append(errs, t.Clear(slot))
	}
	return errors.Join(errs...)
}

func (r *records) dropPool(name string) error {
	r.values.Delete(poolBucket, name)
	r.values.DropHistory(name)
	maps.DeleteFunc(r.behind, func(n recordName, _ error) bool { return n.pool == name })
	var errs []error
	if t := r.tables[name]; t != nil {
		errs = append(errs, t.Remove())
		delete(r.tables, name)
	}
	errs = append(errs, r.dir.RemoveFile(poolPrefix+name))
	return errors.Join(errs...)
}

func (r *records) close() error {
	var errs []error
	for _, t := range r.tables {
		errs = append(errs, t.Close())
	}
	errs = append(errs, r.state.Close(), r.journal.Close(), r.dir.Close())
	if err := errors.Join(errs...); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

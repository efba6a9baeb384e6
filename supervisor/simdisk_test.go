package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/store"
)

// simDisk is what superd keeps, written and read by the code that does it in
// earnest: runtime_dir in files, state_dir as what would be in its file.
//
// A crash is looked at after every action, and few of them end the world at hand.
// So that not everything has to be read each time, kept has what was read back of
// each record after it was written, and every real death holds that reading it all
// gives the same.
type simDisk struct {
	dir     string // runtime_dir
	rec     *records
	values  *simValues
	kept    map[string]*simKept
	saves   int
	configs []*config.Pool // all that were ever in force
	// forgetful: the records may be of another boot, and nobody asks how its runs ended.
	forgetful bool
	every     int // one record in so many is decoded when it is written, the others are copied
}

// simKept is what lies on disk of a pool.
type simKept struct {
	pool    *core.Pool
	data    []byte
	workers []simKeptWorker // by index; without a worker: none
}

type simKeptWorker struct {
	worker *core.Worker
	data   []byte
}

// simValues stands for state_dir: what was put, and what of it is on disk, which
// may be much older.
type simValues struct {
	values map[string]map[string][]byte
	old    map[string]map[string][]byte
	last   []byte // the last record of a pool

	// Of the history of exits: whose are on disk, which are to be written, and whose
	// must not be lost, by run and with their pools.
	exits   map[string]string
	queue   []simExit
	owed    map[string]string
	settled func(n int)
	// again are runs whose start failed in superd alone: it died before their records
	// said so, and they were asked for once more and have another end.
	again map[string]bool
}

type simExit struct{ pool, run string }

func newSimValues() *simValues {
	return &simValues{values: map[string]map[string][]byte{}, old: map[string]map[string][]byte{}, exits: map[string]string{}, owed: map[string]string{}, again: map[string]bool{}}
}

// Append has an exit written behind.
func (v *simValues) Append(pool string, e store.Entry) {
	if !e.Perhaps && !v.again[e.ID] && (v.exits[e.ID] != "" || slices.ContainsFunc(v.queue, func(x simExit) bool { return x.run == e.ID })) {
		panic(broken("how " + e.ID + " ended is kept twice"))
	}
	v.queue = append(v.queue, simExit{pool, e.ID})
}

func (v *simValues) OnSettled(f func(n int)) { v.settled = f }

// DropHistory forgets a pool's exits.
func (v *simValues) DropHistory(pool string) {
	for i := range v.queue {
		if v.queue[i].pool == pool {
			v.queue[i].pool = ""
		}
	}
	maps.DeleteFunc(v.exits, func(_, of string) bool { return of == pool })
	maps.DeleteFunc(v.owed, func(_, of string) bool { return of == pool })
}

// exitsKept holds that no exit was lost on its way to the disk.
func (v *simValues) exitsKept() {
	for run := range v.owed {
		if v.exits[run] == "" && !slices.ContainsFunc(v.queue, func(e simExit) bool { return e.run == run }) {
			panic(broken("how " + run + " ended is known nowhere any more"))
		}
	}
}

// exitsWritten has the disk catch up with the exits.
func (v *simValues) exitsWritten() {
	for _, e := range v.queue {
		if e.pool != "" {
			v.exits[e.run] = e.pool
		}
	}
	if len(v.queue) > 0 {
		v.settled(len(v.queue))
		v.queue = nil
	}
}

func (v *simValues) Get(bucket, key string) ([]byte, bool) {
	data, ok := v.values[bucket][key]
	return data, ok
}

func (v *simValues) All(bucket string) map[string][]byte { return v.values[bucket] }

func (v *simValues) Put(bucket, key string, value []byte) {
	if bucket == poolBucket {
		v.last = value
	}
	if v.values[bucket] == nil {
		v.values[bucket] = map[string][]byte{}
	}
	v.values[bucket][key] = value
}

func (v *simValues) Delete(bucket, key string) { delete(v.values[bucket], key) }

// written has the disk catch up.
func (v *simValues) written() {
	v.old = map[string]map[string][]byte{}
	for bucket, values := range v.values {
		v.old[bucket] = maps.Clone(values)
	}
}

func newSimDisk(dir string, every int) *simDisk {
	d := &simDisk{dir: dir, values: newSimValues(), kept: map[string]*simKept{}, every: every}
	os.RemoveAll(dir)
	must(os.Mkdir(dir, 0o700))
	return d
}

func must(err error) {
	if err != nil {
		panic(broken(err.Error()))
	}
}

// close is what a death does to the files that superd has open.
func (d *simDisk) close() {
	if d.rec != nil {
		d.rec.shut()
		d.rec, d.values.queue = nil, nil
	}
}

// shut closes files.
func (r *records) shut() {
	for _, t := range r.tables {
		t.Close()
	}
	r.journal.Close()
	r.dir.Close()
}

// open reads everything, as a superd that starts does.
func (d *simDisk) open(seed uint64) (st *core.State, sameBoot bool) {
	rec, st, sameBoot := d.read(seed)
	rec.openJournal()
	must(rec.noJournal)
	d.values.written() // what a superd that starts finds is on disk
	d.rec = rec
	return st, sameBoot
}

func (d *simDisk) read(seed uint64) (*records, *core.State, bool) {
	dir, err := store.OpenDir(d.dir + "/records")
	must(err)
	rec := newRecords(dir, nil)
	rec.values = d.values
	st := core.New(seed)
	sameBoot, damage, err := rec.load(st)
	must(err)
	if len(damage) > 0 {
		panic(broken(fmt.Sprintf("damage is found where there is none: %q", damage)))
	}
	return rec, st, sameBoot
}

// mayChange does one of the actions that concern the disk, and tells if the disk is
// another afterwards.
func (d *simDisk) save(a core.Action) bool {
	switch a := a.(type) {
	case core.SaveExit:
		must(d.rec.saveExit(newExit(a)))
		d.values.owed[a.Run.ID] = a.Pool.Name
		return false // it is saved once more
	case core.SavePool:
		must(d.rec.savePool(a.Pool))
		return d.keepPool(a.Pool)
	case core.SaveWorker:
		must(d.rec.saveWorker(a.Pool, a.Worker))
		return d.keepWorker(a.Pool, a.Worker)
	case core.DropWorkers:
		must(d.rec.dropWorkers(a.Pool.Name, a.Count))
		if k := d.kept[a.Pool.Name]; k != nil && len(k.workers) > a.Count {
			k.workers = k.workers[:a.Count]
			return true
		}
		return false
	case core.DropPool:
		must(d.rec.dropPool(a.Name))
		delete(d.kept, a.Name)
		return true
	}
	panic(fmt.Sprintf("%T saves nothing", a))
}

func (d *simDisk) keepPool(p *core.Pool) bool {
	k := d.kept[p.Name]
	if k == nil {
		k = &simKept{}
		d.kept[p.Name] = k
	}
	if k.data != nil && bytes.Equal(k.data, d.values.last) {
		return false
	}
	k.data = d.values.last
	if d.saves++; d.saves%d.every == 0 {
		k.pool = &core.Pool{}
		must(json.Unmarshal(k.data, k.pool))
		for _, r := range k.pool.Revisions {
			r.Config = d.intern(r.Config)
		}
		k.pool.Config = d.intern(k.pool.Config)
		d.likeness("pool "+p.Name, copyPool(p), k.pool)
		return true
	}
	k.pool = copyPool(p)
	return true
}

func (d *simDisk) keepWorker(p *core.Pool, w *core.Worker) bool {
	data, ok, err := d.rec.tables[p.Name].Get(w.Index)
	must(err)
	if !ok {
		panic(broken(fmt.Sprintf("the record of %s/%d is not there after it was saved", p.Name, w.Index)))
	}
	k := d.kept[p.Name]
	if k == nil {
		panic(broken(fmt.Sprintf("%s/%d is saved before its pool", p.Name, w.Index)))
	}
	for len(k.workers) <= w.Index {
		k.workers = append(k.workers, simKeptWorker{})
	}
	slot := &k.workers[w.Index]
	if slot.worker != nil && bytes.Equal(slot.data, data) {
		return false
	}
	slot.data = data
	if old := slot.worker; old != nil && old.Run != nil && (w.Run == nil || w.Run.ID != old.Run.ID) && d.values.owed[old.Run.ID] == "" && !d.forgetful {
		panic(broken("how " + old.Run.ID + " ended is not kept, and its record has gone"))
	}
	if d.saves++; d.saves%d.every == 0 {
		slot.worker = &core.Worker{}
		must(json.Unmarshal(data, slot.worker))
		d.likeness("worker", w, slot.worker)
		return true
	}
	slot.worker = w.Clone()
	return true
}

// likeness holds that what was read is what was written.
func (d *simDisk) likeness(what string, written, read any) {
	c := &simCompare{strict: true}
	if diff := c.value(written, read); diff != "" {
		panic(broken(fmt.Sprintf("the record of %s is not what was saved: %s", what, diff)))
	}
}

// intern gives the configuration that is equal to one that was read: to compare
// them once is enough.
func (d *simDisk) intern(c *config.Pool) *config.Pool {
	for i := len(d.configs) - 1; i >= 0; i-- {
		if reflect.DeepEqual(d.configs[i], c) {
			return d.configs[i]
		}
	}
	return c
}

// copyPool is a pool as it is read: its workers are no part of the record.
func copyPool(p *core.Pool) *core.Pool {
	c := p.Clone(nil)
	if p.Deployment != nil {
		c.Deployment.Steps = p.Deployment.Steps
	}
	return c
}

// recall is what a superd would load now.
func (d *simDisk) recall(seed uint64) *core.State {
	st := core.New(seed)
	for _, name := range simNames {
		k := d.kept[name]
		if k == nil || k.pool == nil {
			continue
		}
		workers := make([]*core.Worker, 0, len(k.workers))
		for _, w := range k.workers {
			if w.worker != nil {
				workers = append(workers, w.worker.Clone())
			}
		}
		st.Load(copyPool(k.pool), workers)
	}
	return st
}

// otherState puts something else in the place of state_dir. What runtime_dir has is
// read as before.
func (d *simDisk) otherState(values map[string]map[string][]byte) {
	d.values.values = values
	d.values.written()
	before := d.recall(0)
	rec, after, _ := d.read(0)
	d.keepAll(rec, after)
	d.rec = rec
	d.close()
	for _, name := range simNames {
		if _, err := os.Stat(d.dir + "/records/" + poolPrefix + name + ".record"); err != nil {
			delete(before.Pools, name)
			delete(after.Pools, name)
		}
	}
	d.alike("state_dir is lost or old", before, after)
}

// keepAll takes over what was really read.
func (d *simDisk) keepAll(rec *records, st *core.State) {
	clear(d.kept)
	for name, p := range st.Pools {
		k := &simKept{pool: copyPool(p)}
		for _, w := range p.Workers {
			slot := simKeptWorker{}
			if t := rec.tables[name]; w.Index < t.Slots() {
				if _, ok, _ := t.Get(w.Index); ok { // else it was made up
					slot.worker = w.Clone()
				}
			}
			k.workers = append(k.workers, slot)
		}
		d.kept[name] = k
	}
}

// whole tells whether every worker that was loaded has a record.
func (d *simDisk) whole(st *core.State) bool {
	for name, p := range st.Pools {
		k := d.kept[name]
		if k == nil || len(k.workers) < len(p.Workers) {
			return false
		}
		for _, w := range k.workers {
			if w.worker == nil {
				return false
			}
		}
	}
	return true
}

// saved is the record of the worker that has a run.
func (d *simDisk) saved(run string) *core.Worker {
	for _, k := range d.kept {
		for _, w := range k.workers {
			if w.worker != nil && w.worker.Run != nil && w.worker.Run.ID == run {
				return w.worker
			}
		}
	}
	return nil
}

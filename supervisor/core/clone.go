package core

import (
	"cmp"
	"slices"
)

// Clone copies a worker for readers. What is only ever replaced, never changed
// (exits, sequences, revisions), is shared.
func (w *Worker) Clone() *Worker {
	c := *w
	c.alarm = alarm{}
	c.Window = slices.Clone(w.Window)
	if w.Run != nil {
		run := *w.Run
		if run.Stop != nil {
			stop := *run.Stop
			run.Stop = &stop
		}
		c.Run = &run
	}
	if w.Step != nil {
		step := *w.Step
		c.Step = &step
	}
	return &c
}

// Clone copies a pool for readers, with the given copies of its workers.
func (p *Pool) Clone(workers []*Worker) *Pool {
	c := *p
	c.alarm = alarm{}
	c.Workers = workers
	c.Past = slices.Clone(p.Past)
	c.WaitsFor = slices.Clone(p.WaitsFor)
	c.Revisions = make([]*Revision, len(p.Revisions))
	for i, r := range p.Revisions {
		revision := *r
		c.Revisions[i] = &revision
	}
	if p.Deployment != nil {
		d := *p.Deployment
		d.Steps = p.steps(p.Deployment)
		c.Deployment = &d
	}
	return &c
}

// sortedKeys are a map's keys in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

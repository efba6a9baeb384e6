package core

import (
	"container/heap"
	"time"
)

// alarm is a worker's or a pool's place in the heap of deadlines. The heap is
// derived: rearm computes the deadline anew from the state after each change,
// so no deadline can outlive what it was for.
type alarm struct {
	at     time.Duration
	armed  bool
	place  int
	pool   *Pool
	worker *Worker // nil: the pool's own alarm
}

// alarms is a heap by instant; at one instant by pool and index, so that the
// order of decisions never depends on the order of insertion.
type alarms []*alarm

func (h alarms) Len() int { return len(h) }
func (h alarms) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case a.at != b.at:
		return a.at < b.at
	case a.pool.Name != b.pool.Name:
		return a.pool.Name < b.pool.Name
	}
	return a.index() < b.index()
}
func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *alarms) Push(x any) {
	a := x.(*alarm)
	a.place = len(*h)
	*h = append(*h, a)
}
func (h *alarms) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return a
}

// index sorts a pool's own alarm before those of its workers.
func (a *alarm) index() int {
	if a.worker == nil {
		return -1
	}
	return a.worker.Index
}

// set moves an alarm to the deadline t, or takes it out when t is zero.
func (h *alarms) set(a *alarm, t Time) {
	switch {
	case t.IsZero() && a.armed:
		heap.Remove(h, a.place)
		a.armed = false
	case t.IsZero():
	case !a.armed:
		a.at, a.armed = t.Boot, true
		heap.Push(h, a)
	case a.at != t.Boot:
		a.at = t.Boot
		heap.Fix(h, a.place)
	}
}

// earliest is the sooner of two deadlines, of which either may be zero.
func earliest(a, b Time) Time {
	if a.IsZero() || (!b.IsZero() && b.Boot < a.Boot) {
		return b
	}
	return a
}

package logs

import (
	"sync/atomic"
	"time"
)

const stallTime = time.Second

// stall watches a goroutine that may hang in a system call. It costs a clock
// reading per call, one timer a second while there is something to do, and
// nothing at all while there is not.
type stall struct {
	report func(d time.Duration, over bool) // from a timer's goroutine, or the watched one when it is over

	beat  atomic.Int64 // when the call in flight began, ns since start; 0: none
	armed atomic.Bool
	said  atomic.Bool
}

var start = time.Now()

func (w *stall) begin() {
	w.beat.Store(int64(time.Since(start)) | 1)
	if !w.armed.Load() && !w.armed.Swap(true) {
		time.AfterFunc(stallTime, w.look)
	}
}

func (w *stall) end() {
	began := w.beat.Swap(0)
	if w.said.Load() && w.said.Swap(false) {
		w.report(time.Since(start)-time.Duration(began), true)
	}
}

func (w *stall) look() {
	w.armed.Store(false)
	began := w.beat.Load()
	if began == 0 {
		return
	}
	if took := time.Since(start) - time.Duration(began); took >= stallTime && !w.said.Swap(true) {
		if w.beat.Load() != began { // it went on in this very moment
			w.said.Store(false)
		} else {
			w.report(took, false)
		}
	}
	if !w.armed.Swap(true) {
		time.AfterFunc(stallTime, w.look)
	}
}

// stalled tells of a disk that hangs, or that goes on.
func (d *device) stalled(took time.Duration, over bool) {
	f := d.current.Load()
	if f == nil {
		return
	}
	n := Notice{Kind: Stalled, Err: errHangs}
	if over {
		n = Notice{Kind: Stalled, For: took}
	}
	d.m.opt.Notify(f.notice(n))
}

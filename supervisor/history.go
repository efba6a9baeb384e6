package supervisor

import (
	"sync"
	"time"

	"github.com/superd/superd/supervisor/core"
)

// seqBlock is how many sequence numbers are reserved on disk at a time. After a
// crash the numbers go on with the next block, so none is ever used twice.
const seqBlock = 1000

// minEvents is how many events are kept in memory at least.
const minEvents = 10_000

// history is the events in memory. It is safe for concurrent use.
type history struct {
	mu     sync.Mutex
	ring   []Event // in order, starting at first
	first  int
	size   int // how many are kept
	last   uint64
	limit  uint64 // reserved so far
	more   chan struct{}
	waited bool // somebody holds more
	// reserve keeps a number that no event has reached yet. It may add events.
	reserve func(limit uint64)
}

// newHistory goes on after the numbers that were reserved before.
func newHistory(reserved uint64, reserve func(uint64)) *history {
	return &history{last: reserved, limit: reserved, size: minEvents, more: make(chan struct{}), reserve: reserve}
}

// add gives a notice its number and place. It is called on the loop.
func (h *history) add(at time.Time, n core.Notice) Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last >= h.limit {
		h.limit = h.last + 1 + seqBlock
		limit := h.limit
		h.mu.Unlock() // what goes wrong in it is an event, too
		h.reserve(limit)
		h.mu.Lock()
	}
	h.last++
	e := Event{Seq: h.last, Time: at, Notice: n}
	if len(h.ring) < h.size {
		h.ring = append(h.ring, e)
	} else {
		h.ring[h.first] = e
		h.first = (h.first + 1) % len(h.ring)
	}
	if h.waited {
		close(h.more)
		h.more, h.waited = make(chan struct{}), false
	}
	return e
}

// resize makes room for a host with so many workers: a restart of all of them
// must fit.
func (h *history) resize(workers int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	size := max(minEvents, 20*workers)
	if size <= h.size {
		return
	}
	h.ring = append(h.ring[h.first:len(h.ring):len(h.ring)], h.ring[:h.first]...)
	h.first, h.size = 0, size
}

// after are up to limit events with a number above seq, oldest first, the
// oldest number in memory, and a channel that is closed when there are more.
func (h *history) after(seq uint64, limit int) ([]Event, uint64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waited = true
	n := len(h.ring)
	if n == 0 {
		return nil, 0, h.more
	}
	at := func(i int) Event { return h.ring[(h.first+i)%n] }
	oldest := at(0).Seq
	start := 0
	if seq >= oldest {
		start = int(min(seq-oldest+1, uint64(n)))
	}
	count := min(n-start, limit)
	events := make([]Event, 0, count)
	for i := range count {
		events = append(events, at(start+i))
	}
	return events, oldest, h.more
}

// seq is the newest number.
func (h *history) seq() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Beside its values a State has histories: lists of entries by name, of which the
// last thousand are kept. They are not held in memory: what is appended waits for
// the writer, and reading asks it.
const (
	// maxHistory is how many entries are kept of a history.
	maxHistory = 1000
	// maxQueued is how many entries may wait for the disk, over all histories. Those
	// of one are at most maxHistory: more would be gone again once written.
	maxQueued = 20_000
)

// linger is how long after the first of several entries they are written, together;
// changed by tests alone.
var linger = 200 * time.Millisecond

// Entry is what is kept in a history. Its ID is unique in it.
type Entry struct {
	ID   string
	Data []byte
	// Perhaps means that it may be there already, from before superd's death; then
	// the one that is there counts.
	Perhaps bool
}

// queue is what is to be done to a history.
type queue struct {
	drop    bool // what is on disk is to go first
	entries []Entry
}

// ask is a question to the writer for a history.
type ask struct {
	name   string
	answer chan told // capacity 1
}

// told is the answer: entries from the oldest on.
type told struct {
	data [][]byte
	err  error
}

// Append adds an entry to a history, which it makes. It returns at once; it is
// written soon, together with others. After Close it does nothing.
func (s *State) Append(name string, e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" || e.ID == "" {
		panic("store: a history's name and an entry's ID must not be empty")
	}
	if s.closing {
		return
	}
	q := s.queued[name]
	if q == nil {
		q = &queue{}
		s.queued[name] = q
	}
	q.entries = append(q.entries, e)
	s.waiting++
	s.puts++
	s.bound(q)
	if !s.lingering {
		s.lingering = true
		time.AfterFunc(linger, func() { wake(s.wake) })
	}
}

// bound drops the oldest of what waits beyond all bounds. The caller has the lock.
func (s *State) bound(q *queue) {
	if over := len(q.entries) - maxHistory; over > 0 {
		s.dismiss(q, over)
	}
	for s.waiting > maxQueued {
		longest := q
		for _, other := range s.queued {
			if len(other.entries) > len(longest.entries) {
				longest = other
			}
		}
		s.dismiss(longest, 1)
		if !s.overflown {
			s.overflown = true
			wake(s.changed)
		}
	}
}

func (s *State) dismiss(q *queue, n int) {
	clear(q.entries[:n])
	q.entries = q.entries[n:]
	s.waiting -= n
	s.settleEntries(n)
}

// settleEntries tells that so many entries are on disk, or not to be kept.
func (s *State) settleEntries(n int) {
	if s.settled != nil && n > 0 {
		s.settled(n)
	}
}

// DropHistory removes a history. What is appended afterwards begins another one.
func (s *State) DropHistory(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	if q := s.queued[name]; q != nil {
		s.dismiss(q, len(q.entries))
	}
	s.queued[name] = &queue{drop: true}
	s.puts++
	wake(s.wake)
}

// OnSettled has f called with how many entries are on disk, or given up, since the
// last call. It comes before the first Append. f must not call State, nor block.
func (s *State) OnSettled(f func(n int)) { s.settled = f }

// History gives the entries of a history, oldest first, those that still wait for
// the disk included. Beside an error, which is ctx's or tells what cannot be read,
// it gives what is in memory.
func (s *State) History(ctx context.Context, name string) ([][]byte, error) {
	q := &ask{name: name, answer: make(chan told, 1)}
	s.mu.Lock()
	s.asked = append(s.asked, q)
	s.mu.Unlock()
	wake(s.wake)
	select {
	case a := <-q.answer:
		return a.data, a.err
	case <-s.ended:
		return s.remembered(name), fmt.Errorf("cannot read %s: %w", s.disk.path(), ErrClosed)
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.asked = slices.DeleteFunc(s.asked, func(other *ask) bool { return other == q })
	s.mu.Unlock()
	return s.remembered(name), fmt.Errorf("cannot read %s: the disk does not answer", s.disk.path())
}

// remembered is what is in memory of a history.
func (s *State) remembered(name string) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var data [][]byte
	for _, queues := range []map[string]*queue{s.flying, s.queued} {
		q := queues[name]
		if q == nil {
			continue
		}
		if q.drop {
			data = nil
		}
		for _, e := range q.entries {
			data = append(data, e.Data)
		}
	}
	return data
}

// answer answers those who ask for histories. It is the writer's.
func (s *State) answer(asked []*ask) {
	for _, q := range asked {
		data, err := s.readHistory(q.name)
		q.answer <- told{data, err}
	}
}

// readHistory reads what is on disk, and adds what could not be written.
func (s *State) readHistory(name string) ([][]byte, error) {
	values, err := s.disk.ensure()
	s.merge(values)
	data, damaged, readErr := s.disk.history(name)
	if errors.Is(readErr, errUnreadable) {
		// A new file takes what is in memory.
		if aside := s.disk.setAside(readErr); aside != nil {
			readErr = aside
		}
		s.report("", s.disk.takeNotes()...)
		data = nil
	}
	if readErr == nil {
		err = nil // it could be read, if not written
	} else if err == nil {
		err = readErr
	}
	if s.disk.rewrite {
		wake(s.wake)
	}
	if damaged > 0 {
		err = errors.Join(err, fmt.Errorf("%d of its entries in %s are damaged", damaged, s.disk.path()))
	}
	s.mu.Lock()
	if q := s.queued[name]; q != nil && q.drop {
		data = nil
	}
	s.mu.Unlock()
	data = append(data, s.remembered(name)...)
	return data[max(0, len(data)-maxHistory):], err
}

// takeEntries empties the queue of entries; they fly until landed says how it went.
func (s *State) takeEntries() map[string]*queue {
	s.flying, s.queued = s.queued, make(map[string]*queue)
	s.waiting, s.lingering = 0, false
	return s.flying
}

// landed ends the flight: what could not be written is queued again, before what
// was appended meanwhile. The caller has the lock.
func (s *State) landed(err error) {
	flown := s.flying
	s.flying = nil
	for name, q := range flown {
		if err == nil {
			s.settleEntries(len(q.entries))
			continue
		}
		later := s.queued[name]
		if later != nil && later.drop {
			s.settleEntries(len(q.entries))
			continue
		}
		if later != nil {
			q.entries = append(q.entries, later.entries...)
		}
		s.queued[name] = q
	}
	if err == nil {
		s.overflown = false
		return
	}
	s.waiting = 0
	for _, q := range s.queued {
		s.waiting += len(q.entries)
	}
	for _, q := range s.queued {
		s.bound(q)
	}
}

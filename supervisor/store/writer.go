package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// follow is the writer: the only goroutine that touches the disk. It does nothing
// at all while nothing changes.
func (s *State) follow() {
	defer close(s.ended)
	// A damaged file is read through a mapping: what would be SIGBUS, and the end
	// of superd, becomes a panic of this goroutine that guard turns into an error.
	debug.SetPanicOnFault(true)
	values, err := s.disk.ensure()
	s.merge(values)
	s.mu.Lock()
	s.fresh = err == nil && s.disk.fresh && len(s.disk.notes) == 0
	s.mu.Unlock()
	s.settle(err)
	if errors.Is(err, ErrLocked) || errors.Is(err, ErrNewer) {
		s.refused = err
	}
	close(s.loaded)
	if s.refused != nil {
		return
	}
	if s.disk.rewrite {
		wake(s.wake)
	}
	var retry <-chan time.Time // nil: what was queued is written
	for {
		select {
		case <-s.wake:
		case <-retry:
		}
		s.mu.Lock()
		closing, idle := s.closing, len(s.dirty) == 0 && len(s.queued) == 0
		asked := s.asked // with what was queued before: an answer has it
		s.asked = nil
		s.mu.Unlock()
		retry = nil
		if !idle || s.disk.rewrite || s.disk.lost() {
			if s.write() != nil {
				retry = time.After(retryPause)
			}
		}
		s.answer(asked)
		if closing {
			s.disk.close()
			s.disk.forgetFormer()
			return
		}
	}
}

// retryPause is how long after a failure the disk is tried again, though nothing has
// changed meanwhile.
const retryPause = 2 * time.Second

// write tries to put on disk what was queued. What could not be written stays
// queued, to be tried again soon, or by the next Put or Flush.
func (s *State) write() error {
	s.mu.Lock()
	s.begun++
	number := s.begun
	s.mu.Unlock()
	hung := time.AfterFunc(hangTime, func() { s.hangs(number) })
	defer hung.Stop()
	if s.disk.lost() {
		s.disk.vanished()
		s.report(s.disk.path() + " was removed or replaced (it is being written anew)")
	}
	upTo, err := s.writeOnce()
	if errors.Is(err, errUnreadable) {
		// The file went bad under our hands and was set aside: a new one takes everything.
		upTo, err = s.writeOnce()
	}
	if err == nil && s.disk.renewed {
		s.disk.renewed = false
		s.mu.Lock()
		s.renewals++
		s.mu.Unlock()
		wake(s.changed)
	}
	s.settle(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.written = upTo
	}
	s.tried = attempt{number: s.begun, upTo: upTo, err: err}
	close(s.news)
	s.news = make(chan struct{})
	return err
}

// hangTime is how long a write may take until it is said that the disk hangs.
const hangTime = 5 * time.Second

// hangs tells that an attempt to write has not ended. It is called by a timer.
func (s *State) hangs(attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done >= attempt {
		return
	}
	s.trouble = fmt.Sprintf("cannot write %s: the disk does not answer (kept in memory until it does)", s.disk.path())
	wake(s.changed)
}

func (s *State) writeOnce() (upTo uint64, err error) {
	values, err := s.disk.ensure()
	s.merge(values)
	batch, entries, upTo := s.take()
	if err == nil {
		err = s.disk.commit(batch, entries)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		for k := range batch {
			s.dirty[k] = struct{}{}
		}
	}
	s.landed(err)
	return upTo, err
}

// merge brings what was found on disk into memory, except for keys that are
// newer there.
func (s *State) merge(values map[stateKey][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, value := range values {
		if _, changed := s.dirty[k]; !changed {
			s.set(k.bucket, k.key, value)
		}
	}
}

// take empties the queue: the values to write, nil for those to delete, and what
// is to be done to histories. When the file is a new one the values are all there are.
func (s *State) take() (batch map[stateKey][]byte, entries map[string]*queue, upTo uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch = make(map[stateKey][]byte, len(s.dirty))
	for k := range s.dirty {
		batch[k] = s.values[k.bucket][k.key]
	}
	if s.disk.rewrite {
		for bucket, values := range s.values {
			for key, value := range values {
				batch[stateKey{bucket, key}] = value
			}
		}
	}
	clear(s.dirty)
	return batch, s.takeEntries(), s.puts
}

// settle makes known how the last thing done to the disk went.
func (s *State) settle(err error) {
	trouble := ""
	if err != nil {
		trouble = fmt.Sprintf("%v (kept in memory, tried again every %s)", err, retryPause)
	}
	s.mu.Lock()
	s.done = s.begun
	s.mu.Unlock()
	s.report(trouble, s.disk.takeNotes()...)
}

// report keeps what is wrong just now, and notes of what went wrong for good.
func (s *State) report(trouble string, notes ...string) {
	s.mu.Lock()
	news := trouble != s.trouble || len(notes) > 0
	s.trouble = trouble
	s.notes = append(s.notes, notes...)
	s.mu.Unlock()
	if news {
		wake(s.changed)
	}
}

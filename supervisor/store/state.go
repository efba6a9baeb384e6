package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// State is what outlives a reboot: values by bucket and key, and histories (see
// Append). All values are held in memory; reading them never touches the disk, and a
// write is queued for a goroutine that follows behind, so that neither a slow nor a
// broken disk delays anybody but those who call Flush, Close or History. All methods
// are safe for concurrent use.
//
// A disk that is read-only, full or gone makes the state degraded, not unusable:
// the values stay in memory, and the disk is tried again every few seconds.
type State struct {
	wake    chan struct{} // capacity 1: there is something to write, or to end
	changed chan struct{} // capacity 1: Degraded may answer something else
	loaded  chan struct{} // closed when the file was read, or found unreadable
	refused error         // ErrLocked or ErrNewer; set before loaded is closed
	ended   chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	values  map[string]map[string][]byte
	dirty   map[stateKey]struct{} // to be written; what values does not have, to be deleted
	puts    uint64                // how many changes were queued
	written uint64                // how many of those are on disk
	begun   uint64                // how many attempts to write have begun
	done    uint64                // and how many of those have ended
	tried   attempt               // the last one that has ended
	news    chan struct{}         // closed and replaced whenever tried changes
	notes   []string              // what went wrong for good
	trouble string                // what is wrong just now
	closing bool
	fresh   bool
	// renewals is how often the file was written anew after it had vanished.
	renewals int

	// Histories are in history.go. By name: what waits to be written, and what is
	// being written.
	queued, flying map[string]*queue
	waiting        int    // entries in queued
	lingering      bool   // a timer is set for what is queued
	overflown      bool   // entries were given up for want of a disk
	asked          []*ask // by those who wait to read
	settled        func(n int)

	disk *disk // of the writer alone
}

type stateKey struct{ bucket, key string }

// attempt is one try to write what was queued.
type attempt struct {
	number uint64 // from 1, in the order of their beginning
	upTo   uint64 // it covered this many changes
	err    error
}

// How long the disk is waited for before superd goes on without it; changed by
// tests alone.
var (
	loadPatience  = 10 * time.Second
	closePatience = 5 * time.Second
)

// OpenState reads the state of a folder, which it makes (0700, with parents) when
// it is not there. The errors are ErrLocked, when another superd has the same folder,
// and ErrNewer, and then nothing was changed: whatever else is wrong is in Degraded,
// and superd can work. A file that is damaged or foreign is renamed to
// state.db.broken-TIME; what could be read of a damaged one is kept.
//
// A disk that does not answer is waited for ten seconds. What it holds appears
// when it does answer, but for keys that were put meanwhile.
func OpenState(dir string) (*State, error) {
	s := &State{
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		loaded:  make(chan struct{}),
		ended:   make(chan struct{}),
		values:  make(map[string]map[string][]byte),
		dirty:   make(map[stateKey]struct{}),
		news:    make(chan struct{}),
		queued:  make(map[string]*queue),
		disk:    &disk{dir: dir},
	}
	go s.follow()
	patience := time.NewTimer(loadPatience)
	defer patience.Stop()
	select {
	case <-s.loaded:
	case <-patience.C:
		s.report(fmt.Sprintf("cannot read %s: the disk does not answer (going on without)", dir))
		return s, nil
	}
	if s.refused != nil {
		return nil, s.refused
	}
	return s, nil
}

// Put stores a value under a bucket and a key, neither of them empty. It returns
// at once; of several values put in haste the newest is written. After Close it
// does nothing.
func (s *State) Put(bucket, key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.values[bucket][key]; ok && bytes.Equal(old, value) {
		return
	}
	if s.queue(bucket, key) {
		s.set(bucket, key, append([]byte{}, value...))
	}
}

// Delete removes a value, as Put stores one. That there is none is no error.
func (s *State) Delete(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue(bucket, key) {
		delete(s.values[bucket], key)
	}
}

// queue notes that a key has changed. It refuses after Close.
func (s *State) queue(bucket, key string) bool {
	if bucket == "" || key == "" {
		panic("store: a state's bucket and key must not be empty")
	}
	if s.closing {
		return false
	}
	s.dirty[stateKey{bucket, key}] = struct{}{}
	s.puts++
	wake(s.wake)
	return true
}

func (s *State) set(bucket, key string, value []byte) {
	b := s.values[bucket]
	if b == nil {
		b = make(map[string][]byte)
		s.values[bucket] = b
	}
	b[key] = value
}

// Get gives the newest value put, on disk or not. It must not be changed.
func (s *State) Get(bucket, key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[bucket][key]
	return value, ok
}

// All gives a bucket's values by key; the values must not be changed. An unknown
// bucket is an empty one.
func (s *State) All(bucket string) map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string][]byte, len(s.values[bucket]))
	maps.Copy(all, s.values[bucket])
	return all
}

// Degraded says, in words, what does not work as it should; nil when all is
// well. That a file was set aside stays in it until superd starts anew, a disk
// that cannot be written only until it can.
func (s *State) Degraded() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append([]string(nil), s.notes...)
	if s.trouble != "" {
		all = append(all, s.trouble)
	}
	if s.overflown {
		all = append(all, fmt.Sprintf("more than %d entries of histories wait for %s: the oldest are given up", maxQueued, s.disk.path()))
	}
	return all
}

// Look has the writer look whether the file is still there, and write another one
// if not. It returns at once.
func (s *State) Look() { wake(s.wake) }

// Fresh tells that there was no file when the state was opened, or an empty one: either
// nothing was ever kept there, or somebody took it away. What was set aside, or could
// not be read at once, is told by Degraded alone.
func (s *State) Fresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fresh
}

// Renewals is how often the file had been removed or replaced by somebody, and was
// written anew from memory.
func (s *State) Renewals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewals
}

// Changed has something to receive when Degraded or Renewals may have changed. One goroutine
// may use it.
func (s *State) Changed() <-chan struct{} { return s.changed }

// Flush waits until everything put before is on disk and synced. The error is why
// it could not be written (it stays queued), ctx's when that is over first, or
// ErrClosed.
func (s *State) Flush(ctx context.Context) error {
	s.mu.Lock()
	upTo, before := s.puts, s.begun
	wake(s.wake)
	for {
		switch {
		case s.written >= upTo:
			s.mu.Unlock()
			return nil
		case s.tried.number > before && s.tried.upTo >= upTo && s.tried.err != nil:
			err := s.tried.err
			s.mu.Unlock()
			return err
		}
		news := s.news
		s.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("cannot write the state: %w", ctx.Err())
		case <-s.ended:
			return s.ending(upTo)
		}
		s.mu.Lock()
	}
}

// ending is Flush's answer when the writer has ended.
func (s *State) ending(upTo uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written >= upTo {
		return nil
	}
	return errors.Join(ErrClosed, s.tried.err)
}

// Close writes what is queued and ends the writer. It waits five seconds for a
// disk that does not answer, and says so. Reading still works afterwards.
func (s *State) Close() error {
	s.mu.Lock()
	s.closing = true
	upTo := s.puts
	s.mu.Unlock()
	wake(s.wake)
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-s.ended:
	case <-patience.C:
		return fmt.Errorf("cannot write %s: the disk does not answer (what was changed last is lost)", s.disk.path())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written < upTo {
		return s.tried.err
	}
	return nil
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

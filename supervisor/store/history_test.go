package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// appendAll appends entries whose data is their ID.
func appendAll(s *State, name string, ids ...string) {
	for _, id := range ids {
		s.Append(name, Entry{ID: id, Data: []byte(id)})
	}
}

func wantHistory(t testing.TB, s *State, name string, want ...string) {
	t.Helper()
	data, err := s.History(t.Context(), name)
	if got := string(bytes.Join(data, []byte(" "))); err != nil || got != strings.Join(want, " ") {
		t.Fatalf("%s: %q, %v; want %q (degraded: %v)", name, got, err, want, s.Degraded())
	}
}

func numbered(from, to int) (ids []string) {
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("r%05d", i))
	}
	return ids
}

func TestHistoryKeepsTheLast(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	wantHistory(t, s, "mailers")
	appendAll(s, "mailers", "b", "a", "c")
	appendAll(s, "web", "x")
	wantHistory(t, s, "mailers", "b", "a", "c") // in the order in which they came, not that of IDs
	s.Close()
	if _, err := s.History(t.Context(), "mailers"); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}

	s = openState(t, dir)
	wantDegraded(t, s, "")
	wantHistory(t, s, "mailers", "b", "a", "c")
	// More than are kept, in many transactions and in one.
	for i := 0; i < 1500; i += 300 {
		appendAll(s, "mailers", numbered(i, i+300)...)
		flush(t, s)
	}
	wantHistory(t, s, "mailers", numbered(500, 1500)...)
	appendAll(s, "mailers", numbered(1500, 4000)...)
	wantHistory(t, s, "mailers", numbered(3000, 4000)...)
	wantHistory(t, s, "web", "x")
	s.Close()
	s = openState(t, dir)
	wantHistory(t, s, "mailers", numbered(3000, 4000)...)
	if n := entriesOnDisk(t, s); n != maxHistory+1 {
		t.Errorf("%d entries on disk", n)
	}
	// One that is dropped begins anew.
	s.DropHistory("mailers")
	appendAll(s, "mailers", "later")
	wantHistory(t, s, "mailers", "later")
	s.DropHistory("web")
	wantHistory(t, s, "web")
	s.Close()
	s = openState(t, dir)
	wantHistory(t, s, "mailers", "later")
	wantHistory(t, s, "web")
}

// entriesOnDisk counts them, with the writer at rest.
func entriesOnDisk(t *testing.T, s *State) (n int) {
	t.Helper()
	flush(t, s)
	err := s.disk.db.View(func(tx *bolt.Tx) error {
		all := tx.Bucket(historyBucket)
		return all.ForEachBucket(func(name []byte) error {
			n += all.Bucket(name).Stats().KeyN
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHistoryOfAgain: what comes back after superd's death is there once.
func TestHistoryOfAgain(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	var settled atomic.Int64
	s.OnSettled(func(n int) { settled.Add(int64(n)) })
	appendAll(s, "mailers", "a", "b")
	flush(t, s)
	for _, id := range []string{"b", "c", "c"} {
		s.Append("mailers", Entry{ID: id, Data: []byte("again " + id), Perhaps: true})
	}
	wantHistory(t, s, "mailers", "a", "b", "again c")
	if n := settled.Load(); n != 5 {
		t.Errorf("%d are settled", n)
	}
}

// TestHistoryInBatches: a thousand ends at once are few transactions, and none of
// them is waited for.
func TestHistoryInBatches(t *testing.T) {
	s := openState(t, t.TempDir())
	s.Put("b", "k", nil)
	flush(t, s)
	before := attempts(s)
	for i := range 1000 {
		appendAll(s, fmt.Sprintf("pool%d", i%10), fmt.Sprint(i))
		time.Sleep(10 * time.Microsecond)
	}
	eventually(t, "all are written", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.written == s.puts
	})
	if n := attempts(s) - before; n > 20 {
		t.Errorf("%d transactions", n)
	}
	if n := entriesOnDisk(t, s); n != 1000 {
		t.Errorf("%d on disk", n)
	}
}

func attempts(s *State) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// TestHistoryOfRemovedFile: who deletes state.db does not delete what was in it, as
// long as superd lives.
func TestHistoryOfRemovedFile(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	s.Put("b", "k", []byte("v"))
	appendAll(s, "mailers", numbered(0, 1200)...)
	appendAll(s, "web", "x")
	flush(t, s)
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	s.DropHistory("web")
	appendAll(s, "mailers", "after")
	wantHistory(t, s, "mailers", append(numbered(201, 1200), "after")...)
	wantHistory(t, s, "web")
	// And in place of a file that has another history.
	other := filepath.Join(t.TempDir(), "other")
	o := openState(t, other)
	appendAll(o, "mailers", "foreign")
	o.Put("b", "k", []byte("foreign"))
	o.Close()
	if err := os.Rename(filepath.Join(other, stateFile), filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	s.Look()
	wantHistory(t, s, "mailers", append(numbered(201, 1200), "after")...)
	s.Close()
	s = openState(t, dir)
	wantDegraded(t, s, "")
	wantHistory(t, s, "mailers", append(numbered(201, 1200), "after")...)
	wantHistory(t, s, "web")
	wantValue(t, s, "b", "k", "v")
	if left := descriptors(t); strings.Contains(strings.Join(left, " "), "(deleted)") {
		t.Errorf("still open: %q", left)
	}
}

// TestHistoryDamaged: an entry that is damaged is missing, and said to be; a file
// that cannot be read is set aside, and the values that were in it live on.
func TestHistoryDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateFile)
	s := openState(t, dir)
	s.Put("b", "k", []byte("v"))
	appendAll(s, "mailers", "a", "to be damaged", "c")
	s.Close()
	data := readFile(t, path)
	writeFile(t, path, damage(data, "to be damaged"))
	s = openState(t, dir)
	wantDegraded(t, s, "")
	got, err := s.History(t.Context(), "mailers")
	if len(got) != 2 || string(got[1]) != "c" || err == nil || !strings.Contains(err.Error(), "1 of its entries") {
		t.Errorf("%q, %v", got, err)
	}

	// Half of the file is gone while it is open.
	appendAll(s, "mailers", numbered(0, 500)...)
	flush(t, s)
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	if got, err = s.History(t.Context(), "mailers"); err == nil {
		t.Errorf("%q of a file that was cut", got)
	}
	eventually(t, "a new file", func() bool {
		_, err := s.History(t.Context(), "mailers")
		return err == nil
	})
	wantDegraded(t, s, "set aside")
	appendAll(s, "mailers", "new")
	wantHistory(t, s, "mailers", "new")
	s.Close()
	s = openState(t, dir)
	wantValue(t, s, "b", "k", "v")
	wantHistory(t, s, "mailers", "new")
}

// damage changes the last byte of the last place where a text is.
func damage(data []byte, text string) []byte {
	data = bytes.Clone(data)
	data[bytes.LastIndex(data, []byte(text))+len(text)-1] ^= 1
	return data
}

// TestHistoryOfHangingDisk: neither appending nor asking waits for a disk that
// hangs, what is in memory is bounded, and all of it is written when it answers.
func TestHistoryOfHangingDisk(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	appendAll(s, "mailers", "on disk")
	flush(t, s)
	var settled atomic.Int64
	s.OnSettled(func(n int) { settled.Add(int64(n)) })
	release := hang(t, s)
	for i := range 30 {
		appendAll(s, fmt.Sprintf("pool%d", i), numbered(0, 1200)...)
	}
	appendAll(s, "mailers", "waits")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got, err := s.History(ctx, "mailers")
	if len(got) != 1 || string(got[0]) != "waits" || err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("%q, %v", got, err)
	}
	s.mu.Lock()
	waiting, held, asked := s.waiting, 0, len(s.asked)
	for _, q := range s.queued {
		held += len(q.entries)
		if len(q.entries) > maxHistory {
			t.Errorf("%d wait", len(q.entries))
		}
	}
	s.mu.Unlock()
	if waiting != held || held != maxQueued || asked != 0 {
		t.Errorf("%d are counted, %d wait, %d ask", waiting, held, asked)
	}
	wantDegraded(t, s, "are given up")
	release()
	flush(t, s)
	wantDegraded(t, s, "")
	wantHistory(t, s, "mailers", "on disk", "waits")
	if n := settled.Load(); n != 30*1200+1 {
		t.Errorf("%d are settled", n)
	}
	for i := range 30 {
		got, err := s.History(t.Context(), fmt.Sprintf("pool%d", i))
		if err != nil || len(got) < 600 || string(got[len(got)-1]) != "r01199" {
			t.Errorf("%d, %v", len(got), err)
		}
	}
}

// hang keeps the writer in a transaction that another one holds up.
func hang(t *testing.T, s *State) (release func()) {
	tx, err := s.disk.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	s.Put("b", "k", []byte(fmt.Sprint(rand.Int())))
	eventually(t, "the writer hangs", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.dirty) == 0
	})
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// TestHistoryOfFullDisk: what cannot be written is kept, shown, and written later;
// what was written before is shown too.
func TestHistoryOfFullDisk(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	dir := smallDisk(t, 1<<20)
	s := openState(t, dir)
	appendAll(s, "mailers", "before")
	flush(t, s)
	release := fill(t, dir)
	big := strings.Repeat("x", 200<<10)
	s.Append("mailers", Entry{ID: "big", Data: []byte(big)})
	if err := s.Flush(t.Context()); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("flush: %v", err)
	}
	wantHistory(t, s, "mailers", "before", big)
	wantDegraded(t, s, "no space left")
	appendAll(s, "mailers", "after")
	wantHistory(t, s, "mailers", "before", big, "after")
	release()
	flush(t, s)
	wantDegraded(t, s, "")
	s.Close()
	s = openState(t, dir)
	wantHistory(t, s, "mailers", "before", big, "after")
}

// TestHistoryBesideVersion1: a file with histories is one of version 1 to a superd
// that knows none, and what that one writes leaves them alone.
func TestHistoryBesideVersion1(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	s.Put("pool", "mailers", []byte("v"))
	appendAll(s, "mailers", "a")
	s.Close()
	db, err := bolt.Open(filepath.Join(dir, stateFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if v := tx.Bucket(aboutBucket).Get(versionKey); string(v) != "1" {
			t.Errorf("version %q", v)
		}
		if n := tx.Bucket(valuesBucket).Stats().BucketN; n != 2 {
			t.Errorf("%d buckets of values", n-1)
		}
		b := tx.Bucket(valuesBucket).Bucket([]byte("pool"))
		return b.Put([]byte("web"), encodeValue(stateKey{"pool", "web"}, []byte("old")))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s = openState(t, dir)
	wantDegraded(t, s, "")
	wantValue(t, s, "pool", "web", "old")
	wantHistory(t, s, "mailers", "a")
}

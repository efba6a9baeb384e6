package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func openState(t testing.TB, dir string) *State {
	t.Helper()
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func flush(t testing.TB, s *State) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantValue(t testing.TB, s *State, bucket, key, want string) {
	t.Helper()
	if got, ok := s.Get(bucket, key); !ok || string(got) != want {
		t.Fatalf("%s/%s: %q, %v; want %q (degraded: %v)", bucket, key, got, ok, want, s.Degraded())
	}
}

func wantDegraded(t testing.TB, s *State, want string) {
	t.Helper()
	if got := strings.Join(s.Degraded(), "\n"); !strings.Contains(got, want) || want == "" && got != "" {
		t.Fatalf("degraded: %q; want %q", got, want)
	}
}

func TestStateKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := openState(t, dir)
	s.Put("pools", "mailers", []byte("up"))
	s.Put("pools", "mailers", []byte("down"))
	s.Put("pools", "gone", []byte("x"))
	s.Put("pools", "empty", nil)
	s.Delete("pools", "gone")
	s.Delete("nothing", "there")
	wantValue(t, s, "pools", "mailers", "down")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "pools", "mailers", "down")
	s.Put("pools", "late", []byte("x"))
	if _, ok := s.Get("pools", "late"); ok {
		t.Error("a Put after Close was taken")
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Errorf("flush after close, with nothing to write: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}

	s = openState(t, dir)
	wantDegraded(t, s, "")
	all := s.All("pools")
	if len(all) != 2 || string(all["mailers"]) != "down" || all["empty"] == nil {
		t.Errorf("%q", all)
	}
	if len(s.All("unknown")) != 0 {
		t.Error("an unknown bucket is not empty")
	}
	s.Delete("pools", "mailers")
	flush(t, s)
	s.Close()
	if all := openState(t, dir).All("pools"); len(all) != 1 {
		t.Errorf("after a delete: %q", all)
	}
}

// TestStateKilled: what was flushed is there for a successor even if the writer
// never got to close the file.
func TestStateKilled(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	s.Put("b", "k", []byte("v"))
	flush(t, s)
	copied := t.TempDir()
	writeFile(t, filepath.Join(copied, stateFile), readFile(t, filepath.Join(dir, stateFile)))
	s = openState(t, copied)
	wantValue(t, s, "b", "k", "v")
	wantDegraded(t, s, "")
}

func TestStateLocked(t *testing.T) {
	dir := t.TempDir()
	openState(t, dir)
	if _, err := OpenState(dir); !errors.Is(err, ErrLocked) {
		t.Fatalf("second: %v", err)
	}
}

// TestStateSetsAside: whatever lies in the file's place is kept under another
// name, said, and does not stop superd.
func TestStateSetsAside(t *testing.T) {
	whole := func(t *testing.T, dir string) string {
		s := openState(t, dir)
		for i := range 50 {
			s.Put("b", fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 200))
		}
		flush(t, s)
		s.Close()
		return filepath.Join(dir, stateFile)
	}
	edit := func(t *testing.T, dir string, f func(tx *bolt.Tx) error) {
		db, err := bolt.Open(whole(t, dir), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(f); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		damage func(t *testing.T, dir string)
		kept   int // values at least that must have survived
	}{
		"text": {func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, stateFile), bytes.Repeat([]byte("hello\n"), 5000))
		}, 0},
		"short": {func(t *testing.T, dir string) { os.Truncate(whole(t, dir), 8192) }, 0},
		"tiny":  {func(t *testing.T, dir string) { os.Truncate(whole(t, dir), 100) }, 0},
		"folder": {func(t *testing.T, dir string) {
			os.Mkdir(filepath.Join(dir, stateFile), 0o700)
		}, 0},
		"symlink": {func(t *testing.T, dir string) {
			os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(dir, stateFile))
		}, 0},
		"unknown format": {func(t *testing.T, dir string) {
			edit(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(aboutBucket).Put(versionKey, []byte("one")) })
		}, 0},
		"foreign": {func(t *testing.T, dir string) {
			edit(t, dir, func(tx *bolt.Tx) error { return tx.DeleteBucket(aboutBucket) })
		}, 0},
		"bad value": {func(t *testing.T, dir string) {
			edit(t, dir, func(tx *bolt.Tx) error {
				return tx.Bucket(valuesBucket).Bucket([]byte("b")).Put([]byte("7"), []byte("no checksum"))
			})
		}, 49},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.damage(t, dir)
			s := openState(t, dir)
			wantDegraded(t, s, "set aside as state.db.broken-")
			if n := len(s.All("b")); n < c.kept || n > c.kept && c.kept == 0 {
				t.Errorf("%d values survived, want %d", n, c.kept)
			}
			s.Put("b", "fresh", []byte("v"))
			flush(t, s)
			s.Close()
			if broken, _ := filepath.Glob(filepath.Join(dir, stateFile+".broken-*")); len(broken) != 1 {
				t.Errorf("set aside: %v", broken)
			}
			s = openState(t, dir)
			wantDegraded(t, s, "")
			wantValue(t, s, "b", "fresh", "v")
			if n := len(s.All("b")); n != c.kept+1 {
				t.Errorf("%d values in the new file, want %d", n, c.kept+1)
			}
		})
	}
}

// TestStateFault truncates the file under an open state: the next write touches a
// page that is not there (SIGBUS). Nothing may be lost but the file.
func TestStateFault(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	for i := range 200 {
		s.Put("b", fmt.Sprint(i), bytes.Repeat([]byte("x"), 300))
	}
	flush(t, s)
	if err := os.Truncate(filepath.Join(dir, stateFile), 4096); err != nil {
		t.Fatal(err)
	}
	s.Put("b", "0", []byte("new"))
	flush(t, s)
	wantDegraded(t, s, "set aside")
	s.Close()
	s = openState(t, dir)
	wantDegraded(t, s, "")
	wantValue(t, s, "b", "0", "new")
	if n := len(s.All("b")); n != 200 {
		t.Errorf("%d values, want 200", n)
	}
}

// TestStateRemoved: somebody deletes the folder while superd lives.
func TestStateRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := openState(t, dir)
	s.Put("b", "old", []byte("v"))
	flush(t, s)
	os.RemoveAll(dir)
	s.Put("b", "new", []byte("v"))
	flush(t, s)
	wantDegraded(t, s, "") // it is there again
	if n := s.Renewals(); n != 1 {
		t.Errorf("it was written anew %d times", n)
	}
	// And noticed without a change, by whoever is told of the deletion.
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	s.Look()
	eventually(t, "it is written anew", func() bool { return s.Renewals() == 2 })
	// A folder that cannot be made again.
	os.RemoveAll(dir)
	writeFile(t, dir, nil)
	s.Look()
	eventually(t, "it is degraded", func() bool { return len(s.Degraded()) == 1 })
	os.Remove(dir)
	s.Look()
	eventually(t, "it is written anew", func() bool { return s.Renewals() == 3 })
	wantDegraded(t, s, "")
	s.Close()
	s = openState(t, dir)
	wantValue(t, s, "b", "old", "v")
	wantValue(t, s, "b", "new", "v")
}

// TestStateEndlessStarts: a file that superd dies of is given up after some starts.
func TestStateEndlessStarts(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	s.Put("b", "k", []byte("v"))
	s.Close()
	starts := filepath.Join(dir, stateFile+".starts")
	if _, err := os.Stat(starts); err == nil {
		t.Error("the count of starts is left after a good one")
	}
	writeFile(t, starts, []byte(".."))
	s = openState(t, dir)
	wantValue(t, s, "b", "k", "v")
	s.Close()
	writeFile(t, starts, []byte("..."))
	s = openState(t, dir)
	wantDegraded(t, s, "superd ended three times")
	s.Close()
	wantDegraded(t, openState(t, dir), "")
}

// TestStateKeepsFewBroken: a disk that damages each file must not fill up.
func TestStateKeepsFewBroken(t *testing.T) {
	dir := t.TempDir()
	for range maxBroken + 3 {
		writeFile(t, filepath.Join(dir, stateFile), []byte("no state"))
		openState(t, dir).Close()
	}
	if broken, _ := filepath.Glob(filepath.Join(dir, stateFile+".broken-*")); len(broken) != maxBroken {
		t.Errorf("%d broken files are kept, want %d", len(broken), maxBroken)
	}
}

// TestStateModel: put, deleted, flushed, closed and opened in any order it behaves
// as a map does.
func TestStateModel(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		must(rt, err)
		s, err := OpenState(dir)
		must(rt, err)
		defer func() { s.Close() }()
		want := map[string]string{}
		keys := rapid.SampledFrom([]string{"a", "b", "c"})
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				key, value := keys.Draw(rt, "key"), rapid.StringN(0, 20, -1).Draw(rt, "value")
				s.Put("b", key, []byte(value))
				want[key] = value
			},
			"delete": func(rt *rapid.T) {
				key := keys.Draw(rt, "key")
				s.Delete("b", key)
				delete(want, key)
			},
			"flush": func(rt *rapid.T) { must(rt, s.Flush(context.Background())) },
			"reopen": func(rt *rapid.T) {
				must(rt, s.Close())
				s, err = OpenState(dir)
				must(rt, err)
			},
			"": func(rt *rapid.T) {
				got := s.All("b")
				if len(got) != len(want) {
					rt.Fatalf("%q, want %q", got, want)
				}
				for key, value := range want {
					if string(got[key]) != value {
						rt.Fatalf("%q, want %q", got, want)
					}
				}
			},
		})
	})
}

func TestStateConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				key := fmt.Sprint(g, "-", i)
				s.Put("b", key, []byte(key))
				if _, ok := s.Get("b", key); !ok {
					t.Error("not there after Put")
				}
				if i%10 == 0 {
					if err := s.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
				s.All("b")
				s.Degraded()
			}
		})
	}
	wg.Wait()
	s.Close()
	if n := len(openState(t, dir).All("b")); n != 240 {
		t.Errorf("%d values, want 240", n)
	}
}

// TestStateLeavesNothing: no goroutine and no descriptor outlives Close.
func TestStateLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	openState(t, dir).Close()
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for range 5 {
		s, err := OpenState(dir)
		if err != nil {
			t.Fatal(err)
		}
		s.Put("b", "k", nil)
		s.Close()
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, before %d", n, goroutines)
	}
	if now := descriptors(t); len(now) > len(files) {
		t.Errorf("descriptors %v, before %v", now, files)
	}
}

func descriptors(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clip(names)
}

func FuzzDecodeValue(f *testing.F) {
	f.Add("b", "k", encodeValue(stateKey{"b", "k"}, []byte("v")))
	f.Add("", "", []byte{})
	f.Fuzz(func(t *testing.T, bucket, key string, stored []byte) {
		value, ok := decodeValue([]byte(bucket), []byte(key), stored)
		if ok && !bytes.Equal(encodeValue(stateKey{bucket, key}, value), stored) {
			t.Errorf("%x was taken for %x", stored, value)
		}
	})
}

// eventually waits for what the writer does behind.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("not within 30s: " + what)
		}
	}
}

func TestStateTellsThatNothingWasThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateFile)
	reopen := func(want bool, what string) {
		t.Helper()
		s := openState(t, dir)
		if s.Fresh() != want {
			t.Errorf("%s: fresh is %v", what, !want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	reopen(true, "no file")
	reopen(false, "a file without values")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	reopen(true, "an empty file")
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	reopen(false, "a file that is set aside")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reopen(true, "a file that was deleted")
}

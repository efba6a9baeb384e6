package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReadDamaged: whatever happened to an index, the lines come, in their order.
func TestReadDamaged(t *testing.T) {
	for name, spoil := range map[string]func(idx []byte) []byte{
		"empty":          func([]byte) []byte { return nil },
		"garbage":        func(idx []byte) []byte { return bytes.Repeat([]byte("garbage "), len(idx)/8) },
		"of another log": func(idx []byte) []byte { idx[16] ^= 1; return idx },
		"half a record":  func(idx []byte) []byte { return idx[:len(idx)-20] },
		"a page of zeros": func(idx []byte) []byte {
			clear(idx[4*recordSize : 20*recordSize])
			return idx
		},
		"shuffled": func(idx []byte) []byte {
			copy(idx[4*recordSize:], bytes.Clone(idx[20*recordSize:30*recordSize]))
			return idx
		},
		"beyond the end": func(idx []byte) []byte {
			for i := range 10 {
				r := Record{Offset: 1<<40 + int64(i), Stream: streamOut, Run: "x"}
				idx = append(idx, make([]byte, recordSize)...)
				r.encode(idx[len(idx)-recordSize:])
			}
			return idx
		},
		"later version": func(idx []byte) []byte { idx[8] = 2; return idx },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "a"), 0o750))
			g := &forge{dir: filepath.Join(dir, "a"), name: "0.log", wall: time.Unix(1_700_000_000, 0)}
			var want []string
			for i := range 40 {
				want = append(want, fmt.Sprintf("line %d", i))
				g.segment("run1", streamOut, want[i]+"\n")
			}
			g.save(t, 0, false, true)
			path := filepath.Join(dir, "a/0.log.idx")
			idx, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, spoil(idx), 0o640))
			m := &Manager{opt: Options{LogDir: dir}}
			for _, n := range []int{-1, 7} {
				lines, err := collect(m, Query{Folder: "a", Lines: n})
				must(t, err)
				var got []string
				for _, line := range lines {
					got = append(got, string(line.Text))
				}
				if n < 0 {
					n = len(want)
				}
				if strings.Join(got, "\n") != strings.Join(want[len(want)-n:], "\n") {
					t.Errorf("lines %q", got)
				}
			}
			if _, err := collect(m, Query{Folder: "a", Lines: -1, Since: g.wall.Add(time.Hour)}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReadDamagedGzip: what can be read is read, and it is said that more was there.
func TestReadDamagedGzip(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o750))
	g := &forge{dir: filepath.Join(dir, "a"), name: "0.log", wall: time.Unix(1_700_000_000, 0)}
	pad := make([]byte, 60)
	for i := range 10_000 {
		for j := range pad { // hard to compress
			pad[j] = 'a' + byte(rand.IntN(26))
		}
		g.segment("run1", streamOut, fmt.Sprintf("%d %s\n", i, pad))
	}
	g.save(t, 1, true, true)
	g.segment("run1", streamOut, "the newest\n")
	g.save(t, 0, false, true)
	path := filepath.Join(dir, "a/0.log.1.gz")
	fi, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, fi.Size()/2))
	m := &Manager{opt: Options{LogDir: dir}}
	lines, err := collect(m, Query{Folder: "a", Lines: -1})
	must(t, err)
	n := len(lines)
	if n < 1000 || n > 9000 || !lines[n-2].Missed || string(lines[n-1].Text) != "the newest" {
		t.Fatalf("%d lines, the last are\n%s", n, show(lines[max(n-3, 0):]))
	}
	for i, line := range lines[:n-3] {
		if !strings.HasPrefix(string(line.Text), fmt.Sprintf("%d ", i)) {
			t.Fatalf("line %d is %q", i, line.Text)
		}
	}
	last, err := collect(m, Query{Folder: "a", Lines: 5})
	must(t, err)
	if k := len(last); string(last[k-1].Text) != "the newest" || k < 5 {
		t.Errorf("the last 5 are\n%s", show(last))
	}
}

// TestReadForeign: nothing is read but regular files of the folder itself.
func TestReadForeign(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "a")
	secret := filepath.Join(dir, "secret")
	must(t, os.Mkdir(folder, 0o750))
	must(t, os.WriteFile(secret, []byte("secret\n"), 0o600))
	must(t, os.Symlink(secret, filepath.Join(folder, "0.log")))
	must(t, os.Link(secret, filepath.Join(folder, "1.log")))
	must(t, unix.Mkfifo(filepath.Join(folder, "2.log"), 0o600))
	must(t, os.Mkdir(filepath.Join(folder, "3.log"), 0o750))
	must(t, os.WriteFile(filepath.Join(folder, "4.log"), []byte("four\n"), 0o640))
	must(t, os.Symlink(secret, filepath.Join(folder, "4.log.1")))
	must(t, os.Symlink(secret, filepath.Join(folder, "4.log.idx")))
	must(t, os.WriteFile(filepath.Join(folder, "x.log"), []byte("x\n"), 0o640))
	must(t, os.WriteFile(filepath.Join(folder, "05.log"), []byte("five\n"), 0o640))
	must(t, os.WriteFile(filepath.Join(folder, "5.log.gz.tmp"), []byte("five\n"), 0o640))
	must(t, os.Symlink(folder, filepath.Join(dir, "link")))
	m := &Manager{opt: Options{LogDir: dir}}
	for _, n := range []int{-1, 100} {
		lines, err := collect(m, Query{Folder: "a", Lines: n})
		must(t, err)
		if got := texts(lines); got != "4o four\n" {
			t.Errorf("read\n%s", got)
		}
	}
	if _, err := collect(m, Query{Folder: "link", Lines: -1}); !errors.Is(err, ErrNoLog) {
		t.Errorf("through a link: %v", err)
	}
}

// TestReadUnindexed: by its file's time a log without an index is wanted or not.
func TestReadUnindexed(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o750))
	g := &forge{dir: filepath.Join(dir, "a"), name: "0.log", wall: time.Unix(1_700_000_000, 0)}
	g.foreign("old\n")
	g.save(t, 1, false, false)
	g.wall = g.wall.Add(time.Hour)
	g.foreign("new\n")
	g.save(t, 0, false, false)
	m := &Manager{opt: Options{LogDir: dir}}
	for since, want := range map[time.Duration]string{-2 * time.Hour: "0o old\n0o new\n", -time.Minute: "0o new\n", time.Minute: ""} {
		lines, err := collect(m, Query{Folder: "a", Lines: -1, Since: g.wall.Add(since)})
		must(t, err)
		if got := texts(lines); got != want {
			t.Errorf("since %v: %q", since, got)
		}
	}
}

// TestReadEnds: emit's error and the context end a call, and nothing is left of it.
func TestReadEnds(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	for i := range 5000 {
		write(t, p.Stdout, fmt.Sprintln(i))
	}
	l.end("run1", p)
	fds, routines := descriptors(t), runtime.NumGoroutine()
	enough := errors.New("enough")
	if err := l.m.Read(t.Context(), Query{Folder: "a", Lines: -1}, func([]Line) error { return enough }); err != enough {
		t.Errorf("emit's error became %v", err)
	}
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		lines := 0
		err := l.m.Read(ctx, Query{Folder: "a", Lines: -1, Follow: true}, func(b []Line) error {
			if lines += len(b); lines == 5000 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || lines != 5000 {
			t.Errorf("%d lines, %v", lines, err)
		}
	}
	eventually(t, 30*time.Second, func() bool { return runtime.NumGoroutine() <= routines && descriptors(t) <= fds },
		"%d descriptors and %d goroutines, before %d and %d", descriptors(t), runtime.NumGoroutine(), fds, routines)
}

// FuzzReadIndex: any bytes may lie in an index. Every line comes, once and in order.
func FuzzReadIndex(f *testing.F) {
	var good []byte
	for i := range int64(6) {
		r := Record{Offset: 10 * i, Length: 10, Wall: time.Unix(1_700_000_000+i, 0), Run: "run1", Stream: streamOut}
		good = append(good, make([]byte, recordSize)...)
		r.encode(good[len(good)-recordSize:])
	}
	f.Add(good, []byte("one\ntwo\n\nthree\nfour and more\nfive\nsix\nseven\neight, the end"), 3)
	f.Add(good[:100], []byte("one\ntwo"), 1)
	f.Add(make([]byte, 10*recordSize), []byte("\n\n\n"), 2)
	dir := f.TempDir()
	must(f, os.Mkdir(filepath.Join(dir, "a"), 0o750))
	path := filepath.Join(dir, "a/0.log")
	f.Fuzz(func(t *testing.T, records, text []byte, n int) {
		must(t, os.WriteFile(path, text, 0o640))
		fi, err := os.Stat(path)
		must(t, err)
		h := Header{Inode: inode(fi), Made: time.Unix(1, 0)}
		must(t, os.WriteFile(path+".idx", append(h.encode(), records...), 0o640))
		var want []string
		if len(text) > 0 {
			want = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		}
		m := &Manager{opt: Options{LogDir: dir}}
		lines, err := collect(m, Query{Folder: "a", Lines: -1})
		must(t, err)
		if len(lines) != len(want) {
			t.Fatalf("%d lines, want %d", len(lines), len(want))
		}
		for i, line := range lines {
			if string(line.Text) != want[i] {
				t.Fatalf("line %d is %q, want %q", i, line.Text, want[i])
			}
		}
		for _, q := range []Query{{Lines: n & 15}, {Lines: n & 15, Run: "run1"}, {Lines: -1, Since: time.Unix(1_700_000_003, 0)},
			{Lines: n & 3, Until: time.Unix(1_700_000_003, 0), Grep: regexp.MustCompile("o")}} {
			q.Folder = "a"
			some, err := collect(m, q)
			if err != nil && !errors.Is(err, ErrNoRun) {
				t.Fatal(err)
			}
			end := int64(0)
			for _, line := range some {
				if line.End <= end && q.Lines < 0 || line.End > int64(len(text)) {
					t.Fatalf("%+v: line %q ends at %d after %d", q, line.Text, line.End, end)
				}
				end = line.End
			}
		}
	})
}

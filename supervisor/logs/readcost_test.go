package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// large forges a log of 1 GiB that has text only in the blocks around the given
// offsets: who reads elsewhere finds a hole. Its index is whole, a segment of a
// block each second, by runs that change every 64 blocks.
func large(t testing.TB, dir string, around ...int64) (size int64, from time.Time) {
	t.Helper()
	size = 1 << 30
	from = time.Unix(1_700_000_000, 0)
	must(t, os.MkdirAll(filepath.Join(dir, "a"), 0o750))
	path := filepath.Join(dir, "a/0.log")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(size))
	line := []byte("a line of sixty-four bytes, as long as lines are on the average\n")
	block := bytes.Repeat(line, blockSize/len(line))
	for _, off := range around {
		off = off / blockSize * blockSize
		for at := max(off-4*blockSize, 0); at < min(off+5*blockSize, size); at += blockSize {
			_, err := f.WriteAt(block, at)
			must(t, err)
		}
	}
	fi, err := f.Stat()
	must(t, err)
	h := Header{Inode: inode(fi), Made: from}
	idx := h.encode()
	for n := range size / blockSize {
		r := Record{Offset: n * blockSize, Length: blockSize, Wall: from.Add(time.Duration(n) * time.Second),
			Run: fmt.Sprintf("run%d", n/64), Stream: streamOut}
		idx = append(idx, make([]byte, recordSize)...)
		r.encode(idx[len(idx)-recordSize:])
	}
	must(t, os.WriteFile(path+".idx", idx, 0o640))
	return size, from
}

// cost runs a query and says how much it read.
func cost(t testing.TB, dir string, q Query) (lines int, log, index int64) {
	t.Helper()
	q.Folder = "a"
	r := newReader(context.Background(), &Manager{opt: Options{LogDir: dir}}, q, func(b []Line) error {
		for _, line := range b {
			if len(line.Text) != 63 || line.Text[0] != 'a' {
				t.Fatalf("line %q at %d", line.Text, line.End)
			}
		}
		lines += len(b)
		return nil
	})
	defer r.close()
	must(t, r.run())
	return lines, r.logBytes, r.indexBytes
}

// TestReadCost: of a log of 1 GiB only what is wanted is read.
func TestReadCost(t *testing.T) {
	dir := t.TempDir()
	const middle = 1 << 29
	size, from := large(t, dir, middle, 1<<30)
	second := func(off int64) time.Time { return from.Add(time.Duration(off/blockSize) * time.Second) }
	const perBlock = blockSize / 64
	for name, c := range map[string]struct {
		q     Query
		lines int
		index int64 // at most so much of it
	}{
		"the last 100":                        {Query{Lines: 100}, 100, 64 << 10},
		"the last 3000":                       {Query{Lines: 3000}, 3000, 64 << 10},
		"since, the end":                      {Query{Lines: -1, Since: second(size - 2*blockSize)}, 2 * perBlock, 512 << 10},
		"since, middle":                       {Query{Lines: -1, Since: second(middle), Until: second(middle + blockSize)}, 2 * perBlock, 512 << 10},
		"the last before":                     {Query{Lines: 10, Until: second(middle)}, 10, 512 << 10},
		"too late":                            {Query{Lines: -1, Since: second(size)}, 0, 64 << 10},
		"too early":                           {Query{Lines: -1, Until: from.Add(-1)}, 0, 512 << 10},
		"of a run":                            {Query{Lines: 10, Run: fmt.Sprintf("run%d", size/blockSize/64-1)}, 10, 128 << 10},
		"of a run, with its index read whole": {Query{Lines: 10, Run: fmt.Sprintf("run%d", middle/blockSize/64)}, 10, 3 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := dir
			if c.index > 1<<20 {
				dir = t.TempDir()
				large(t, dir, middle+63*blockSize)
			}
			lines, log, index := cost(t, dir, c.q)
			if lines != c.lines {
				t.Errorf("%d lines, want %d", lines, c.lines)
			}
			most := int64(lines)*64 + 4*blockSize
			if log > most || index > c.index {
				t.Errorf("%d bytes of the log and %d of the index were read, at most %d and %d are needed", log, index, most, c.index)
			}
		})
	}
}

// TestReadWithoutIndex: the last lines are found from the end all the same.
func TestReadWithoutIndex(t *testing.T) {
	dir := t.TempDir()
	large(t, dir, 1<<30)
	must(t, os.Remove(filepath.Join(dir, "a/0.log.idx")))
	if lines, log, _ := cost(t, dir, Query{Lines: 100}); lines != 100 || log > 4*blockSize {
		t.Errorf("%d lines, %d bytes were read", lines, log)
	}
}

// TestReadBounds: a pool of a thousand workers with compressed logs is merged with
// few descriptors and little memory.
func TestReadBounds(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o750))
	const workers, rounds = 1000, 40
	line := bytes.Repeat([]byte("x"), 200)
	for i := range workers {
		g := &forge{dir: filepath.Join(dir, "a"), name: fmt.Sprintf("%d.log", i), wall: time.Unix(1_700_000_000, 0)}
		for num := 1; num >= 0; num-- {
			for n := range rounds / 2 {
				g.wall = g.wall.Add(time.Second)
				g.segment("run", streamOut, fmt.Sprintf("%d %s\n", n, line))
			}
			g.save(t, num, num == 1, true)
		}
	}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	fds := descriptors(t)
	q := Query{Folder: "a", Lines: -1}
	lines, batches, last := 0, 0, time.Time{}
	m := &Manager{opt: Options{LogDir: dir}}
	must(t, m.Read(t.Context(), q, func(b []Line) error {
		for _, line := range b {
			if line.Time.Before(last) {
				t.Fatalf("line %d of worker %d is out of order", lines, line.Index)
			}
			last = line.Time
		}
		lines += len(b)
		if batches++; batches%20 == 1 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			if most := uint64(64 << 20); now.HeapAlloc > before.HeapAlloc+most {
				t.Errorf("%d bytes are in use", now.HeapAlloc-before.HeapAlloc)
			}
			if n := descriptors(t) - fds; n > 2*openParts+8 {
				t.Errorf("%d descriptors are open", n)
			}
		}
		return nil
	}))
	if lines != workers*rounds {
		t.Errorf("%d lines", lines)
	}
	if n := descriptors(t); n > fds {
		t.Errorf("%d descriptors are left open", n-fds)
	}
	if lines, _ := collect(m, Query{Folder: "a", Lines: 100}); len(lines) != 100 || lines[0].Index != 900 {
		t.Errorf("the last 100 begin with worker %d", lines[0].Index)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}

func BenchmarkReadLast100(b *testing.B) {
	dir := b.TempDir()
	large(b, dir, 1<<30)
	for b.Loop() {
		cost(b, dir, Query{Lines: 100})
	}
}

func BenchmarkReadSince(b *testing.B) {
	dir := b.TempDir()
	_, from := large(b, dir, 1<<29)
	at := from.Add((1 << 29) / blockSize * time.Second)
	for b.Loop() {
		cost(b, dir, Query{Lines: -1, Since: at, Until: at.Add(time.Second)})
	}
}

// BenchmarkReadAll is about reading everything: lines, segments, batches.
func BenchmarkReadAll(b *testing.B) {
	dir := b.TempDir()
	_, from := large(b, dir, 1<<29)
	at := from.Add((1<<29)/blockSize*time.Second - 4*time.Second)
	b.SetBytes(8 * blockSize)
	for b.Loop() {
		cost(b, dir, Query{Lines: -1, Since: at, Until: at.Add(7 * time.Second)})
	}
}

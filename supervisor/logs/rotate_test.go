package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// numbered are lines "N: NNNNNN" of different lengths.
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%d: %s\n", i, strings.Repeat("n", i%50))
	}
	return b.String()
}

// end closes a run's pipes and waits until it is drained.
func (l *lab) end(run string, p *Pipes) {
	l.t.Helper()
	p.Close()
	l.m.Ended(run)
	l.drained(run)
}

// TestRotation: all files together are what was printed, each ends with a line,
// and none is larger than it may be.
func TestRotation(t *testing.T) {
	for _, piece := range []int{1 << 20, 4096, 777} {
		l := newLab(t, nil)
		sp := spec("a", 0)
		sp.MaxSize, sp.Keep = 10_000, 10_000
		p := l.prepare("run1", sp)
		text := numbered(0, 20_000)
		for rest := text; rest != ""; {
			n := min(piece, len(rest))
			write(t, p.Stdout, rest[:n])
			rest = rest[n:]
		}
		l.end("run1", p)
		if got := string(l.whole("a/0.log", 200)); got != text {
			t.Errorf("pieces of %d: the files together have %d bytes, other ones than the %d printed", piece, len(got), len(text))
		}
		files := 0
		for i := 1; ; i++ {
			name := rotatedName("a/0.log", i)
			part := l.read(name)
			if part == "" {
				break
			}
			files++
			if !strings.HasSuffix(part, "\n") || len(part) < 10_000 || len(part) > 10_060 {
				t.Errorf("%s has %d bytes and ends with %q", name, len(part), part[len(part)-1:])
			}
			if h, records, err := ReadIndex(filepath.Join(l.log(), name+".idx")); err != nil {
				t.Error(err)
			} else if fi, _ := os.Stat(filepath.Join(l.log(), name)); h.Inode != inode(fi) || covered(records) != int64(len(part)) {
				t.Errorf("%s: the index covers %d of %d bytes", name, covered(records), len(part))
			}
		}
		if n := len(l.told(Rotated, "")); n != files || files < 50 {
			t.Errorf("%d rotations were told, %d files are there", n, files)
		}
	}
}

func covered(records []Record) (n int64) {
	for _, r := range records {
		n += r.Length
	}
	return n
}

// TestRotationWithoutLines: a log without line ends is cut 1 MiB later.
func TestRotationWithoutLines(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.MaxSize = 1 << 20
	p := l.prepare("run1", sp)
	text := strings.Repeat("progress\r", 700_000)
	write(t, p.Stdout, text)
	l.end("run1", p)
	if got := string(l.whole("a/0.log", 10)); got != text {
		t.Error("the files together are not what was printed")
	}
	if n := len(l.read("a/0.log.1")); n != 2<<20 {
		t.Errorf("the rotated file has %d bytes", n)
	}
}

// TestKeep: not more than keep files, also when keep shrinks while it runs.
func TestKeep(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.MaxSize, sp.Keep = 1000, 5
	p := l.prepare("run1", sp)
	rotated := func() (names []string) {
		all, _ := filepath.Glob(filepath.Join(l.log(), "a/0.log.*"))
		for _, n := range all {
			if !strings.HasSuffix(n, ".idx") {
				names = append(names, filepath.Base(n))
			}
		}
		return names
	}
	for i, keep := range []int{5, 2, 0, 3} {
		sp.Keep = keep
		l.m.Reconfigure("a", sp.Log)
		text := numbered(0, 1000)
		write(t, p.Stdout, text)
		eventually(t, 5*time.Second, func() bool {
			st, _ := l.m.Stats("run1")
			return st.Bytes == int64((i+1)*len(text))
		}, "not written")
		l.inDevice("a", func(*device) {})
		if got := rotated(); len(got) != keep {
			t.Errorf("keep %d: %v", keep, got)
		}
		if keep > 0 && !strings.HasSuffix(text, l.read("a/0.log.1")+l.read("a/0.log")) {
			t.Errorf("keep %d: 0.log.1 and 0.log are not the end of what was printed", keep)
		}
	}
	l.end("run1", p)
}

// TestKilledInRotation kills superd after each single step of the renames.
func TestKilledInRotation(t *testing.T) {
	for _, gz := range []bool{false, true} {
		t.Run(fmt.Sprintf("compress=%v", gz), func(t *testing.T) {
			o := newOutlive(t)
			sp := spec("mailers", 0)
			sp.MaxSize, sp.Keep, sp.Compress = 5_000, 5000, gz
			o.worker("run1", sp, "LOGS_LINES=20000", "LOGS_BUFFER=4096")
			killed := 0
			points := []string{"shift", "rotated"}
			if gz {
				points = append(points, "packed", "placed")
			}
			for i := range 24 {
				m := o.manager(false, "LOGS_KILL="+points[i%len(points)], fmt.Sprintf("LOGS_KILL_AFTER=%d", i/len(points)))
				state := make(chan error, 1)
				go func() { state <- m.Wait() }()
				select {
				case <-state:
					killed++
				case <-time.After(5 * time.Second):
					m.Process.Kill()
					<-state
				}
			}
			if killed < 20 {
				t.Fatalf("only %d kills", killed)
			}
			want := o.finish()
			checkLines(t, o.l.whole("mailers/0.log", 1000), want)
		})
	}
}

// TestCompress: rotated files become .gz with the same bytes, time and index.
func TestCompress(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.MaxSize, sp.Keep, sp.Compress = 20_000, 500, true
	p := l.prepare("run1", sp)
	text := numbered(0, 20_000)
	write(t, p.Stdout, text)
	plain := func() int {
		n := 0
		for i := 1; i <= 100; i++ {
			if _, err := os.Stat(filepath.Join(l.log(), rotatedName("a/0.log", i))); err == nil {
				n++
			}
		}
		return n
	}
	eventually(t, 10*time.Second, func() bool {
		st, _ := l.m.Stats("run1")
		return st.Bytes == int64(len(text)) && plain() == 0
	}, "%d files are not compressed", plain())
	if got := l.whole("a/0.log", 100); !bytes.Equal(got, []byte(text)) {
		t.Errorf("the files together have %d bytes, other ones than the %d printed", len(got), len(text))
	}
	if left, _ := filepath.Glob(filepath.Join(l.log(), "a/*.tmp")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	gz := filepath.Join(l.log(), "a/0.log.1.gz")
	fi, err := os.Stat(gz)
	must(t, err)
	h, records, err := ReadIndex(filepath.Join(l.log(), "a/0.log.1.idx"))
	must(t, err)
	part, err := gunzip(gz)
	must(t, err)
	if h.Packed != inode(fi) || covered(records) != int64(len(part)) || fi.Mode().Perm() != 0o640 {
		t.Errorf("index for inode %d covers %d bytes; %s has inode %d, mode %v and %d bytes", h.Packed, covered(records), gz, inode(fi), fi.Mode(), len(part))
	}
	l.end("run1", p)
}

// TestChangedFromOutside: a log is truncated, moved, removed, its folder moved or
// removed, while it is written: no hole, and what comes later is in the new file.
func TestChangedFromOutside(t *testing.T) {
	cases := []struct {
		name   string
		change func(t *testing.T, dir string)
	}{
		{"truncated", func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "a/0.log"), 0)) }},
		{"moved", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "a/0.log"), filepath.Join(dir, "a/moved")))
		}},
		{"moved and made", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "a/0.log"), filepath.Join(dir, "a/moved")))
			must(t, os.WriteFile(filepath.Join(dir, "a/0.log"), nil, 0o640))
		}},
		{"removed", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "a/0.log"))) }},
		{"folder moved", func(t *testing.T, dir string) { must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b"))) }},
		{"folder removed", func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "a"))) }},
		{"index removed", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "a/0.log.idx")))
			must(t, os.Truncate(filepath.Join(dir, "a/0.log"), 0))
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			p := l.prepare("run1", spec("a", 0))
			write(t, p.Stdout, strings.Repeat("before\n", 10_000))
			eventually(t, 5*time.Second, func() bool { return len(l.read("a/0.log")) == 70_000 }, "not written")
			c.change(t, l.log())
			n := 0
			eventually(t, 5*time.Second, func() bool {
				write(t, p.Stdout, "after\n")
				n++
				return strings.HasSuffix(l.read("a/0.log"), "after\n")
			}, "nothing is in the new file")
			l.end("run1", p)
			got := l.read("a/0.log")
			after := strings.Count(got, "after\n")
			if got != strings.Repeat("after\n", after) {
				t.Fatalf("the new file is not just lines: %.100q", got)
			}
			for _, old := range []string{"a/moved", "b/0.log"} {
				after += strings.Count(l.read(old), "after\n")
			}
			if after != n && !strings.Contains(c.name, "removed") {
				t.Errorf("%d of %d lines", after, n)
			}
			if c.name == "folder removed" || c.name == "removed" || c.name == "index removed" {
				return
			}
			h, records, err := ReadIndex(filepath.Join(l.log(), "a/0.log.idx"))
			must(t, err)
			fi, err := os.Stat(filepath.Join(l.log(), "a/0.log"))
			must(t, err)
			if h.Inode != inode(fi) || covered(records) != fi.Size() {
				t.Errorf("index for inode %d covers %d bytes, the log is %d with %d: %+v", h.Inode, covered(records), inode(fi), fi.Size(), records)
			}
		})
	}
}

// TestAppendedFromOutside: somebody writes into the log; nothing is overwritten.
func TestAppendedFromOutside(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	for i := range 50 {
		write(t, p.Stdout, fmt.Sprintf("%d\n", i))
		eventually(t, 5*time.Second, func() bool { return strings.Contains(l.read("a/0.log"), fmt.Sprintf("%d\n", i)) }, "not written")
		f, err := os.OpenFile(filepath.Join(l.log(), "a/0.log"), os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		write(t, f, "note\n")
		f.Close()
	}
	l.end("run1", p)
	var want strings.Builder
	for i := range 50 {
		fmt.Fprintf(&want, "%d\nnote\n", i)
	}
	if got := l.read("a/0.log"); got != want.String() {
		t.Errorf("the log has %q", got)
	}
}

// TestClose: a manager that is closed leaves everything for the next.
func TestClose(t *testing.T) {
	l := newLab(t, nil)
	before := goroutines()
	p := l.prepare("run1", spec("a", 0))
	write(t, p.Stdout, "one\n")
	must(t, l.m.Close(context.Background()))
	eventually(t, 5*time.Second, func() bool { return goroutines() <= before }, "goroutines are left")
	if err := l.m.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := l.m.Prepare("run2", spec("a", 0), 0, 0); err == nil {
		t.Error("a closed manager prepared a run")
	}
	l.open(nil)
	must(t, l.m.Recover("run1", spec("a", 0), nil))
	l.end("run1", p)
	if got := l.read("a/0.log"); got != "one\n" {
		t.Errorf("the log has %q", got)
	}
}

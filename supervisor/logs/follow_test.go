package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// follower is a Read that goes on.
type follower struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	lines   []Line
	pause   sync.Mutex // held: emit blocks
	waiting atomic.Bool
	count   atomic.Int64 // lines, those that say what is missing too
	gaps    atomic.Int64 // of these
}

// follow returns when the history has been given.
func (l *lab) follow(t *testing.T, q Query) *follower {
	t.Helper()
	q.Follow = true
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{t: t, cancel: cancel, ended: make(chan error, 1)}
	r := newReader(ctx, l.m, q, f.emit)
	if l.most > 0 {
		r.most = l.most
	}
	must(t, r.begin())
	go func() {
		defer r.close()
		f.ended <- r.follow()
	}()
	t.Cleanup(f.stop)
	return f
}

func (f *follower) emit(batch []Line) error {
	f.waiting.Store(true)
	defer f.waiting.Store(false)
	f.pause.Lock()
	defer f.pause.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range batch {
		line.Text = bytes.Clone(line.Text)
		f.lines = append(f.lines, line)
		if line.Missed {
			f.gaps.Add(1)
		}
	}
	f.count.Store(int64(len(f.lines)))
	return nil
}

func (f *follower) stop() {
	f.cancel()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		f.t.Errorf("following ended with %v", err)
	}
	f.ended <- context.Canceled
}

// got are the texts so far.
func (f *follower) got() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range f.lines {
		text := string(line.Text)
		if line.Missed {
			text = "(missed)"
		}
		all = append(all, text)
	}
	return all
}

// wants waits until exactly these lines have come.
func (f *follower) wants(lines ...string) {
	f.t.Helper()
	eventually(f.t, 30*time.Second, func() bool { return f.count.Load() >= int64(len(lines)) }, "lines %q, want %q", f.got(), lines)
	if got := f.got(); !slices.Equal(got, lines) {
		f.t.Fatalf("lines %q, want %q", got, lines)
	}
}

func TestFollow(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	write(t, p.Stdout, "one\ntwo\nthr")
	eventually(t, 30*time.Second, func() bool { return l.read("a/0.log") == "one\ntwo\nthr" }, "not written")
	f := l.follow(t, Query{Folder: "a", Lines: 1})
	f.wants("two")
	none := l.follow(t, Query{Folder: "a"})
	write(t, p.Stdout, "ee\nfour\n")
	f.wants("two", "three", "four")
	none.wants("three", "four")
	two := l.prepare("run2", spec("a", 7)) // a log that was not there
	write(t, two.Stdout, "seven\n")
	f.wants("two", "three", "four", "seven")
	write(t, p.Stdout, "unfinished")
	l.end("run1", p)
	p = l.prepare("run3", spec("a", 0)) // ends the line of the other
	write(t, p.Stdout, "run3\n")
	f.wants("two", "three", "four", "seven", "unfinished", "run3")
	f.mu.Lock()
	if last := f.lines[4:]; last[0].Run != "run1" || last[1].Run != "run3" || last[1].Time.IsZero() {
		t.Errorf("lines %+v", last)
	}
	f.mu.Unlock()
	l.end("run2", two)
	l.end("run3", p)
}

// TestFollowNothingYet: a pool whose workers have printed nothing.
func TestFollowNothingYet(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	f := l.follow(t, Query{Folder: "a", Lines: 100, Run: "run1", Indices: []int{0}})
	write(t, p.Stdout, "one\n")
	f.wants("one")
	l.end("run1", p)
}

func TestFollowUntil(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	write(t, p.Stdout, "one\n")
	eventually(t, 30*time.Second, func() bool { return l.read("a/0.log") != "" }, "not written")
	lines := 0
	err := l.m.Read(t.Context(), Query{Folder: "a", Follow: true, Lines: -1, Until: time.Now().Add(300 * time.Millisecond)},
		func(b []Line) error { lines += len(b); return nil })
	if err != nil || lines != 1 {
		t.Errorf("%d lines, %v", lines, err)
	}
	l.end("run1", p)
}

// TestFollowDisturbed: somebody else cuts, moves and removes the log.
func TestFollowDisturbed(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	path := filepath.Join(l.log(), "a/0.log")
	var want []string
	f := l.follow(t, Query{Folder: "a", Lines: -1})
	print := func(text string) {
		t.Helper()
		write(t, p.Stdout, text+"\n")
		want = append(want, text)
		f.wants(want...)
	}
	print(strings.Repeat("a long line ", 10))
	print("one")
	must(t, os.Truncate(path, 0))
	print("two")
	must(t, os.Truncate(path, 0))
	print("at once, and longer than what was there")
	for _, disturb := range []func() error{
		func() error { return os.Rename(path, path+".mine") },
		func() error { return os.Remove(path) },
		func() error { return os.Rename(filepath.Join(l.log(), "a"), filepath.Join(l.log(), "b")) },
	} {
		must(t, disturb())
		eventually(t, 30*time.Second, func() bool { // superd writes to it until it looks
			print(fmt.Sprint("line ", len(want)))
			_, err := os.Stat(path)
			return err == nil
		}, "no new file")
		print("the first in the new one, or the second")
	}
	must(t, os.Remove(path+".idx"))
	print("six")
	must(t, os.WriteFile(path+".idx", []byte("garbage"), 0o640))
	print("seven")
	l.end("run1", p)
	p = l.prepare("run2", spec("a", 0))
	print("eight")
	l.end("run2", p)
}

// TestFollowRotation: files are rotated and compressed under a reader that follows.
// It gets every line once; some of them are read while they wait for it.
func TestFollowRotation(t *testing.T) {
	for i := range 4 {
		gz, most := i&1 != 0, openParts>>(5*(i>>1)) // with few descriptors files are found again and again
		t.Run(fmt.Sprintf("compress=%v,descriptors=%d", gz, most), func(t *testing.T) {
			l := newLab(t, nil)
			l.most = most
			const writers, lines = 4, 25_000
			var all sync.WaitGroup
			count := map[string]int{}
			pipes := map[string]*Pipes{}
			for i := range writers {
				sp := spec("a", i)
				sp.MaxSize, sp.Keep, sp.Compress = 100_000, 10_000, gz
				name := fmt.Sprintf("run%d", i)
				pipes[name] = l.prepare(name, sp)
				count[name] = lines
			}
			f := l.follow(t, Query{Folder: "a", Lines: -1})
			var left atomic.Int32
			left.Store(writers)
			for name, p := range pipes {
				all.Go(func() {
					defer left.Add(-1)
					c := reexec(t, "writer", "LOGS_NAME="+name, fmt.Sprint("LOGS_LINES=", lines), "LOGS_BUFFER=4096")
					c.Stdout = p.Stdout
					in, err := c.StdinPipe()
					if err == nil {
						err = c.Run()
						in.Close()
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			for i := range 3 { // it falls behind
				eventually(t, 30*time.Second, func() bool { return f.count.Load() > int64(i*lines/4) }, "no lines come")
				f.pause.Lock()
				files := len(l.told(Rotated, ""))
				eventually(t, 30*time.Second, func() bool { return left.Load() == 0 || len(l.told(Rotated, "")) > files+5 }, "nothing is rotated")
				f.pause.Unlock()
			}
			all.Wait()
			for name, p := range pipes {
				l.end(name, p)
			}
			eventually(t, 60*time.Second, func() bool { return f.gaps.Load() > 0 || f.count.Load() >= writers*lines }, "lines are missing")
			checkLines(t, []byte(strings.Join(f.got(), "\n")+"\n"), count)
		})
	}
}

// TestFollowLongLine: a line that is cut is cut alike, whenever it is looked at.
func TestFollowLongLine(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	f := l.follow(t, Query{Folder: "a", Lines: -1})
	for i, size := range []int{100, 300_000, 700_000, 900_000, 10} {
		write(t, p.Stdout, strings.Repeat(string(rune('a'+i)), size))
		if i == 2 { // it has been looked at by then
			eventually(t, 30*time.Second, func() bool { return f.count.Load() > 0 }, "no piece comes")
		}
	}
	write(t, p.Stdout, "\nshort\n")
	l.end("run1", p)
	want := l.readLines(Query{Folder: "a", Lines: -1})
	if n := len(want); n < 4 || string(want[n-1].Text) != "short" || want[n-2].Cut || !want[n-3].Cut {
		t.Fatalf("lines\n%s", show(want))
	}
	eventually(t, 30*time.Second, func() bool { return f.count.Load() == int64(len(want)) }, "%d lines", len(f.got()))
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.EqualFunc(f.lines, want, sameLine) {
		t.Errorf("followed\n%s\nread\n%s", show(f.lines), show(want))
	}
}

// TestFollowMissed: where files go before they are read, the reader is told.
func TestFollowMissed(t *testing.T) {
	for _, keep := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("keep=%d", keep), func(t *testing.T) {
			l := newLab(t, nil)
			sp := spec("a", 0)
			sp.MaxSize, sp.Keep = 2000, keep
			p := l.prepare("run1", sp)
			f := l.follow(t, Query{Folder: "a", Lines: -1})
			write(t, p.Stdout, "0\n")
			f.wants("0")
			f.pause.Lock()
			const lines = 10_000
			for i := 1; i < lines; i++ {
				write(t, p.Stdout, fmt.Sprintln(i))
				if i == 200 {
					eventually(t, 30*time.Second, f.waiting.Load, "nothing comes")
				}
			}
			l.end("run1", p)
			f.pause.Unlock()
			last := fmt.Sprint(lines - 1)
			eventually(t, 30*time.Second, func() bool { return slices.Contains(f.got(), last) }, "the last line has not come: %q", f.got())
			next, told, gaps := 0, false, 0
			for _, text := range f.got() {
				if text == "(missed)" {
					told = true
					gaps++
					continue
				}
				var n int
				fmt.Sscan(text, &n)
				if n < next || n > next && !told {
					t.Fatalf("line %d where %d was to come", n, next)
				}
				if n == next && told {
					t.Fatalf("told of missing lines before %d, but none is", n)
				}
				next, told = n+1, false
			}
			if gaps == 0 {
				t.Error("nothing is missing: the test shows nothing")
			}
		})
	}
}

// TestReadRotation: what is read while files are rotated and compressed is whole.
func TestReadRotation(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.MaxSize, sp.Keep, sp.Compress = 5_000, 10_000, true
	p := l.prepare("run1", sp)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 40_000 {
			fmt.Fprintf(p.Stdout, "%d\n", i)
		}
	}()
	eventually(t, 30*time.Second, func() bool { return l.read("a/0.log") != "" }, "not written")
	for reads, going := 0, true; going; reads++ {
		select {
		case <-ended:
			going = false
		default:
		}
		all := l.readLines(Query{Folder: "a", Lines: -1})
		for i, line := range all {
			if i == 0 && line.File == 0 {
				t.Fatal("no index")
			}
			if string(line.Text) != fmt.Sprint(i) && i < len(all)-1 { // that one may go on
				t.Fatalf("read %d: line %d is %q", reads, i, line.Text)
			}
		}
		last := l.readLines(Query{Folder: "a", Lines: 100})
		for i := range last[:max(len(last)-2, 0)] {
			var a, b int
			fmt.Sscan(string(last[i].Text), &a)
			fmt.Sscan(string(last[i+1].Text), &b)
			if b != a+1 {
				t.Fatalf("read %d: %q after %q", reads, last[i+1].Text, last[i].Text)
			}
		}
	}
	l.end("run1", p)
}

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// reader is what a queue writes to: it may stand still, and fail.
type reader struct {
	mu    sync.Mutex
	going sync.Cond
	still bool // writes wait
	err   error
	took  int // of a write that fails, in bytes
	text  strings.Builder
}

func newReader() *reader {
	r := &reader{}
	r.going.L = &r.mu
	return r
}

func (r *reader) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.still {
		r.going.Wait()
	}
	if r.err != nil {
		n := min(r.took, len(b))
		r.took = 0
		r.text.Write(b[:n])
		return n, r.err
	}
	return r.text.Write(b)
}

func (r *reader) set(still bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.still, r.err = still, err
	r.going.Broadcast()
}

func (r *reader) read() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func dropped(lost uint64, why string) []byte { return fmt.Appendf(nil, "%d lost: %s\n", lost, why) }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("never happened: " + what)
		}
	}
}

func write(q *lineQueue, from, to int) {
	for i := from; i <= to; i++ {
		fmt.Fprintf(q, "%04d\n", i)
	}
}

func lines(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "%04d\n", i)
	}
	return b.String()
}

// TestQueueKeepsOrder: all lines of a reader that keeps up, once and in order.
func TestQueueKeepsOrder(t *testing.T) {
	r := newReader()
	q := newLineQueue(r, 1<<20, dropped)
	write(q, 1, 1000)
	q.close(30 * time.Second)
	if got := r.read(); got != lines(1, 1000) || q.Losing() != "" {
		t.Errorf("%q, %s", got, q.Losing())
	}
}

// TestQueueOfAReaderThatStandsStill: nobody waits, memory is bounded, and what was
// lost stands where it is missing.
func TestQueueOfAReaderThatStandsStill(t *testing.T) {
	r := newReader()
	r.set(true, nil)
	q := newLineQueue(r, 50, dropped) // ten lines
	told := make(chan string, 100)
	q.watch(func() { told <- q.Losing() })
	write(q, 1, 1) // is with the writer
	eventually(t, "the writer has the first line", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.lines) == 0 })
	write(q, 2, 100)
	if why := <-told; !strings.Contains(why, "was not read") {
		t.Error(why)
	}
	if len(q.lines) > 50 || cap(q.lines) > 200 {
		t.Errorf("%d bytes wait, of %d", len(q.lines), cap(q.lines))
	}
	r.set(false, nil)
	if why := <-told; why != "" {
		t.Error(why)
	}
	write(q, 101, 102)
	q.close(30 * time.Second)
	if got, want := r.read(), lines(1, 11)+"89 lost: "+unread+"\n"+lines(101, 102); got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	if len(told) > 0 {
		t.Errorf("it was told %q as well", <-told)
	}
}

// TestQueueOfAReaderThatHasGone: lines are lost and counted; whoever comes after
// it is told.
func TestQueueOfAReaderThatHasGone(t *testing.T) {
	r := newReader()
	r.took = 2 // half a line
	r.set(true, errors.New("broken pipe"))
	q := newLineQueue(r, 1000, dropped)
	write(q, 1, 1)
	eventually(t, "the writer has the first line", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.lines) == 0 })
	write(q, 2, 4)
	r.set(false, errors.New("broken pipe"))
	eventually(t, "lines are lost", func() bool { return strings.Contains(q.Losing(), "broken pipe") })
	eventually(t, "all were tried", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.lines) == 0 })
	write(q, 5, 6)
	eventually(t, "all were tried", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.lines) == 0 })
	r.set(false, nil)
	write(q, 7, 8)
	q.close(30 * time.Second)
	got := r.read()
	begin, rest, ok := strings.Cut(got, " lost: cannot write to standard error: broken pipe\n")
	if !ok || q.Losing() != "" {
		t.Fatalf("%q, %s", got, q.Losing())
	}
	// Which lines were in one write is chance; none is in both, none in neither.
	var n int
	if _, err := fmt.Sscan(begin[strings.LastIndexByte(begin, '\n')+1:], &n); err != nil {
		t.Fatalf("%q: %v", got, err)
	}
	whole := strings.Count(rest, "\n")
	for i := range strings.SplitSeq(begin, "\n") {
		if len(i) == 4 {
			whole++
		}
	}
	if n+whole != 8 || !strings.HasSuffix(rest, lines(8, 8)) {
		t.Errorf("%d lost and %d whole in %q", n, whole, got)
	}
}

// TestQueueIsClosedInTime, whoever reads or not.
func TestQueueIsClosedInTime(t *testing.T) {
	r := newReader()
	r.set(true, nil)
	q := newLineQueue(r, 1000, dropped)
	write(q, 1, 10)
	q.close(time.Millisecond)
	write(q, 11, 12)
	r.set(false, nil)
	<-q.done
	if got := r.read(); !strings.HasPrefix(got, lines(1, 10)) {
		t.Errorf("%q", got)
	}
}

// TestQueueOfManyWriters: lines stay whole.
func TestQueueOfManyWriters(t *testing.T) {
	r := newReader()
	log, q := ownLog(r, true)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for k := range 500 {
				log.Info("said", "by", i, "number", k)
			}
		})
	}
	all.Wait()
	q.close(30 * time.Second)
	said := 0
	for line := range strings.Lines(r.read()) {
		if strings.HasSuffix(line, "\n") && strings.Count(line, "msg=said") == 1 && strings.HasPrefix(line, "time=") {
			said++
		} else if !strings.Contains(line, "were dropped") {
			t.Fatalf("%q", line)
		}
	}
	if said != 4000 && !strings.Contains(r.read(), "were dropped") {
		t.Errorf("%d lines", said)
	}
}

// TestDropLine: it is a line like the others.
func TestDropLine(t *testing.T) {
	_, q := ownLog(newReader(), false)
	defer q.close(time.Second)
	for n, want := range map[uint64]string{
		1: `"level":"WARN","msg":"1 line of superd's own log was dropped: why"}` + "\n",
		2: `"level":"WARN","msg":"2 lines of superd's own log were dropped: why"}` + "\n",
	} {
		if got := string(q.say(n, "why")); !strings.HasSuffix(got, want) || !strings.HasPrefix(got, `{"time":"`) {
			t.Errorf("%q", got)
		}
	}
	var text strings.Builder
	slog.New(logHandler(&text, true)).Info("x")
	if !strings.HasPrefix(text.String(), "time=") {
		t.Errorf("%q", text.String())
	}
}

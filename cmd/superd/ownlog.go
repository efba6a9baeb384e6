package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// lineQueue stands between superd and whoever reads its own log. What superd says
// is put into a queue and written by a goroutine of its own: a reader that stands
// still, or has gone, never holds superd up. Lines that find no room, or cannot be
// written, are counted, and one line says how many they were as soon as it can.
//
// It is an io.Writer for whole lines. Its methods are safe for concurrent use.
type lineQueue struct {
	out  io.Writer
	size int // of what may wait, in bytes
	say  func(lost uint64, why string) (line []byte)

	mu      sync.Mutex
	filled  sync.Cond // lines, missed or closed have changed
	lines   []byte    // waiting to be written
	missed  uint64    // lines that found no room behind them
	losing  string    // why lines are being lost; empty: they are not
	changed func()    // called, without mu, when losing has changed
	busy    bool      // the writer has taken lines and not finished with them
	closed  bool
	done    chan struct{} // closed when the writer has ended
}

// queueSize is some two thousand lines.
const queueSize = 256 << 10

const unread = "standard error was not read, and more than the queue takes was waiting"

// newLineQueue begins to write to out.
func newLineQueue(out io.Writer, size int, say func(lost uint64, why string) []byte) *lineQueue {
	q := &lineQueue{out: out, size: size, say: say, changed: func() {}, done: make(chan struct{})}
	q.filled.L = &q.mu
	go q.run()
	return q
}

// Write takes a line. It never waits and never fails.
func (q *lineQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	// Once a line has been lost the next ones are too, until the writer gets on:
	// the gap is in one place.
	if q.missed == 0 && len(q.lines)+len(line) <= q.size {
		q.lines = append(q.lines, line...)
	} else {
		q.missed++
	}
	tell := q.note(q.missed > 0, unread)
	q.filled.Signal()
	q.mu.Unlock()
	tell()
	return len(line), nil
}

// note remembers that lines are lost, or that all is well, and gives what is to
// be called without mu.
func (q *lineQueue) note(losing bool, why string) func() {
	if !losing || q.losing == why {
		return func() {}
	}
	q.losing = why
	return q.changed
}

// Losing says why lines are being lost; empty: they are not.
func (q *lineQueue) Losing() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.losing == "" {
		return ""
	}
	return "superd's own log loses lines: " + q.losing
}

// watch has f be called whenever Losing changes. f must not wait for anything.
func (q *lineQueue) watch(f func()) {
	q.mu.Lock()
	q.changed = f
	losing := q.losing != ""
	q.mu.Unlock()
	if losing {
		f()
	}
}

// take waits for something to write. It is over when ok is false.
func (q *lineQueue) take(spare []byte) (lines []byte, missed uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	for len(q.lines) == 0 && q.missed == 0 && !q.closed {
		q.filled.Wait()
	}
	q.busy = true
	lines, missed = q.lines, q.missed
	q.lines, q.missed = spare[:0], 0
	return lines, missed, len(lines) > 0 || missed > 0
}

// run is the writer.
func (q *lineQueue) run() {
	defer close(q.done)
	var lines []byte
	var lost uint64 // lines that could not be written, and were not told of
	var why string
	for {
		if cap(lines) > 64<<10 {
			lines = nil // it was needed once
		}
		next, missed, ok := q.take(lines)
		lines = next
		if !ok {
			return
		}
		if lost > 0 {
			if _, err := q.out.Write(q.say(lost, why)); err != nil {
				lost += uint64(bytes.Count(lines, newline)) + missed
				continue
			}
			lost = 0
		}
		if lost, why = q.write(lines); lost > 0 {
			lost += missed
			q.failing(why)
			continue
		}
		if missed > 0 {
			if _, err := q.out.Write(q.say(missed, unread)); err != nil {
				lost, why = missed, cannotWrite(err)
				q.failing(why)
				continue
			}
		}
		q.fine()
	}
}

var newline = []byte("\n")

func cannotWrite(err error) string { return fmt.Sprintf("cannot write to standard error: %v", err) }

// write writes lines, and says how many it could not write, and why.
func (q *lineQueue) write(lines []byte) (lost uint64, why string) {
	n, err := q.out.Write(lines)
	if err == nil || n == len(lines) {
		return 0, ""
	}
	if n > 0 && lines[n-1] != '\n' {
		_, _ = q.out.Write(newline) // so that what is cut does not run into what follows
	}
	return uint64(bytes.Count(lines[n:], newline)), cannotWrite(err)
}

func (q *lineQueue) failing(why string) {
	q.mu.Lock()
	tell := q.note(true, why)
	q.mu.Unlock()
	tell()
}

// fine notes that everything was written, unless more has been lost since.
func (q *lineQueue) fine() {
	q.mu.Lock()
	tell := func() {}
	if q.losing != "" && q.missed == 0 {
		q.losing, tell = "", q.changed
	}
	q.mu.Unlock()
	tell()
}

// close takes nothing more and has what waits be written, but not for longer than
// limit.
func (q *lineQueue) close(limit time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.filled.Signal()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(limit):
	}
}

// flush waits until everything that was said is written, but not for longer than limit.
func (q *lineQueue) flush(limit time.Duration) {
	for late := time.Now().Add(limit); q.writing() && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
}

func (q *lineQueue) writing() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy || len(q.lines) > 0 || q.missed > 0
}

// logHandler writes text for people, and JSON for everything else.
func logHandler(w io.Writer, people bool) slog.Handler {
	if people {
		return slog.NewTextHandler(w, nil)
	}
	return slog.NewJSONHandler(w, nil)
}

// ownLog is superd's own log on a file, through a queue.
func ownLog(out io.Writer, people bool) (*slog.Logger, *lineQueue) {
	q := newLineQueue(out, queueSize, func(lost uint64, why string) []byte {
		var b bytes.Buffer
		what := fmt.Sprintf("%d lines of superd's own log were dropped", lost)
		if lost == 1 {
			what = "1 line of superd's own log was dropped"
		}
		slog.New(logHandler(&b, people)).Warn(what + ": " + why)
		return b.Bytes()
	})
	return slog.New(logHandler(q, people)), q
}

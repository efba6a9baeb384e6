package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// logHost is a superd of one pool's logs that dies as often as it is told to.
type logHost struct {
	mu    sync.Mutex
	lines []LogLine // by time
	more  chan struct{}
	asked []string
	// breakAfter is after how many lines the next answer breaks; <0: never.
	breakAfter func() int
	final      string // what the answer ends with before its time, after final lines
}

func newLogHost(t *testing.T) (*logHost, *Client) {
	h := &logHost{more: make(chan struct{}), breakAfter: func() int { return -1 }}
	path := filepath.Join(t.TempDir(), "s")
	listenAt(t, path, h)
	return h, newTestClient(t, Options{Sockets: []string{path}})
}

func (h *logHost) write(lines ...LogLine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, lines...)
	close(h.more)
	h.more = make(chan struct{})
}

func (h *logHost) queries() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked)
}

func (h *logHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	h.mu.Lock()
	h.asked = append(h.asked, r.URL.RawQuery)
	left := h.breakAfter()
	final := h.final
	all, more := slices.Clone(h.lines), h.more
	h.mu.Unlock()
	next := len(all)
	since, _ := time.Parse(time.RFC3339Nano, q.Get("since"))
	until, _ := time.Parse(time.RFC3339Nano, q.Get("until"))
	fits := func(l LogLine) bool {
		return (l.Time.IsZero() || !l.Time.Before(since)) && (until.IsZero() || !l.Time.After(until))
	}
	all = slices.DeleteFunc(all, func(l LogLine) bool { return !fits(l) })
	if n, err := strconv.Atoi(q.Get("lines")); err == nil && len(all) > n {
		all = all[len(all)-n:]
	}
	w.WriteHeader(200)
	_ = http.NewResponseController(w).Flush()
	for {
		for i := range all {
			if left == 0 {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			left--
			_, _ = w.Write(append(all[i].AppendJSON(nil), '\n'))
		}
		_ = http.NewResponseController(w).Flush()
		if left > 40 || left == 0 { // else go on with this answer, until it breaks
			panic(http.ErrAbortHandler)
		}
		if final != "" {
			l := LogLine{Missed: final}
			_, _ = w.Write(append(l.AppendJSON(nil), '\n'))
			return
		}
		if q.Get("follow") == "" {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
		h.mu.Lock()
		all, more = slices.Clone(h.lines[next:]), h.more
		next = len(h.lines)
		h.mu.Unlock()
		all = slices.DeleteFunc(all, func(l LogLine) bool { return !fits(l) })
	}
}

// logWriter makes numbered lines of several workers, with rotations, stderr kept
// apart, lines of superd's own, and a clock that stands still for some time.
type logWriter struct {
	now  time.Time
	made int64
	file map[string]int64
	end  map[string]int64
	n    int
	last string // what the last line was written to
}

func (g *logWriter) line() LogLine {
	if g.now.IsZero() {
		g.now, g.file, g.end = time.Now().Add(-time.Hour), map[string]int64{}, map[string]int64{}
	}
	if rand.IntN(3) == 0 {
		g.now = g.now.Add(time.Duration(rand.IntN(2000)) * time.Millisecond)
	}
	worker, log := fmt.Sprintf("m/%d", rand.IntN(3)), rand.IntN(2)
	key := worker + []string{"o", "e"}[log]
	if key != g.last {
		g.last, g.now = key, g.now.Add(time.Millisecond)
	}
	if g.file[key] == 0 || rand.IntN(20) == 0 {
		g.made++
		g.file[key], g.end[key] = g.made, 0
	}
	g.n++
	text := strconv.Itoa(g.n)
	g.end[key] += int64(len(text)) + 1
	l := LogLine{Time: At(g.now), Worker: Text(worker), Stream: []string{StreamOut, StreamErr}[log], Line: LogText(text), File: g.file[key], End: g.end[key]}
	if rand.IntN(10) == 0 {
		l.Stream = StreamSelf
	}
	return l
}

// TestFollowingLogsLosesAndRepeatsNothing: the answer breaks again and again, in
// the history and while following, and lines are written meanwhile.
func TestFollowingLogsLosesAndRepeatsNothing(t *testing.T) {
	for _, before := range []int{0, 50} {
		h, c := newLogHost(t)
		g := &logWriter{}
		for range before {
			h.write(g.line())
		}
		h.breakAfter = func() int { // with h.mu held
			for range 1 + rand.IntN(4) {
				h.lines = append(h.lines, g.line())
			}
			return rand.IntN(120)
		}
		const total = 600
		var got []string
		stop := errors.New("enough")
		err := c.Logs(t.Context(), LogQuery{Pool: "m", Lines: "20", Follow: true}, func(l LogLine) error {
			got = append(got, string(l.Text()))
			if len(got) == total {
				return stop
			}
			h.write(g.line()) // so that there is always one to come
			return nil
		})
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		first, _ := strconv.Atoi(got[0])
		for i, text := range got {
			if text != strconv.Itoa(first+i) {
				t.Fatalf("line %q where %d was expected, after %d lines", text, first+i, i)
			}
		}
		if before == 0 && first != 1 {
			t.Errorf("begins with line %d", first)
		}
	}
}

// TestLinesWrittenWhileNobodyAnswered: a follower who had seen nothing gets all
// that was written since, not only the last so many.
func TestLinesWrittenWhileNobodyAnswered(t *testing.T) {
	h, c := newLogHost(t)
	past := time.Now().Add(-time.Hour)
	h.write(LogLine{Time: At(past), Worker: "m/0", Stream: StreamOut, Line: LogText("old"), File: 1, End: 4})
	breaks := 0
	h.breakAfter = func() int {
		if breaks++; breaks == 1 {
			for i := range 50 {
				h.lines = append(h.lines, LogLine{Time: At(time.Now().Add(time.Second)), Worker: "m/0", Stream: StreamOut, Line: LogText(strconv.Itoa(i)), File: 1, End: int64(5 + i)})
			}
			return 0
		}
		return -1
	}
	var got []string
	stop := errors.New("enough")
	err := c.Logs(t.Context(), LogQuery{Pool: "m", Lines: "1", Follow: true}, func(l LogLine) error {
		if got = append(got, string(l.Text())); string(l.Text()) == "49" {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || len(got) != 51 || got[0] != "old" || got[1] != "0" {
		t.Errorf("%v: %v", err, got)
	}
}

// TestHistoryGoesOnAsFollowing: what a history has told is not told again, and
// what came between is.
func TestHistoryGoesOnAsFollowing(t *testing.T) {
	for _, lines := range []string{"5", "0", "all"} {
		h, c := newLogHost(t)
		g := &logWriter{}
		for range 10 {
			h.write(g.line())
		}
		q := LogQuery{Pool: "m", Lines: lines, Position: &LogPosition{}}
		var got []string
		each := func(l LogLine) error {
			if got = append(got, string(l.Text())); string(l.Text()) == "13" {
				return context.Canceled
			}
			return nil
		}
		if err := c.Logs(t.Context(), q, each); err != nil {
			t.Fatal(err)
		}
		g.now = time.Now().Add(time.Millisecond)
		h.write(g.line(), g.line(), g.line())
		q.Follow = true
		if err := c.Logs(t.Context(), q, each); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		want := map[string]string{"5": "6 7 8 9 10 11 12 13", "0": "11 12 13", "all": "1 2 3 4 5 6 7 8 9 10 11 12 13"}[lines]
		if strings.Join(got, " ") != want {
			t.Errorf("lines=%s: %v", lines, got)
		}
	}
}

// TestCutOff: superd ends the answer before its time. A follower is told, a
// history goes on as long as that gets any further.
func TestCutOff(t *testing.T) {
	h, c := newLogHost(t)
	g := &logWriter{}
	for range 10 {
		h.write(g.line())
	}
	h.final = "too slow"
	n := 0
	each := func(LogLine) error { n++; return nil }
	var off *LogCutOff
	if err := c.Logs(t.Context(), LogQuery{Pool: "m", Follow: true}, each); !errors.As(err, &off) || off.Reason != "too slow" || n != 10 {
		t.Errorf("%v after %d lines", err, n)
	}
	n = 0
	if err := c.Logs(t.Context(), LogQuery{Pool: "m"}, each); !errors.As(err, &off) || n != 10 || len(h.queries()) != 3 {
		t.Errorf("%v after %d lines, %v", err, n, h.queries())
	}
	h.breakAfter = func() int { h.final = ""; return 3 }
	n = 0
	h.mu.Lock()
	h.asked = nil
	h.mu.Unlock()
	if err := c.Logs(t.Context(), LogQuery{Pool: "m"}, func(LogLine) error {
		if n++; n == 3 {
			h.mu.Lock()
			h.breakAfter = func() int { return -1 }
			h.mu.Unlock()
		}
		return nil
	}); err != nil || n != 10 || len(h.queries()) != 2 {
		t.Errorf("%v after %d lines, %v", err, n, h.queries())
	}
}

func TestLogQueryOnTheWire(t *testing.T) {
	index := 3
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for want, q := range map[string]LogQuery{
		"/v1/logs/mailers":     {Pool: "mailers"},
		"/v1/logs/mailers/3":   {Pool: "mailers", Index: &index},
		"/v1/logs/job/migrate": {Pool: "job/migrate"},
		"/v1/logs/a%2Fb%3Fc":   {Pool: "a/b?c"},
		"/v1/logs/mailers?follow=true&grep=a%26b&lines=all&run=r&since=2026-01-02T02%3A04%3A05.000000006Z&until=2026-01-02T03%3A04%3A05.000000006Z": {
			Pool: "mailers", Lines: "all", Run: "r", Grep: "a&b", Since: at, Until: at.Add(time.Hour), Follow: true},
	} {
		if got := q.path(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

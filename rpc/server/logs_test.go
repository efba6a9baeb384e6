package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

type (
	logQuery = supervisor.LogQuery
	logLines = []supervisor.LogLine
	emitter  = func([]supervisor.LogLine) error
)

// has gives the fake a log of these lines, which can be followed and has no more.
func (f *fake) has(lines ...supervisor.LogLine) {
	f.logs = func(ctx context.Context, q logQuery, emit emitter) error {
		if err := emit(lines); err != nil || !q.Follow {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

func textLine(index int, text string) supervisor.LogLine {
	return supervisor.LogLine{Index: index, Stream: 'o', Run: "run0", Time: boot.Wall, Text: []byte(text), File: 3, End: 9}
}

func TestLogsOnTheWire(t *testing.T) {
	f := newFake()
	f.has(textLine(0, `say "x"`), supervisor.LogLine{Index: 1, Stream: 's', Text: []byte("superd: 5 bytes dropped here"), File: 4, End: 30},
		supervisor.LogLine{Index: 1, Time: boot.Wall, Missed: true, Text: []byte("rotated away")},
		supervisor.LogLine{Index: 0, Stream: 'e', Text: []byte("\xff"), Cut: true})
	c := serve(t, f, Options{})
	got := c.get("/v1/logs/mailers")
	const want = `{"time":"2026-01-02T03:04:05.000000006Z","worker":"mailers/0","run_id":"run0","stream":"stdout","line":"say \"x\"","file":3,"end":9}` + "\n" +
		`{"time":null,"worker":"mailers/1","run_id":null,"stream":"superd","line":"superd: 5 bytes dropped here","file":4,"end":30}` + "\n" +
		`{"time":"2026-01-02T03:04:05.000000006Z","worker":"mailers/1","missed":"rotated away"}` + "\n" +
		`{"time":null,"worker":"mailers/0","run_id":null,"stream":"stderr","line":"` + "\ufffd" + `","bytes":"/w==","cut":true,"file":0,"end":0}` + "\n"
	if string(got.body) != want || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%s\n%v", got.body, got.header)
	}
	plain := func(path string) string {
		req, err := http.NewRequest("GET", "http://superd"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/plain")
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%v %v", resp.Header, err)
		}
		return string(body)
	}
	if got := plain("/v1/logs/mailers"); got != "mailers/0 | say \"x\"\nmailers/1 | superd: 5 bytes dropped here\nmailers/1 | superd: rotated away\nmailers/0 | \xff\n" {
		t.Errorf("%q", got)
	}
	f.has(supervisor.LogLine{Text: []byte("a"), Cut: true}, supervisor.LogLine{Text: []byte("b")})
	if got := plain("/v1/logs/mailers/0"); got != "ab\n" {
		t.Errorf("%q", got)
	}
}

func TestLogQueries(t *testing.T) {
	f := newFake()
	var asked logQuery
	f.logs = func(_ context.Context, q logQuery, _ emitter) error { asked = q; return nil }
	c := serve(t, f, Options{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for query, want := range map[string]logQuery{
		"":                                {Lines: 100},
		"?follow":                         {Lines: 100, Follow: true},
		"?lines=0":                        {},
		"?lines=7&run=r1&follow=true":     {Lines: 7, Run: "r1", Follow: true},
		"?run=r1":                         {Lines: -1, Run: "r1"},
		"?lines=all":                      {Lines: -1},
		"?since=2026-01-02T03:04:05.006Z": {Lines: -1, Since: at},
		"?until=2026-01-02T04:04:05.006%2B01:00&lines=all&follow=false": {Lines: -1, Until: at},
	} {
		want.Folder = "mailers"
		if got := c.get("/v1/logs/mailers" + query); got.status != 200 {
			t.Errorf("%s: %s", query, got.body)
		}
		asked.Since, asked.Until = asked.Since.UTC(), asked.Until.UTC()
		if !reflect.DeepEqual(asked, want) {
			t.Errorf("%s: %+v, want %+v", query, asked, want)
		}
	}
	begin := time.Now()
	c.get("/v1/logs/mailers/7?since=10m&until=1m&grep=a%2Bb")
	if d := asked.Until.Sub(asked.Since); d != 9*time.Minute || asked.Until.Before(begin.Add(-time.Minute)) || asked.Until.After(time.Now()) {
		t.Errorf("%+v", asked)
	}
	if asked.Grep.String() != "a+b" || asked.Lines != -1 || !reflect.DeepEqual(asked.Indices, []int{7}) {
		t.Errorf("%+v", asked)
	}
	for query, word := range map[string]string{
		"?lines=-1": "all", "?lines=x": "number", "?lines=99999999999": "number", "?since=yesterday": "10m", "?until=1x": "10m",
		"?grep=(": "RE2", "?follow=maybe": "true", "?n=5": "lines", "?since=1m&until=10m": "nothing can fit",
	} {
		if e := c.get("/v1/logs/mailers" + query).wireErr(t); e.Kind != rpc.KindInvalid || !strings.Contains(e.Message, word) || !strings.Contains(e.Message, "show the log of mailers") {
			t.Errorf("%s: %+v", query, e)
		}
	}
}

// TestLogsThatAreNotThere: what answers nothing, and what answers an error.
func TestLogsThatAreNotThere(t *testing.T) {
	f := newFake()
	fail := supervisor.ErrNoLog
	f.logs = func(context.Context, logQuery, emitter) error { return fail }
	c := serve(t, f, Options{})
	for _, path := range []string{"mailers", "mailers/1", "mailers?run=run0", "mailers/0?run=run-1"} {
		if got := c.get("/v1/logs/" + path); got.status != 200 || len(got.body) != 0 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	want := func(path string, kind rpc.Kind, word string) {
		t.Helper()
		if e := c.get("/v1/logs/" + path).wireErr(t); e.Kind != kind || !strings.Contains(e.Message, word) {
			t.Errorf("%s: %+v", path, e)
		}
	}
	want("mailers/2", rpc.KindNotFound, "there is no worker mailers/2")
	want("mailers/x", rpc.KindInvalid, "index")
	want("mailers?run=r9", rpc.KindNotFound, `"r9"`)
	want("nosuch", rpc.KindNotFound, `no pool "nosuch"`)
	want("job/migrate", rpc.KindNotFound, `no job "migrate"`)
	want("job", rpc.KindNotFound, `no pool "job"`)
	fail = supervisor.ErrNoRun
	want("mailers?run=r9", rpc.KindNotFound, `"r9"`)
	if got := c.get("/v1/logs/mailers?run=run0"); got.status != 200 || len(got.body) != 0 {
		t.Errorf("a run that has said nothing yet: %d %s", got.status, got.body)
	}
	fail = errors.New("disk on fire")
	want("mailers", rpc.KindInternal, "disk on fire")
	fail = supervisor.ErrNoLog
	for target, word := range map[config.LogTarget]string{config.LogNone: "kept nowhere", config.LogInherit: "standard output"} {
		f.changePool("mailers", func(p *core.Pool) {
			cfg := *p.Config
			cfg.Log.Target = target
			p.Config = &cfg
		})
		want("mailers", rpc.KindConflict, word)
		want("mailers?follow", rpc.KindConflict, word)
	}
	f.has(textLine(2, "of old"))
	if got := c.get("/v1/logs/mailers/2"); !strings.Contains(string(got.body), "of old") {
		t.Errorf("a log that is still there: %s", got.body)
	}
}

// stream reads a log answer line by line.
type logStream struct {
	t    *testing.T
	body io.ReadCloser
	d    *rpc.LogDecoder
}

func (c *client) follow(t *testing.T, path string) *logStream {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://superd"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return &logStream{t, resp.Body, rpc.NewLogDecoder(resp.Body)}
}

func (s *logStream) next() rpc.LogLine {
	s.t.Helper()
	var l rpc.LogLine
	if err := s.d.Next(&l); err != nil {
		s.t.Fatal(err)
	}
	return l
}

// TestFollowingALogThatComes: the header comes at once, the lines when they do.
func TestFollowingALogThatComes(t *testing.T) {
	f := newFake()
	var there atomic.Bool
	var ended sync.WaitGroup
	ended.Add(1)
	f.logs = func(ctx context.Context, q logQuery, emit emitter) error {
		if !there.Load() {
			return supervisor.ErrNoLog
		}
		defer ended.Done()
		if err := emit(logLines{textLine(0, fmt.Sprint("all of it: ", q.Lines))}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	c := serve(t, f, Options{})
	s := c.follow(t, "/v1/logs/mailers?follow&lines=0")
	there.Store(true)
	if l := s.next(); string(l.Line) != "all of it: -1" {
		t.Errorf("%s", l.Line)
	}
	s.body.Close()
	ended.Wait() // nobody goes on reading for a peer that has gone
}

// TestRoleTakenAway: a follower who may not read any longer is told so and gets
// nothing more, whether the log is busy or not.
func TestRoleTakenAway(t *testing.T) {
	for _, busy := range []bool{false, true} {
		f := newShared()
		secret := make(chan struct{})
		f.logs = func(ctx context.Context, q logQuery, emit emitter) error {
			if err := emit(logLines{textLine(0, "first")}); err != nil {
				return err
			}
			if busy {
				<-secret
				return emit(logLines{textLine(0, "secret")})
			}
			<-ctx.Done()
			return ctx.Err()
		}
		c := serve(t, f, Options{Lookup: people})
		c.open()
		s := c.as(6003, 100).follow(t, "/v1/logs/mailers?follow")
		if l := s.next(); string(l.Line) != "first" {
			t.Fatalf("%s", l.Line)
		}
		f.show(func(snap *supervisor.Snapshot) { snap.Info.Viewers = nil })
		close(secret)
		if l := s.next(); !strings.Contains(l.Missed, "viewer") || l.Worker != "" {
			t.Errorf("%+v", l)
		}
		if err := s.d.Next(&rpc.LogLine{}); !errors.Is(err, io.EOF) {
			t.Errorf("not a proper end: %v", err)
		}
	}
}

// TestSlowReaderOfALog: one that takes too long over a piece is told, and the
// answer ends properly; one that takes nothing is hung up on.
func TestSlowReaderOfALog(t *testing.T) {
	f := newFake()
	var all logLines
	for i := range 5000 {
		l := textLine(0, strings.Repeat("x", i%300))
		l.Time = boot.Wall.Add(time.Duration(i) * time.Second)
		all = append(all, l)
	}
	f.has(all...)
	var ticks atomic.Int64
	slow := func() core.Time { // each write takes 6 s
		now := boot
		now.Boot += time.Duration(ticks.Add(1)) * 6 * time.Second
		return now
	}
	c := serve(t, f, Options{Now: slow})
	s := c.follow(t, "/v1/logs/mailers?follow")
	n := 0
	l := s.next()
	for ; l.Missed == ""; l = s.next() {
		n++
	}
	if n == 0 || n == len(all) || l.Worker != "" || !strings.Contains(l.Missed, "since") || !l.Time.Equal(all[n-1].Time) {
		t.Errorf("after %d lines: %+v", n, l)
	}
	if err := s.d.Next(&rpc.LogLine{}); !errors.Is(err, io.EOF) {
		t.Errorf("not a proper end: %v", err)
	}
}

func TestReaderOfALogThatTakesNothing(t *testing.T) {
	f := newFake()
	ended := make(chan struct{})
	f.logs = func(ctx context.Context, q logQuery, emit emitter) error {
		defer close(ended)
		for {
			if err := emit(logLines{textLine(0, strings.Repeat("x", 100_000))}); err != nil {
				return err
			}
		}
	}
	c := serve(t, f, Options{Patience: 50 * time.Millisecond})
	conn, err := net.Dial("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/logs/mailers?follow HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	<-ended
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server hangs up", func() (hup bool) {
		_ = raw.Control(func(fd uintptr) {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			n, _ := unix.Poll(poll, 0)
			hup = n == 1 && poll[0].Revents&unix.POLLHUP != 0
		})
		return hup
	})
}

// TestLogsWhenSuperdEnds: last words are still served, and nobody takes the end
// of superd for the end of the log.
func TestLogsWhenSuperdEnds(t *testing.T) {
	f := newFake()
	stopped := make(chan struct{})
	f.logs = func(ctx context.Context, q logQuery, emit emitter) error {
		if err := emit(logLines{textLine(0, "first")}); err != nil {
			return err
		}
		<-stopped
		if err := emit(logLines{textLine(0, "last words")}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	c := serve(t, f, Options{})
	s := c.follow(t, "/v1/logs/mailers?follow")
	s.next()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = c.server.Shutdown(ctx)
	}()
	<-c.server.done
	close(stopped)
	if l := s.next(); string(l.Line) != "last words" {
		t.Errorf("%s", l.Line)
	}
	if err := s.d.Next(&rpc.LogLine{}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the answer ended as if the log did: %v", err)
	}
}

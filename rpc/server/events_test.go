package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// numbered makes events from..to of a pool, long ones if pad is given.
func numbered(from, to uint64, pool string, pad int) []supervisor.Event {
	var list []supervisor.Event
	for seq := from; seq <= to; seq++ {
		list = append(list, supervisor.Event{Seq: seq, Time: boot.Wall, Notice: core.Notice{
			Type: "worker.exited", Pool: pool, Worker: pool + "/0", RunID: "run0", PID: 4711, Revision: 7,
			Message: strings.Repeat("x", pad) + fmt.Sprint(seq), Data: map[string]any{"uptime": 1500 * time.Millisecond},
		}})
	}
	return list
}

func decode(t testing.TB, body []byte) []rpc.Event {
	t.Helper()
	var list []rpc.Event
	d := rpc.NewEventDecoder(strings.NewReader(string(body)))
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ev)
	}
}

func TestEventsOnTheWire(t *testing.T) {
	f := newFake()
	f.happen(0, numbered(7, 7, "mailers", 0)...)
	f.happen(0, supervisor.Event{Seq: 8, Time: boot.Wall, Notice: core.Notice{Type: "superd.started"}})
	got := serve(t, f, Options{}).get("/v1/events")
	const want = `{"seq":7,"time":"2026-01-02T03:04:05.000000006Z","type":"worker.exited","pool":"mailers","worker":"mailers/0","run_id":"run0",` +
		`"pid":4711,"revision":7,"deployment":null,"message":"7","data":{"uptime":1.5}}` + "\n" +
		`{"seq":8,"time":"2026-01-02T03:04:05.000000006Z","type":"superd.started","pool":null,"worker":null,"run_id":null,` +
		`"pid":null,"revision":null,"deployment":null,"message":"","data":{}}` + "\n"
	if string(got.body) != want || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%s", got.body)
	}
}

func TestEventsAreFiltered(t *testing.T) {
	f := newFake()
	f.happen(0, numbered(1, 3, "mailers", 0)...)
	f.happen(0, numbered(4, 4, "web", 0)...)
	f.happen(0, supervisor.Event{Seq: 5, Notice: core.Notice{Type: "deployment.started", Pool: "mailers"}})
	c := serve(t, f, Options{})
	for query, want := range map[string]string{
		"":                                 "1 2 3 4 5",
		"?since=3":                         "4 5",
		"?since=5":                         "",
		"?pool=web":                        "4",
		"?pool=web&pool=mailers":           "1 2 3 4 5",
		"?pool=gone":                       "",
		"?type=deployment.*":               "5",
		"?type=worker.exited&pool=mailers": "1 2 3",
		"?follow=false":                    "1 2 3 4 5",
	} {
		var seqs []string
		for _, ev := range decode(t, c.get("/v1/events"+query).body) {
			seqs = append(seqs, fmt.Sprint(ev.Seq))
		}
		if got := strings.Join(seqs, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{"?since=-1", "?since=x", "?follow=maybe", "?type=[", "?pools=x"} {
		if e := c.get("/v1/events" + query).wireErr(t); e.Kind != rpc.KindInvalid {
			t.Errorf("%s: %+v", query, e)
		}
	}
}

// TestEventsAreManyAndFollowed: more than a batch, then one more while following.
func TestEventsAreManyAndFollowed(t *testing.T) {
	f := newFake()
	f.show(func(s *supervisor.Snapshot) { s.Seq = 10000 })
	f.happen(0, numbered(1, 3*eventBatch, "mailers", 0)...)
	c := serve(t, f, Options{})
	if n := len(decode(t, c.get("/v1/events").body)); n != 3*eventBatch {
		t.Errorf("%d events", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://superd/v1/events?follow&since=10", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	d := rpc.NewEventDecoder(resp.Body)
	next := func() rpc.Event {
		t.Helper()
		ev, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	for want := uint64(11); want <= 3*eventBatch; want++ {
		if ev := next(); ev.Seq != want {
			t.Fatalf("event %d, want %d", ev.Seq, want)
		}
	}
	f.happen(0, numbered(3*eventBatch+1, 3*eventBatch+1, "mailers", 0)...)
	if ev := next(); ev.Seq != 3*eventBatch+1 {
		t.Errorf("event %d", ev.Seq)
	}
	// What has left the memory meanwhile is one line.
	f.happen(5, numbered(3*eventBatch+2, 3*eventBatch+100, "mailers", 0)...)
	ev := next()
	if ev.Type != rpc.EventsMissed || ev.Data["from"] != float64(3*eventBatch+2) || ev.Data["to"] != float64(3*eventBatch+95) || ev.Seq != 3*eventBatch+95 {
		t.Errorf("%+v", ev)
	}
	if ev := next(); ev.Seq != 3*eventBatch+96 {
		t.Errorf("event %d", ev.Seq)
	}
}

// TestNumbersThatWentBack: whoever remembers more than there is hears of it, and
// of what happens next.
func TestNumbersThatWentBack(t *testing.T) {
	f := newFake()
	f.happen(0, numbered(1, 5, "mailers", 0)...)
	c := serve(t, f, Options{})
	if list := decode(t, c.get("/v1/events?since=99").body); len(list) != 1 || list[0].Type != rpc.EventsMissed || list[0].Data["from"] != 6.0 {
		t.Errorf("%+v", list)
	}
	if list := decode(t, c.get("/v1/events?since=5").body); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestGapAtTheBeginning(t *testing.T) {
	f := newFake()
	f.happen(2, numbered(1, 10, "mailers", 0)...)
	c := serve(t, f, Options{})
	list := decode(t, c.get("/v1/events?since=4").body)
	if len(list) != 3 || list[0].Type != rpc.EventsMissed || list[0].Data["from"] != 5.0 || list[0].Data["to"] != 8.0 || list[1].Seq != 9 {
		t.Errorf("%+v", list)
	}
	if list := decode(t, c.get("/v1/events").body); len(list) != 2 {
		t.Errorf("since the beginning of memory: %+v", list)
	}
}

// TestSlowReaderIsCutOff: a reader that takes nothing is hung up on, and the
// supervisor feels nothing of it.
func TestSlowReaderIsCutOff(t *testing.T) {
	f := newFake()
	f.show(func(s *supervisor.Snapshot) { s.Seq = 1 << 40 })
	c := serve(t, f, Options{Patience: 50 * time.Millisecond})
	conn, err := net.Dial("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/events?follow HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	for i := range uint64(8) { // 4 MiB: more than a socket takes
		f.happen(0, numbered(i*500+1, i*500+500, "mailers", 1000)...)
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server hangs up on a reader that takes nothing", func() (hup bool) {
		_ = raw.Control(func(fd uintptr) {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			n, _ := unix.Poll(poll, 0)
			hup = n == 1 && poll[0].Revents&unix.POLLHUP != 0
		})
		return hup
	})
	if got, err := io.Copy(io.Discard, r); err != nil || got > 4<<20 {
		t.Errorf("%d bytes were kept, %v", got, err)
	}
}

// TestConnectionsAreBounded: per user, in all, and the last for admins.
func TestConnectionsAreBounded(t *testing.T) {
	c := serve(t, newShared(), Options{Lookup: people, PerUID: 2, Total: 6, Reserved: 2})
	c.open()
	vera1, vera2 := c.as(6003, 100), c.as(6003, 100)
	for _, v := range []*client{vera1, vera2} {
		if got := v.get("/v1/status"); got.status != 200 {
			t.Fatalf("%d", got.status)
		}
	}
	if e := c.as(6003, 100).get("/v1/status").wireErr(t); e.Kind != rpc.KindTooMany || !strings.Contains(e.Message, "of this user") {
		t.Errorf("third of vera: %+v", e)
	}
	olga1, olga2 := c.as(6002, 100), c.as(6002, 100)
	olga1.get("/v1/status")
	olga2.get("/v1/status")
	if e := c.as(6001, 100).get("/v1/status").wireErr(t); e.Kind != rpc.KindTooMany || !strings.Contains(e.Message, "kept for root") {
		t.Errorf("the fifth: %+v", e)
	}
	root1, root2 := c.as(0, 0), c.as(0, 0)
	for _, r := range []*client{root1, root2} {
		if got := r.get("/v1/status"); got.status != 200 {
			t.Errorf("root is locked out: %s", got.body)
		}
	}
	if e := c.as(0, 0).get("/v1/status").wireErr(t); e.Kind != rpc.KindTooMany {
		t.Errorf("beyond the total: %+v", e)
	}
	vera1.http.Transport.(*oneConn).Close()
	eventually(t, "the place is free again", func() bool {
		resp, err := c.as(6003, 100).http.Get("http://superd/v1/status")
		if err != nil {
			return false // beyond what is refused politely
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

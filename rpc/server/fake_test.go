package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// fake is a supervisor that holds what a test puts into it.
type fake struct {
	mu       sync.Mutex
	snap     *supervisor.Snapshot
	newer    chan struct{}
	events   []supervisor.Event
	more     chan struct{}
	commands []core.Command

	do       func(core.Command) (core.Reply, error)
	apply    func() (*supervisor.ApplyResult, error)
	shutdown func(now, detach bool) error
	upgrade  func(path string) (supervisor.Upgrade, error)
	usage    map[int]supervisor.Usage
	work     map[string]supervisor.Work // by run
	exits    func(supervisor.ExitQuery) ([]supervisor.Exit, error)
	logs     func(context.Context, supervisor.LogQuery, func([]supervisor.LogLine) error) error
}

var _ supervisor.API = (*fake)(nil)

func (f *fake) Snapshot() (*supervisor.Snapshot, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snap, f.newer
}

// show publishes a snapshot made by change from a copy of the newest.
func (f *fake) show(change func(*supervisor.Snapshot)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := *f.snap
	next.Pools = append([]*core.Pool(nil), f.snap.Pools...)
	change(&next)
	f.snap = &next
	close(f.newer)
	f.newer = make(chan struct{})
}

// changePool publishes a pool made by change from a copy.
func (f *fake) changePool(name string, change func(*core.Pool)) {
	f.show(func(s *supervisor.Snapshot) {
		for i, p := range s.Pools {
			if p.Name == name {
				next := *p
				next.Workers = nil
				for _, w := range p.Workers {
					k := *w
					next.Workers = append(next.Workers, &k)
				}
				change(&next)
				s.Pools[i] = &next
			}
		}
	})
}

func (f *fake) Do(ctx context.Context, c core.Command) (core.Reply, error) {
	f.mu.Lock()
	f.commands = append(f.commands, c)
	do := f.do
	f.mu.Unlock()
	reply := core.Reply{Operation: "op1"}
	if do != nil {
		var err error
		if reply, err = do(c); err != nil || reply.Refusal != nil {
			return reply, err
		}
	}
	f.changePool(c.Pool, func(p *core.Pool) {
		p.Operation.ID = reply.Operation
		if reply.Deployment != nil {
			p.Deployment = reply.Deployment
		}
	})
	return reply, nil
}

func (f *fake) asked() []core.Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]core.Command(nil), f.commands...)
}

func (f *fake) Apply(context.Context, string) (*supervisor.ApplyResult, error) { return f.apply() }

func (f *fake) Events(seq uint64, limit int) ([]supervisor.Event, uint64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var oldest uint64
	if len(f.events) > 0 {
		oldest = f.events[0].Seq
	}
	var out []supervisor.Event
	for _, e := range f.events {
		if e.Seq > seq && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, oldest, f.more
}

// happen adds events; keep bounds how many stay in memory, 0 for all.
func (f *fake) happen(keep int, events ...supervisor.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, events...)
	if keep > 0 && len(f.events) > keep {
		f.events = append([]supervisor.Event(nil), f.events[len(f.events)-keep:]...)
	}
	close(f.more)
	f.more = make(chan struct{})
}

func (f *fake) Shutdown(_ context.Context, now, detach bool, _ string) error {
	return f.shutdown(now, detach)
}

func (f *fake) Upgrade(_ context.Context, path, _ string) (supervisor.Upgrade, error) {
	return f.upgrade(path)
}

func (f *fake) Work(*core.Pool) map[string]supervisor.Work { return f.work }

func (f *fake) Exits(_ context.Context, q supervisor.ExitQuery) ([]supervisor.Exit, error) {
	return f.exits(q)
}

func (f *fake) Sample(pids []int) map[int]supervisor.Usage {
	out := map[int]supervisor.Usage{}
	for _, pid := range pids {
		if u, ok := f.usage[pid]; ok {
			out[pid] = u
		}
	}
	return out
}

func (f *fake) Logs(ctx context.Context, q supervisor.LogQuery, emit func([]supervisor.LogLine) error) error {
	f.mu.Lock()
	logs := f.logs
	f.mu.Unlock()
	return logs(ctx, q, emit)
}

// boot is the fake's clock at the instant of its snapshot.
var boot = core.Time{Boot: 1000 * time.Second, Wall: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}

func ago(d time.Duration) core.Time { return boot.Add(-d) }

// newFake has the pool mailers with two workers, one of them running.
func newFake() *fake {
	seq := mustSequence("TERM 10s", "KILL")
	cfg := &config.Pool{
		Name: "mailers", Count: 2, Command: []string{"sleep", "1000"}, Groups: []string{"work"}, Directory: "/srv",
		Env: map[string]string{"SECRET": "hush"}, Log: config.Log{Target: config.LogFile}, Stop: seq, Drain: seq,
		Restart: config.Restart{Attempts: 10, Interval: 10 * time.Minute, Delay: time.Second, Mode: config.ModeDelay, On: config.RestartAlways},
	}
	code := 1
	p := &core.Pool{
		Name: "mailers", Config: cfg, Desired: core.Up, Count: 2, Target: 7, Stable: 7,
		Revisions: []*core.Revision{{Number: 7, Digest: "d7", Release: "/srv/releases/42", CreatedAt: boot.Wall}},
		Workers: []*core.Worker{
			{
				Index: 0, State: core.Running, Since: ago(60 * time.Second), Desired: core.Up, Revision: 7, Restarts: 2, Operation: "op0",
				Run:      &core.Run{ID: "run0", Revision: 7, PID: 4711, StartedAt: ago(60 * time.Second), Healthy: true},
				Window:   []time.Duration{boot.Boot - 11*time.Minute, boot.Boot - time.Minute},
				LastExit: &core.Exit{RunID: "run-1", PID: 4000, At: boot.Wall, Code: &code, Reason: "exit code 1", Uptime: time.Second},
			},
			{Index: 1, State: core.Stopped, Since: ago(time.Second), Desired: core.Down, Revision: 6},
		},
	}
	return &fake{
		snap: &supervisor.Snapshot{
			Info: supervisor.Info{Version: "1.0", PID: 812, KeeperPID: 815, StartedAt: boot.Wall, ConfigFile: "/etc/superd/superd.toml"},
			Seq:  3, At: boot, Pools: []*core.Pool{p},
		},
		newer: make(chan struct{}), more: make(chan struct{}),
		usage: map[int]supervisor.Usage{4711: {MemoryBytes: 123, CPU: 0.5}},
	}
}

func mustSequence(steps ...string) signals.Sequence {
	q, err := signals.ParseSequence(steps)
	if err != nil {
		panic(err)
	}
	return q
}

// serve starts a server for f on a real socket and returns a client of it.
func serve(t testing.TB, f *fake, opts Options) *client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if opts.Now == nil {
		opts.Now = func() core.Time { return boot }
	}
	s := New(f, opts)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := &client{t: t, path: path, server: s}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error("shutdown:", err)
		}
		if err := <-served; err != nil {
			t.Error("serve:", err)
		}
	})
	return c
}

// client asks the server under test.
type client struct {
	t      testing.TB
	path   string
	server *Server
	http   *http.Client
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c *client) do(method, path, body string) answer {
	c.t.Helper()
	req, err := http.NewRequest(method, "http://superd"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		c.t.Fatal(err)
	}
	if body == "" {
		req.Body = nil
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, raw}
}

func (c *client) get(path string) answer { c.t.Helper(); return c.do("GET", path, "") }

// into reads the answer's body.
func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// wireErr is the error that the answer is.
func (a answer) wireErr(t testing.TB) *rpc.Error {
	t.Helper()
	var reply rpc.ErrorReply
	a.into(t, &reply)
	if reply.Error == nil {
		t.Fatalf("no error in %s", a.body)
	}
	if reply.Error.Kind.Status() != a.status {
		t.Errorf("status %d with code %s", a.status, reply.Error.Kind)
	}
	return reply.Error
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("never happened: " + what)
		}
	}
}

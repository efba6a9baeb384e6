package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

// fake is a superd made of the wire's types alone.
type fake struct {
	t    *testing.T
	path string

	mu     sync.Mutex
	status rpc.Status
	deps   map[string]*rpc.Deployment
	events []rpc.Event
	more   chan struct{}
	posts  []string // method, path and body of what was asked
	// post answers POST requests; it may change the state by the methods below.
	post func(path, body string) (int, any)
	gets map[string]any // further answers, by path
	http *http.Server
	seen map[string]int    // requests answered, by path
	asks map[string]string // the query of the last one, by path
	logs http.HandlerFunc  // answers below /v1/logs, or nil
}

// count is how often a path was asked for.
func (f *fake) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[path]
}

// query is that of the last request for a path.
func (f *fake) query(path string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asks[path]
}

// newFake serves two pools.
func newFake(t *testing.T) *fake {
	code := 1
	exit := &rpc.Exit{At: rpc.At(time.Now().Add(-2 * time.Hour)), Code: &code, Reason: "exit code 1", RunID: "r0"}
	memory, cpu := int64(120<<20), 0.034
	f := &fake{t: t, path: filepath.Join(t.TempDir(), "s"), more: make(chan struct{}), deps: map[string]*rpc.Deployment{}, gets: map[string]any{}, seen: map[string]int{}, asks: map[string]string{}}
	f.status = rpc.Status{
		Superd: rpc.Superd{Version: "1.0", PID: 812, KeeperPID: 815, Config: "/etc/superd/superd.toml", Seq: 5},
		Pools: []rpc.Pool{
			{Name: "mailers", Groups: []string{"work"}, Desired: "running", Count: 2, Running: 2, Healthy: 1, Revision: 7, StableRevision: 7,
				Workers: []rpc.Worker{
					{Name: "mailers/0", State: "running", Desired: "running", Ready: true, Healthy: true, PID: 4711, RunID: "r1", Revision: 7,
						StartedAt: rpc.At(time.Now()), Uptime: 7384, Restarts: 2, Window: rpc.Window{Used: 1, Attempts: 10, Interval: 600},
						MemoryBytes: &memory, CPU: &cpu, LastExit: exit},
					{Name: "mailers/1", Index: 1, State: "running", Desired: "running", Ready: true, PID: 4712, RunID: "r2", Revision: 7,
						StartedAt: rpc.At(time.Now()), Uptime: 4, Window: rpc.Window{Attempts: 10, Interval: 600}},
				}},
			{Name: "web", Groups: []string{"front"}, Desired: "stopped", Count: 1, Revision: 1,
				Workers: []rpc.Worker{{Name: "web/0", State: "stopped", Desired: "stopped", Revision: 1, Window: rpc.Window{Attempts: 10, Interval: 600}}}},
		},
	}
	f.listen()
	t.Cleanup(func() { f.kill() })
	return f
}

func (f *fake) listen() {
	f.t.Helper()
	l, err := net.Listen("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &http.Server{Handler: f}
	f.mu.Lock()
	f.http = s
	f.mu.Unlock()
	go s.Serve(l)
}

// kill is what kill -9 looks like from outside.
func (f *fake) kill() {
	f.mu.Lock()
	s := f.http
	f.mu.Unlock()
	s.Close()
}

// change changes the state and tells of it.
func (f *fake) change(pool string, do func(*rpc.Pool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.status.Pools {
		p := &f.status.Pools[i]
		if p.Name == pool {
			p.Workers = append([]rpc.Worker(nil), p.Workers...)
			do(p)
		}
	}
	f.happenLocked(rpc.Event{Type: "worker.changed", Pool: rpc.Text(pool)})
}

func (f *fake) setDeployment(d rpc.Deployment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deps[d.ID] = &d
	f.happenLocked(rpc.Event{Type: "deployment.step", Pool: rpc.Text(d.Pool)})
}

func (f *fake) happenLocked(ev rpc.Event) {
	f.status.Superd.Seq++
	ev.Seq = f.status.Superd.Seq
	if ev.Time.IsZero() {
		ev.Time = rpc.At(time.Now())
	}
	f.events = append(f.events, ev)
	close(f.more)
	f.more = make(chan struct{})
}

func (f *fake) asked() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.posts, "\n")
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.seen[r.URL.Path]++
	f.asks[r.URL.Path] = r.URL.RawQuery
	f.mu.Unlock()
	if f.logs != nil && strings.HasPrefix(r.URL.Path, "/v1/logs/") {
		f.logs(w, r)
		return
	}
	if r.URL.Path == "/v1/events" {
		f.stream(w, r)
		return
	}
	if r.Method == http.MethodPost {
		f.mu.Lock()
		f.posts = append(f.posts, r.URL.Path+" "+string(body))
		post := f.post
		f.mu.Unlock()
		status, v := post(r.URL.Path, string(body))
		write(w, status, v)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.gets[r.URL.Path]; ok {
		if e, ok := v.(*rpc.Error); ok {
			write(w, e.Kind.Status(), rpc.ErrorReply{Error: e})
			return
		}
		write(w, 200, v)
		return
	}
	if r.URL.Path == "/v1/status" {
		write(w, 200, &f.status)
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/v1/deployments/"); ok && f.deps[id] != nil {
		write(w, 200, f.deps[id])
		return
	}
	for i := range f.status.Pools {
		if r.URL.Path == "/v1/pools/"+f.status.Pools[i].Name {
			write(w, 200, &f.status.Pools[i])
			return
		}
	}
	write(w, 404, rpc.ErrorReply{Error: rpc.Errorf(rpc.KindNotFound, "cannot show it: there is no such thing")})
}

func write(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	var since uint64
	fmt.Sscan(r.URL.Query().Get("since"), &since)
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	pools := r.URL.Query()["pool"]
	for {
		f.mu.Lock()
		events, more := f.events, f.more
		f.mu.Unlock()
		for _, ev := range events {
			wanted := len(pools) == 0
			for _, p := range pools {
				wanted = wanted || string(ev.Pool) == p
			}
			if ev.Seq > since {
				since = ev.Seq
				if wanted {
					_ = json.NewEncoder(w).Encode(ev)
				}
			}
		}
		w.(http.Flusher).Flush()
		if r.URL.Query().Get("follow") == "" {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// reply is the answer to a command on a pool as it is now.
func (f *fake) reply(operation, pool string) *rpc.CommandReply {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &rpc.CommandReply{Operation: rpc.Text(operation)}
	for _, p := range f.status.Pools {
		if p.Name == pool {
			r.Pool = p
		}
	}
	return r
}

// result is what a run of superctl left.
type result struct {
	code     int
	out, err string
}

// ctl runs superctl against f. env is NAME=VALUE.
func (f *fake) ctl(args ...string) result {
	return ctl(f.t, context.Background(), []string{"SUPERD_SOCKET=" + f.path}, args...)
}

func ctl(t *testing.T, ctx context.Context, env []string, args ...string) result {
	t.Helper()
	return ctlTo(ctx, new(syncBuffer), env, args...)
}

// ctlTo is ctl with an output that can be read meanwhile.
func ctlTo(ctx context.Context, out *syncBuffer, env []string, args ...string) result {
	var errs syncBuffer
	a := newApp(out, &errs, func(name string) string {
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				return v
			}
		}
		return ""
	})
	code := a.run(ctx, args)
	return result{code, out.String(), errs.String()}
}

// syncBuffer may be written to by two goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("never happened: " + what)
		}
	}
}

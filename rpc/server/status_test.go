package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// TestStatusOnTheWire holds names, nulls and forms of the whole status.
func TestStatusOnTheWire(t *testing.T) {
	got := serve(t, newFake(), Options{}).get("/v1/status")
	const want = `{"superd":{"version":"1.0","pid":812,"keeper_pid":815,"started_at":"2026-01-02T03:04:05.000000006Z","config":"/etc/superd/superd.toml",
"config_pending":false,"adopted":0,"degraded":null,"stopping":false,"seq":3},
"pools":[{"name":"mailers","groups":["work"],"desired":"running","count":2,"running":1,"healthy":1,"revision":7,"stable_revision":7,"deployment":null,
"workers":[{"name":"mailers/0","index":0,"state":"running","since":"2026-01-02T03:03:05.000000006Z","desired":"running","ready":true,"healthy":true,
"pid":4711,"run_id":"run0","revision":7,"outdated":false,"release":"/srv/releases/42","started_at":"2026-01-02T03:03:05.000000006Z","uptime":60,
"restarts":2,"window":{"used":1,"attempts":10,"interval":600},"next_start_at":null,"stopping":null,"status_text":null,"busy":null,
"memory_bytes":123,"cpu":0.5,"next_run":null,
"last_exit":{"at":"2026-01-02T03:04:05.000000006Z","code":1,"signal":null,"reason":"exit code 1","run_id":"run-1","pid":4000,"core":false,"success":false,"uptime":1},
"operation":"op0"},
{"name":"mailers/1","index":1,"state":"stopped","since":"2026-01-02T03:04:04.000000006Z","desired":"stopped","ready":false,"healthy":false,
"pid":null,"run_id":null,"revision":6,"outdated":true,"release":null,"started_at":null,"uptime":0,"restarts":0,
"window":{"used":0,"attempts":10,"interval":600},"next_start_at":null,"stopping":null,"status_text":null,"busy":null,"memory_bytes":null,"cpu":null,
"next_run":null,"last_exit":null,"operation":null}],
"draining":[],"waits_for":[],"removed":false}],"jobs":[]}`
	if got.status != 200 || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d, type %s", got.status, got.header.Get("Content-Type"))
	}
	if g, w := strings.TrimSpace(string(got.body)), strings.ReplaceAll(want, "\n", ""); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

func TestStopOnTheWire(t *testing.T) {
	f := newFake()
	f.changePool("mailers", func(p *core.Pool) {
		w := p.Workers[0]
		w.State = core.Stopping
		run := *w.Run
		run.Stop = &core.Stop{Sequence: mustSequence("TERM 10s", "KILL"), Step: 0, At: ago(4 * time.Second), Reason: "stopped by uid 0"}
		w.Run = &run
		w.NextStart = boot // of an earlier state: means nothing here
	})
	var w rpc.Worker
	serve(t, f, Options{}).get("/v1/pools/mailers/workers/0").into(t, &w)
	s := w.Stopping
	if s == nil || s.Signal != "TERM" || s.Next != "KILL" || !s.Deadline.Equal(boot.Wall.Add(6*time.Second)) || s.Reason == "" {
		t.Errorf("stopping is %+v", s)
	}
	if w.Ready || w.Healthy || !w.NextStartAt.IsZero() || w.PID != 4711 {
		t.Errorf("worker is %+v", w)
	}
}

// TestWorkOnTheWire: busy and with what, idle, and null where nobody can tell.
func TestWorkOnTheWire(t *testing.T) {
	f := newFake()
	f.work = map[string]supervisor.Work{"run0": {Busy: true, Text: "3 of 10 busy"}}
	c := serve(t, f, Options{})
	var w rpc.Worker
	c.get("/v1/pools/mailers/workers/0").into(t, &w)
	if w.Busy == nil || !*w.Busy || w.StatusText != "3 of 10 busy" {
		t.Errorf("at work: busy %v, %q", w.Busy, w.StatusText)
	}
	f.work = map[string]supervisor.Work{"run0": {}}
	w = rpc.Worker{}
	c.get("/v1/pools/mailers/workers/0").into(t, &w)
	if w.Busy == nil || *w.Busy || w.StatusText != "" {
		t.Errorf("idle: busy %v, %q", w.Busy, w.StatusText)
	}
	f.work = nil
	w = rpc.Worker{}
	if c.get("/v1/pools/mailers/workers/0").into(t, &w); w.Busy != nil {
		t.Errorf("nobody can tell: busy %v", *w.Busy)
	}
}

func TestCountsAreOfIndicesBelowCount(t *testing.T) {
	f := newFake()
	f.changePool("mailers", func(p *core.Pool) { p.Count = 0 })
	var p rpc.Pool
	serve(t, f, Options{}).get("/v1/pools/mailers").into(t, &p)
	if p.Count != 0 || p.Running != 0 || p.Healthy != 0 || len(p.Workers) != 2 {
		t.Errorf("count %d running %d healthy %d, %d workers", p.Count, p.Running, p.Healthy, len(p.Workers))
	}
}

func TestGetting(t *testing.T) {
	f := newFake()
	f.changePool("mailers", func(p *core.Pool) {
		p.Revisions = append([]*core.Revision{{Number: 6, Release: "/srv/releases/41"}}, p.Revisions...)
		p.Deployment = &core.Deployment{
			ID: "dep2", Pool: "mailers", State: core.DeployRunning, From: 6, To: 7, Reason: "restart", StartedAt: boot,
			Steps: []core.DeployStep{{Index: 0, State: core.StepHealthy}, {Index: 1, State: core.StepPending}},
		}
		p.Past = []*core.Deployment{{ID: "dep1", Pool: "mailers", State: core.DeployFailed, To: 6, EndedAt: boot, Error: "no"}}
	})
	c := serve(t, f, Options{})
	var workers rpc.WorkerList
	c.get("/v1/pools/mailers/workers").into(t, &workers)
	if len(workers.Workers) != 2 {
		t.Errorf("%d workers", len(workers.Workers))
	}
	var revisions rpc.RevisionList
	c.get("/v1/pools/mailers/revisions").into(t, &revisions)
	if r := revisions.Revisions; len(r) != 2 || r[0].Number != 7 || !r[0].Current || !r[0].Stable || r[1].Release != "/srv/releases/41" {
		t.Errorf("revisions %+v", r)
	}
	var deployments rpc.DeploymentList
	c.get("/v1/pools/mailers/deployments").into(t, &deployments)
	if d := deployments.Deployments; len(d) != 2 || d[0].ID != "dep2" || d[0].Done != 1 || d[0].Total != 2 || d[1].Error != "no" || !d[1].Ended() {
		t.Errorf("deployments %+v", d)
	}
	var d rpc.Deployment
	c.get("/v1/deployments/dep1").into(t, &d)
	if d.State != "failed" || d.From != 0 {
		t.Errorf("deployment %+v", d)
	}
	var cfg rpc.PoolConfig
	c.get("/v1/pools/mailers/config").into(t, &cfg)
	if v := cfg.Config.Env["SECRET"]; v == nil || *v != "hush" || cfg.EnvHidden || cfg.Config.Stop[1] != "KILL" || cfg.Config.Restart.Interval != 600 {
		t.Errorf("config %+v", cfg)
	}
	if got := c.get("/healthz"); got.status != 200 {
		t.Errorf("healthz: %d", got.status)
	}
	if got := c.do("HEAD", "/v1/status", ""); got.status != 200 || len(got.body) != 0 {
		t.Errorf("HEAD: %d with %d bytes", got.status, len(got.body))
	}
}

func TestWhatIsNotThere(t *testing.T) {
	c := serve(t, newFake(), Options{})
	for _, test := range []struct {
		method, path, body string
		kind               rpc.Kind
		says               string
	}{
		{"GET", "/v1/pools/nosuch", "", rpc.KindNotFound, `"nosuch"`},
		{"POST", "/v1/pools/nosuch/stop", "", rpc.KindNotFound, "cannot stop nosuch"},
		{"GET", "/v1/pools/mailers/workers/2", "", rpc.KindNotFound, "mailers has 2, 0 to 1"},
		{"GET", "/v1/pools/mailers/workers/00", "", rpc.KindInvalid, "index"},
		{"GET", "/v1/pools/mailers/workers/x", "", rpc.KindInvalid, "index"},
		{"GET", "/v1/deployments/nosuch", "", rpc.KindNotFound, "nosuch"},
		{"GET", "/v1/jobs", "", rpc.KindNotSupported, "not supported yet"},
		{"POST", "/v1/pools/mailers/rollback", "{}", rpc.KindNotSupported, "not supported yet"},
		{"GET", "/", "", rpc.KindNotSupported, "openapi"},
		{"GET", "/v1/pools/mailers%2Fstop", "", rpc.KindNotFound, "mailers/stop"},
		{"GET", "/v1/pools//workers", "", rpc.KindNotSupported, ""},
		{"DELETE", "/v1/status", "", rpc.KindMethod, "GET"},
		{"GET", "/v1/pools/mailers/stop", "", rpc.KindMethod, "POST"},
		{"GET", "/v1/status?verbose=1", "", rpc.KindInvalid, `"verbose"`},
		{"GET", "/v1/deployments/x?wait=soon", "", rpc.KindInvalid, "wait"},
		{"GET", "/v1/deployments/x?wait=2h", "", rpc.KindInvalid, "1h"},
	} {
		e := c.do(test.method, test.path, test.body).wireErr(t)
		if e.Kind != test.kind || !strings.Contains(e.Message, test.says) {
			t.Errorf("%s %s: %s %q, want %s with %q", test.method, test.path, e.Kind, e.Message, test.kind, test.says)
		}
	}
	if allow := c.do("DELETE", "/v1/status", "").header.Get("Allow"); allow != "GET" {
		t.Errorf("Allow is %q", allow)
	}
}

// TestOpenAPIEqualsRoutes compares both ways, and the schemas with what is sent.
func TestOpenAPIEqualsRoutes(t *testing.T) {
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
		Comp    struct {
			Schemas map[string]struct{ Properties map[string]any } `json:"schemas"`
		} `json:"components"`
	}
	f := newFake()
	c := serve(t, f, Options{})
	c.get("/v1/openapi.json").into(t, &doc)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q", doc.OpenAPI)
	}
	n := 0
	for path, item := range doc.Paths {
		for method := range item {
			n++
			if !slices.ContainsFunc(routes, func(r route) bool { return r.path == path && strings.ToLower(r.method) == method }) {
				t.Errorf("described but not served: %s %s", method, path)
			}
		}
	}
	if n != len(routes) {
		t.Errorf("%d described, %d served", n, len(routes))
	}
	for i := range routes {
		if doc.Paths[routes[i].path][strings.ToLower(routes[i].method)] == nil {
			t.Errorf("served but not described: %s %s", routes[i].method, routes[i].path)
		}
	}
	var pool map[string]any
	c.get("/v1/pools/mailers").into(t, &pool)
	for name := range pool {
		if _, ok := doc.Comp.Schemas["Pool"].Properties[name]; !ok {
			t.Errorf("sent but not described: %s of a pool", name)
		}
	}
	if len(pool) != len(doc.Comp.Schemas["Pool"].Properties) {
		t.Errorf("a pool has %d fields, %d are described", len(pool), len(doc.Comp.Schemas["Pool"].Properties))
	}
}

// BenchmarkStatus is the status of 1000 workers, without the measuring of processes.
func BenchmarkStatus(b *testing.B) {
	f := newFake()
	f.changePool("mailers", func(p *core.Pool) {
		w := *p.Workers[0]
		p.Workers, p.Count = nil, 1000
		f.usage = map[int]supervisor.Usage{}
		for i := range p.Count {
			k, run := w, *w.Run
			run.PID = 10000 + i
			k.Index, k.Run = i, &run
			p.Workers = append(p.Workers, &k)
			f.usage[run.PID] = supervisor.Usage{MemoryBytes: 12345678, CPU: 0.01}
		}
	})
	c := serve(b, f, Options{})
	b.ResetTimer()
	for range b.N {
		b.SetBytes(int64(len(c.get("/v1/status").body)))
	}
}

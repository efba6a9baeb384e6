package server

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// TestCommandsReachTheSupervisor: what is asked is what the core is told.
func TestCommandsReachTheSupervisor(t *testing.T) {
	for _, test := range []struct {
		path, body string
		want       core.Command
	}{
		{"start", "", core.Command{Verb: core.VerbStart}},
		{"start", `{"workers":[1,0,1],"now":false}`, core.Command{Verb: core.VerbStart, Workers: []int{0, 1}}},
		{"stop", `{"now":true}`, core.Command{Verb: core.VerbStop, Now: true}},
		{"stop", `{"workers":null}`, core.Command{Verb: core.VerbStop}},
		{"restart", " {} \n", core.Command{Verb: core.VerbRestart}},
		{"restart", `{"workers":[1]}`, core.Command{Verb: core.VerbRestart, Workers: []int{1}}},
		{"scale", `{"count":0}`, core.Command{Verb: core.VerbScale, Count: 0}},
		{"scale", `{"count":10000}`, core.Command{Verb: core.VerbScale, Count: 10000}},
		{"signal", `{"signal":"sigusr1","group":true}`, core.Command{Verb: core.VerbSignal, Signal: "USR1", Group: true}},
		{"signal", `{"signal":"15","workers":[0]}`, core.Command{Verb: core.VerbSignal, Signal: "TERM", Workers: []int{0}}},
	} {
		f := newFake()
		got := serve(t, f, Options{}).do("POST", "/v1/pools/mailers/"+test.path, test.body)
		test.want.Pool, test.want.By = "mailers", "uid 0"
		if asked := f.asked(); len(asked) != 1 || !reflect.DeepEqual(asked[0], test.want) {
			t.Errorf("%s %s: asked %+v, want %+v (%s)", test.path, test.body, asked, test.want, got.body)
		}
		var reply rpc.CommandReply
		got.into(t, &reply)
		if got.status != 200 || reply.Operation != "op1" || reply.Pool.Name != "mailers" || reply.Superseded != "" {
			t.Errorf("%s: %d %s", test.path, got.status, got.body)
		}
		if !strings.Contains(string(got.body), `"superseded":null`) {
			t.Errorf("%s: %s", test.path, got.body)
		}
	}
}

func TestBadBodies(t *testing.T) {
	f := newFake()
	c := serve(t, f, Options{})
	for _, test := range []struct{ path, body, says string }{
		{"start", `{"worker":[0]}`, `"worker"; did you mean "workers"?`},
		{"start", `{"Workers":[0]}`, `unknown field "Workers"`},
		{"start", `{"zzzzzzzz":1}`, "it takes workers, now"},
		{"start", `{"workers":[0],"workers":[1]}`, "given twice"},
		{"start", `{"workers":[]}`, "leave it out to mean all"},
		{"start", `{"workers":[-1]}`, "-1"},
		{"start", `{"workers":["0"]}`, "whole number"},
		{"start", `{"workers":0}`, "list"},
		{"start", `{"now":true}`, "stop alone"},
		{"stop", `{"now":1}`, "boolean"},
		{"stop", `{"now":true`, "ends too early"},
		{"stop", `{"now":true}{}`, "follows after"},
		{"stop", `[]`, "not a JSON object"},
		{"stop", `null`, "not a JSON object"},
		{"stop", `now`, "invalid character"},
		{"stop", `{"now":[[[[[[[[[]]]]]]]]]}`, "nests deeper"},
		{"stop", strings.Repeat("[", 60000), "not a JSON object"},
		{"scale", ``, `"count" is missing`},
		{"scale", `{"count":null}`, `"count" is missing`},
		{"scale", `{"count":-1}`, "0 to 10000"},
		{"scale", `{"count":10001}`, "0 to 10000"},
		{"scale", `{"count":1.5}`, "whole number"},
		{"scale", `{"count":1e99}`, "whole number"},
		{"signal", `{}`, `"signal" is missing`},
		{"signal", `{"signal":"USR9"}`, "USR"},
		{"start?wait=now", ``, "wait"},
		{"signal?wait=1s", `{"signal":"HUP"}`, `"wait"`},
	} {
		got := c.do("POST", "/v1/pools/mailers/"+test.path, test.body)
		if e := got.wireErr(t); e.Kind != rpc.KindInvalid || !strings.Contains(e.Message, test.says) || !strings.HasPrefix(e.Message, "cannot ") {
			t.Errorf("%s %.60s: %s %q, want %q", test.path, test.body, e.Kind, e.Message, test.says)
		}
	}
	if e := c.do("POST", "/v1/pools/mailers/stop", `{"now":true,"x":"`+strings.Repeat("x", maxBody)).wireErr(t); e.Kind != rpc.KindTooLarge {
		t.Errorf("%+v", e)
	}
	if e := c.do("POST", "/v1/pools/mailers/stop", `{"workers":[2]}`).wireErr(t); e.Kind != rpc.KindNotFound || !strings.Contains(e.Message, "mailers/2") {
		t.Errorf("%+v", e)
	}
	if e := c.do("POST", "/v1/shutdown", `{"now":true,"detach":true}`).wireErr(t); e.Kind != rpc.KindInvalid {
		t.Errorf("%+v", e)
	}
	if e := c.do("POST", "/v1/apply", `{"plan":"x"}`).wireErr(t); !strings.Contains(e.Message, `unknown field "plan"; it takes none`) {
		t.Errorf("%+v", e)
	}
	if asked := f.asked(); len(asked) != 0 {
		t.Errorf("asked %+v", asked)
	}
}

func TestRefusals(t *testing.T) {
	for kind, want := range map[core.RefusalKind]rpc.Kind{
		core.RefuseNotFound: rpc.KindNotFound, core.RefuseInvalid: rpc.KindInvalid,
		core.RefuseConflict: rpc.KindConflict, core.RefuseStopping: rpc.KindStopping,
	} {
		f := newFake()
		f.do = func(core.Command) (core.Reply, error) {
			return core.Reply{Refusal: &core.Refusal{Kind: kind, Message: "cannot: because"}}, nil
		}
		if e := serve(t, f, Options{}).do("POST", "/v1/pools/mailers/stop", "").wireErr(t); e.Kind != want || e.Message != "cannot: because" {
			t.Errorf("%s: %+v", kind, e)
		}
	}
	for err, want := range map[error]rpc.Kind{
		context.DeadlineExceeded: rpc.KindTimeout, context.Canceled: rpc.KindStopping, errors.New("oops"): rpc.KindInternal,
	} {
		f := newFake()
		f.do = func(core.Command) (core.Reply, error) { return core.Reply{}, err }
		if e := serve(t, f, Options{}).do("POST", "/v1/pools/mailers/stop", "").wireErr(t); e.Kind != want {
			t.Errorf("%v: %+v", err, e)
		}
	}
}

func TestRestartIsADeployment(t *testing.T) {
	f := newFake()
	f.do = func(core.Command) (core.Reply, error) {
		return core.Reply{Operation: "dep1", Deployment: &core.Deployment{
			ID: "dep1", Pool: "mailers", State: core.DeployRunning, From: 6, To: 7, Reason: "restart", StartedAt: boot,
			Steps: []core.DeployStep{{Index: 0, State: core.StepWaiting, Deadline: boot}},
		}}, nil
	}
	c := serve(t, f, Options{})
	got := c.do("POST", "/v1/pools/mailers/restart", "")
	const want = `{"id":"dep1","pool":"mailers","state":"running","from":6,"to":7,"reason":"restart","started_at":"2026-01-02T03:04:05.000000006Z",` +
		`"ended_at":null,"error":null,"done":0,"total":1,"workers":[{"name":"mailers/0","state":"waiting","deadline":"2026-01-02T03:04:05.000000006Z"}]}`
	if got.status != 202 || strings.TrimSpace(string(got.body)) != want {
		t.Errorf("%d %s", got.status, got.body)
	}
	end := func() {
		f.changePool("mailers", func(p *core.Pool) {
			d := *p.Deployment
			d.State, d.EndedAt = core.DeploySucceeded, boot
			p.Deployment, p.Past = nil, []*core.Deployment{&d}
		})
	}
	for _, ask := range []func() answer{
		func() answer { return c.get("/v1/deployments/dep1?wait=1m") },
		func() answer { return c.do("POST", "/v1/pools/mailers/restart?wait=1m", "") },
	} {
		answered := make(chan answer, 1)
		go func() { answered <- ask() }()
		eventually(t, "the deployment's end is waited for", func() bool {
			snap, _ := f.Snapshot()
			return snap.Pools[0].Deployment != nil
		})
		end()
		var d rpc.Deployment
		a := <-answered
		a.into(t, &d)
		if a.status != 200 || d.State != "succeeded" || !d.Ended() {
			t.Errorf("%d %s", a.status, a.body)
		}
		f.changePool("mailers", func(p *core.Pool) { p.Past = nil })
	}
	c.do("POST", "/v1/pools/mailers/restart", "")
	var d rpc.Deployment
	c.get("/v1/deployments/dep1?wait=5ms").into(t, &d)
	if d.State != "running" {
		t.Errorf("when the time is over it is %s", d.State)
	}
}

// TestWaitForStop: the answer comes when the run has ended, and says so.
func TestWaitForStop(t *testing.T) {
	f := newFake()
	f.do = func(c core.Command) (core.Reply, error) {
		f.changePool("mailers", func(p *core.Pool) {
			p.Workers[0].State, p.Workers[0].Operation, p.Workers[0].Desired = core.Stopping, "op1", core.Down
		})
		return core.Reply{Operation: "op1"}, nil
	}
	c := serve(t, f, Options{})
	var reply rpc.CommandReply
	c.do("POST", "/v1/pools/mailers/stop?wait=5ms", "").into(t, &reply)
	if reply.Done || reply.Pool.Workers[0].State != "stopping" {
		t.Errorf("%+v", reply)
	}
	answered := make(chan answer, 1)
	go func() { answered <- c.do("POST", "/v1/pools/mailers/stop?wait=1m", "") }()
	eventually(t, "the stop is asked for", func() bool { return len(f.asked()) == 2 })
	eventually(t, "the stop is shown", func() bool {
		snap, _ := f.Snapshot()
		return snap.Pools[0].Operation.ID == "op1"
	})
	f.changePool("mailers", func(p *core.Pool) { p.Workers[0].State, p.Workers[0].Run = core.Stopped, nil })
	(<-answered).into(t, &reply)
	if !reply.Done || reply.Pool.Workers[0].State != "stopped" || len(reply.Problems) != 0 {
		t.Errorf("%+v", reply)
	}
}

func TestApply(t *testing.T) {
	f := newFake()
	c := serve(t, f, Options{})
	f.apply = func() (*supervisor.ApplyResult, error) {
		return &supervisor.ApplyResult{InPlace: []string{"mailers"}, Warnings: []string{"hm"}}, nil
	}
	got := c.do("POST", "/v1/apply", "{}")
	const want = `{"added":[],"removed":[],"scaled":[],"changed":[],"in_place":["mailers"],"warnings":["hm"],"deployments":[]}`
	if got.status != 200 || strings.TrimSpace(string(got.body)) != want {
		t.Errorf("%d %s", got.status, got.body)
	}
	f.apply = func() (*supervisor.ApplyResult, error) {
		return nil, &config.Errors{List: []config.Problem{
			{File: "/a.toml", Line: 3, Col: 5, Key: "pool.x.count", Message: "-1; 0 to 10000"},
			{File: "/b.toml", Message: "cannot read"},
		}}
	}
	e := c.do("POST", "/v1/apply", "").wireErr(t)
	if e.Kind != rpc.KindConfigInvalid || len(e.Problems) != 2 || e.Problems[0].Line != 3 || e.Problems[0].Key != "pool.x.count" {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(e.Message, "/a.toml:3:5: pool.x.count: -1; 0 to 10000\n/b.toml: cannot read") {
		t.Errorf("%q", e.Message)
	}
}

func TestShutdownIsPassedOn(t *testing.T) {
	f := newFake()
	var now, detach bool
	f.shutdown = func(n, d bool) error { now, detach = n, d; return nil }
	c := serve(t, f, Options{})
	var reply rpc.ShutdownReply
	got := c.do("POST", "/v1/shutdown", `{"detach":true}`)
	got.into(t, &reply)
	if got.status != 202 || !reply.Stopping || reply.PID != 812 || now || !detach {
		t.Errorf("%d %s: now %v detach %v", got.status, got.body, now, detach)
	}
}

func TestUpgradeIsPassedOn(t *testing.T) {
	f := newFake()
	var asked string
	f.upgrade = func(path string) (supervisor.Upgrade, error) {
		asked = path
		if path == "/no" {
			return supervisor.Upgrade{}, &core.Refusal{Kind: core.RefuseConflict, Message: "cannot upgrade to /no: it is no superd"}
		}
		return supervisor.Upgrade{From: "1.0", To: "1.1", Path: "/opt/superd"}, nil
	}
	c := serve(t, f, Options{})
	var reply rpc.UpgradeReply
	got := c.do("POST", "/v1/upgrade", `{"binary":"/opt/superd"}`)
	got.into(t, &reply)
	if want := (rpc.UpgradeReply{Upgrading: true, From: "1.0", To: "1.1", Binary: "/opt/superd", PID: 812}); got.status != 202 || reply != want || asked != "/opt/superd" {
		t.Errorf("%d %s: asked for %q", got.status, got.body, asked)
	}
	if got := c.do("POST", "/v1/upgrade", ""); got.status != 202 || asked != "" {
		t.Errorf("%d %s: asked for %q", got.status, got.body, asked)
	}
	if e := c.do("POST", "/v1/upgrade", `{"binary":"/no"}`).wireErr(t); e.Kind != rpc.KindConflict || !strings.Contains(e.Message, "no superd") {
		t.Errorf("%+v", e)
	}
	if e := c.do("POST", "/v1/upgrade", `{"binary":"superd"}`).wireErr(t); e.Kind != rpc.KindInvalid || !strings.Contains(e.Message, "slash") {
		t.Errorf("%+v", e)
	}
}

// TestWaitingEndsWithTheServer: nothing that waits keeps the server from ending.
func TestWaitingEndsWithTheServer(t *testing.T) {
	f := newFake()
	f.changePool("mailers", func(p *core.Pool) {
		p.Deployment = &core.Deployment{ID: "dep1", Pool: "mailers", State: core.DeployRunning, StartedAt: boot}
	})
	c := serve(t, f, Options{Patience: time.Second})
	for range 3 {
		go c.http.Get("http://superd/v1/deployments/dep1?wait=1h")
		go c.http.Get("http://superd/v1/events?follow")
	}
	c.get("/v1/status")
	// The end of the test shuts the server down, and fails when that takes long.
}

package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

// starting puts web into the hands of an operation.
func (f *fake) starting(operation string) *rpc.CommandReply {
	f.change("web", func(p *rpc.Pool) {
		w := &p.Workers[0]
		p.Desired, w.State, w.Desired, w.Operation, w.RunID = "running", "starting", "running", rpc.Text(operation), "r9"
	})
	return f.reply(operation, "web")
}

func (f *fake) running() {
	f.change("web", func(p *rpc.Pool) {
		p.Running, p.Healthy = 1, 1
		p.Workers[0].State, p.Workers[0].Ready, p.Workers[0].PID = "running", true, 99
	})
}

func (f *fake) crashed(reason string) {
	f.change("web", func(p *rpc.Pool) {
		w := &p.Workers[0]
		w.State, w.Ready, w.PID, w.RunID = "backoff", false, 0, ""
		w.LastExit = &rpc.Exit{RunID: "r9", Reason: reason, At: rpc.At(time.Now())}
	})
}

func TestStartWaits(t *testing.T) {
	f := newFake(t)
	f.post = func(path, body string) (int, any) {
		reply := f.starting("op1")
		go f.running()
		return 200, reply
	}
	r := f.ctl("start", "web")
	if r.code != 0 || !strings.Contains(r.out, "web/0: running, pid 99") || !strings.Contains(r.out, "web: started, 1 running") || r.err != "" {
		t.Errorf("%+v", r)
	}
	if f.asked() != "/v1/pools/web/start {}" {
		t.Errorf("asked %q", f.asked())
	}
}

func TestStartThatFails(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		reply := f.starting("op1")
		go f.crashed("exit code 3")
		return 200, reply
	}
	r := f.ctl("start", "web")
	if r.code != 1 || !strings.Contains(r.err, "cannot start web: web/0 did not come up: exit code 3\n") ||
		!strings.Contains(r.err, "next: superctl events web") {
		t.Errorf("%+v", r)
	}
}

func TestSuperseded(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		reply := f.starting("op1")
		go f.change("web", func(p *rpc.Pool) { p.Workers[0].Operation, p.Workers[0].Desired = "op2", "stopped" })
		return 200, reply
	}
	if r := f.ctl("start", "web"); r.code != 1 || !strings.Contains(r.err, "op2") {
		t.Errorf("%+v", r)
	}
}

func TestTimeRunsOut(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) { return 200, f.starting("op1") }
	r := f.ctl("start", "web", "--timeout", "2s")
	if r.code != 6 || !strings.Contains(r.err, "web: still starting") || !strings.Contains(r.err, "superctl status -w web") {
		t.Errorf("%+v", r)
	}
}

func TestInterrupted(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.post = func(string, string) (int, any) {
		reply := f.starting("op1")
		time.AfterFunc(50*time.Millisecond, cancel)
		return 200, reply
	}
	r := ctl(t, ctx, []string{"SUPERD_SOCKET=" + f.path}, "start", "web")
	if r.code != 130 || !strings.Contains(r.err, "web: still starting") || !strings.Contains(r.err, "it goes on") {
		t.Errorf("%+v", r)
	}
}

func TestNoWait(t *testing.T) {
	f := newFake(t)
	f.post = func(path, _ string) (int, any) {
		if strings.HasSuffix(path, "restart") {
			return 202, rpc.Deployment{ID: "dep1", Pool: "web"}
		}
		return 200, f.starting("op1")
	}
	if r := f.ctl("start", "web", "--no-wait"); r.code != 0 || r.out != "op1\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("restart", "web", "--no-wait"); r.code != 0 || r.out != "dep1\n" {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("scale", "web=3", "--no-wait"); r.code != 0 || r.out != "op1\n" {
		t.Errorf("%+v", r)
	}
	var reply rpc.CommandReply
	if r := f.ctl("stop", "web", "--no-wait", "--json"); json.Unmarshal([]byte(r.out), &reply) != nil || reply.Operation != "op1" {
		t.Errorf("%+v", r)
	}
	want := "/v1/pools/web/start {}\n/v1/pools/web/restart {}\n/v1/pools/web/scale {\"count\":3}\n/v1/pools/web/stop {}"
	if f.asked() != want {
		t.Errorf("asked %s", f.asked())
	}
}

// TestCrashWhileWaiting: superd is killed and started again while superctl waits.
func TestCrashWhileWaiting(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) { return 200, f.starting("op1") }
	done := make(chan result, 1)
	go func() { done <- f.ctl("start", "web") }()
	eventually(t, "superctl waits", func() bool { return f.count("/v1/events") > 0 && f.count("/v1/pools/web") > 0 })
	f.kill()
	f.running() // while nobody listens
	f.listen()
	if r := <-done; r.code != 0 || !strings.Contains(r.out, "web: started") {
		t.Errorf("%+v", r)
	}
}

func TestRestartFollowsTheDeployment(t *testing.T) {
	step := func(state string) []rpc.DeployStep { return []rpc.DeployStep{{Name: "web/0", State: state}} }
	for _, test := range []struct {
		end  rpc.Deployment
		code int
		out  string
		err  string
	}{
		{rpc.Deployment{State: "succeeded", Done: 1, Workers: step("healthy")}, 0, "web: restarted", ""},
		{rpc.Deployment{State: "failed", Error: "web/0 missed its deadline", Workers: step("failed")}, 1, "web/0: failed",
			"cannot restart web: deployment dep1 failed: web/0 missed its deadline"},
		{rpc.Deployment{State: "superseded", Error: "by dep2", Workers: step("pending")}, 1, "", "dep2"},
		{rpc.Deployment{State: "cancelled", Workers: step("pending")}, 1, "", "deployment dep1 was cancelled"},
	} {
		f := newFake(t)
		f.post = func(string, string) (int, any) {
			d := rpc.Deployment{ID: "dep1", Pool: "web", State: "running", Total: 1, Workers: step("stopping")}
			f.setDeployment(d)
			go func(d rpc.Deployment) {
				d.Workers = step("waiting")
				f.setDeployment(d)
				end := test.end
				end.ID, end.Pool, end.Total, end.EndedAt = "dep1", "web", 1, rpc.At(time.Now())
				f.setDeployment(end)
			}(d)
			return 202, d
		}
		r := f.ctl("restart", "web")
		if r.code != test.code || !strings.Contains(r.out, test.out) || !strings.Contains(r.err, test.err) {
			t.Errorf("%s: %+v", test.end.State, r)
		}
	}
}

func TestStopWaits(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		f.change("mailers", func(p *rpc.Pool) {
			w := &p.Workers[0]
			w.State, w.Desired, w.Operation = "stopping", "stopped", "op1"
			w.Stopping = &rpc.Stop{Signal: "TERM", Next: "KILL", Deadline: rpc.At(time.Now().Add(9 * time.Second))}
		})
		reply := f.reply("op1", "mailers")
		go func() {
			eventually(t, "the stopping is seen", func() bool { return f.count("/v1/pools/mailers") > 0 })
			f.change("mailers", func(p *rpc.Pool) {
				w := &p.Workers[0]
				w.State, w.RunID, w.PID, w.Stopping = "stopped", "", 0, nil
			})
		}()
		return 200, reply
	}
	r := f.ctl("stop", "mailers/0", "--now")
	if r.code != 0 || !strings.Contains(r.out, "mailers/0: stopping, TERM sent to pid 4711\nmailers/0: stopped\n") {
		t.Errorf("%+v", r)
	}
	if f.asked() != `/v1/pools/mailers/stop {"workers":[0],"now":true}` {
		t.Errorf("asked %s", f.asked())
	}
}

func TestScale(t *testing.T) {
	f := newFake(t)
	f.post = func(path, body string) (int, any) {
		f.change("mailers", func(p *rpc.Pool) {
			p.Count = 1
			p.Workers[1].State, p.Workers[1].Operation, p.Workers[1].Desired = "stopping", "op1", "stopped"
		})
		reply := f.reply("op1", "mailers")
		go f.change("mailers", func(p *rpc.Pool) { p.Workers = p.Workers[:1] })
		return 200, reply
	}
	if r := f.ctl("scale", "mailers=1"); r.code != 0 || !strings.Contains(r.out, "mailers: scaled, 1 running") {
		t.Errorf("%+v", r)
	}
}

// TestOneRefusalDoesNotStopTheOthers: all that can be done is done, and the failure told.
func TestOneRefusalDoesNotStopTheOthers(t *testing.T) {
	f := newFake(t)
	f.post = func(path, _ string) (int, any) {
		if strings.Contains(path, "mailers") {
			return 403, rpc.ErrorReply{Error: rpc.Errorf(rpc.KindForbidden, "cannot start mailers: role")}
		}
		reply := f.starting("op1")
		go f.running()
		return 200, reply
	}
	r := f.ctl("start", "--all")
	if r.code != 4 || !strings.Contains(r.out, "web: started") || !strings.Contains(r.err, "cannot start mailers: role") {
		t.Errorf("%+v", r)
	}
}

func TestJSONAfterWaiting(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		reply := f.starting("op1")
		go f.running()
		return 200, reply
	}
	r := f.ctl("start", "web", "--json")
	var reply rpc.CommandReply
	if err := json.Unmarshal([]byte(r.out), &reply); err != nil || r.code != 0 || !reply.Done || reply.Pool.Running != 1 || reply.Operation != "op1" {
		t.Errorf("%v %+v", err, r)
	}
	if reply.Problems == nil {
		t.Errorf("problems is null: %s", r.out)
	}
}

func TestApply(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		f.change("web", func(p *rpc.Pool) { p.Removed = true })
		d := rpc.Deployment{ID: "dep1", Pool: "mailers", State: "running"}
		f.setDeployment(d)
		go func(d rpc.Deployment) {
			d.State, d.EndedAt = "succeeded", rpc.At(time.Now())
			f.setDeployment(d)
			f.mu.Lock()
			f.status.Pools = f.status.Pools[:1]
			f.happenLocked(rpc.Event{Type: "pool.removed", Pool: "web"})
			f.mu.Unlock()
		}(d)
		return 202, rpc.ApplyReply{Removed: []string{"web"}, Changed: []string{"mailers"}, Warnings: []string{"beware"}, Deployments: []rpc.Deployment{d}}
	}
	r := f.ctl("apply")
	for _, want := range []string{"removed: web", "changed by deployment: mailers", "mailers: deployed", "web: removed"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in %+v", want, r)
		}
	}
	if r.code != 0 || r.err != "warning: beware\n" {
		t.Errorf("%+v", r)
	}
	f.post = func(string, string) (int, any) {
		return 422, rpc.ErrorReply{Error: rpc.Errorf(rpc.KindConfigInvalid, "cannot apply:\n/a.toml:1:2: no")}
	}
	if r := f.ctl("apply"); r.code != 2 || !strings.Contains(r.err, "/a.toml:1:2: no") {
		t.Errorf("%+v", r)
	}
	f.post = func(string, string) (int, any) { return 200, rpc.ApplyReply{} }
	if r := f.ctl("apply"); r.code != 0 || !strings.Contains(r.out, "nothing to do") {
		t.Errorf("%+v", r)
	}
}

func TestShutdown(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		time.AfterFunc(20*time.Millisecond, f.kill)
		return 202, rpc.ShutdownReply{Stopping: true, PID: 812}
	}
	if r := f.ctl("shutdown", "--detach"); r.code != 0 || !strings.Contains(r.out, "superd (pid 812) has ended, its workers run on") {
		t.Errorf("%+v", r)
	}
	if f.asked() != `/v1/shutdown {"detach":true}` {
		t.Errorf("asked %s", f.asked())
	}
}

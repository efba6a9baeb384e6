package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

// pluginLine is what the plugin guidelines allow, for lines without quoted labels.
var pluginLine = regexp.MustCompile(`^SUPERD (OK|WARNING|CRITICAL|UNKNOWN) - [^|]+?( \| ([^ ='|]+=[0-9.]+s?;;;0(;[0-9]+)?( |$))+)?$`)

// checked runs check, wants a plugin's line, and gives it without the time taken.
func (f *fake) checked(args ...string) (code int, line string) {
	f.t.Helper()
	r := f.ctl(append([]string{"check"}, args...)...)
	line, rest, _ := strings.Cut(r.out, "\n")
	if rest != "" || !pluginLine.MatchString(line) || r.err != "" {
		f.t.Errorf("check %v: no plugin's line: %q %q", args, r.out, r.err)
	}
	return r.code, regexp.MustCompile(`time=[0-9.]+s`).ReplaceAllString(line, "time=0s")
}

// ready makes the fake's pools as they should be, and gives their patience.
func (f *fake) ready() {
	for _, p := range []string{"mailers", "web"} {
		f.gets["/v1/pools/"+p+"/config"] = rpc.PoolConfig{Pool: p, Config: rpc.PoolKeys{Update: rpc.UpdateKeys{MinHealthyTime: 10, HealthyDeadline: 300}}}
	}
	f.status.Pools[0].Workers[1].Healthy = true
	f.status.Pools[0].Workers[1].Uptime = 60
	f.status.Pools[1].Desired = "running"
	f.status.Pools[1].Workers[0] = rpc.Worker{Name: "web/0", State: "running", Desired: "running", Ready: true, Healthy: true, PID: 4713, Uptime: 60}
}

func ago(d time.Duration) rpc.Time { return rpc.At(time.Now().Add(-d)) }

// TestCheckStates: what is said about one worker of a pool of two, beside a
// healthy pool.
func TestCheckStates(t *testing.T) {
	failed := &rpc.Exit{Reason: "exit code 3", At: ago(time.Minute)}
	cases := []struct {
		name   string
		change func(*rpc.Pool, *rpc.Worker)
		code   int
		want   string // the message without the state's name
	}{
		{"healthy", func(*rpc.Pool, *rpc.Worker) {}, 0, "2 pools, 3/3 healthy"},
		{"failed", func(_ *rpc.Pool, w *rpc.Worker) { w.State, w.LastExit = "failed", failed }, 2, "mailers/1 failed: exit code 3; 2 pools, 2/3 healthy"},
		{"delayed", func(_ *rpc.Pool, w *rpc.Worker) {
			w.State, w.LastExit, w.NextStartAt = "delayed", failed, rpc.At(time.Now().Add(time.Minute+500*time.Millisecond))
		}, 1, "mailers/1 delayed for 1m00s: exit code 3; 2 pools, 2/3 healthy"},
		{"backoff", func(_ *rpc.Pool, w *rpc.Worker) { w.State, w.LastExit = "backoff", failed }, 1, "mailers/1 in backoff: exit code 3; 2 pools, 2/3 healthy"},
		{"both in backoff", func(p *rpc.Pool, w *rpc.Worker) {
			w.State, w.LastExit = "backoff", failed
			p.Workers[0] = *w
			p.Workers[0].Index, p.Workers[0].Name = 0, "mailers/0"
		}, 2, "mailers has no healthy worker; mailers: 2 of 2 in backoff (0, 1): exit code 3; 2 pools, 1/3 healthy"},
		{"completed", func(_ *rpc.Pool, w *rpc.Worker) { w.State = "completed" }, 0, "2 pools, 2/3 healthy, 1 completed"},
		{"being started", func(_ *rpc.Pool, w *rpc.Worker) { w.State, w.Ready, w.Since = "starting", false, ago(time.Minute) }, 0, "2 pools, 2/3 healthy"},
		{"starting too long", func(_ *rpc.Pool, w *rpc.Worker) {
			w.State, w.Ready, w.Since = "starting", false, ago(6*time.Minute+500*time.Millisecond)
		}, 1, "mailers/1 not healthy in time (starting for 6m00s); 2 pools, 2/3 healthy"},
		{"up since a moment", func(_ *rpc.Pool, w *rpc.Worker) { w.Uptime, w.Since = 9, ago(9*time.Second) }, 0, "2 pools, 2/3 healthy"},
		{"its checks fail", func(_ *rpc.Pool, w *rpc.Worker) { w.Uptime, w.Since = 60, ago(time.Minute) }, 1, "mailers/1 not healthy after 1m00s; 2 pools, 2/3 healthy"},
		{"up again after a crash", func(_ *rpc.Pool, w *rpc.Worker) {
			w.Uptime, w.Since, w.LastExit, w.Window.Used = 2, ago(2*time.Second), failed, 1
		}, 1, "mailers/1 restarted and not healthy yet: exit code 3; 2 pools, 2/3 healthy"},
		{"up again after a limit", func(_ *rpc.Pool, w *rpc.Worker) {
			w.Uptime, w.Since, w.LastExit, w.Window.Used = 2, ago(2*time.Second), &rpc.Exit{Success: true}, 1
		}, 0, "2 pools, 2/3 healthy"},
		{"in its stop sequence", func(_ *rpc.Pool, w *rpc.Worker) {
			w.State, w.Stopping = "stopping", &rpc.Stop{Signal: "TERM", At: ago(time.Hour)}
		}, 0, "2 pools, 2/3 healthy"},
		{"killed and still there", func(_ *rpc.Pool, w *rpc.Worker) {
			w.State, w.Stopping = "stopping", &rpc.Stop{Signal: "KILL", At: ago(time.Minute)}
		}, 1, "mailers/1 does not end after KILL (pid 4712); 2 pools, 2/3 healthy"},
		{"killed while its pool stops", func(p *rpc.Pool, w *rpc.Worker) {
			p.Desired, w.Desired, p.Workers[0].Desired = "stopped", "stopped", "stopped"
			w.State, w.Stopping = "stopping", &rpc.Stop{Signal: "KILL", At: ago(time.Minute)}
		}, 1, "mailers/1 does not end after KILL (pid 4712); 2 pools, 1/1 healthy; mailers is stopped"},
		{"stopped by hand", func(_ *rpc.Pool, w *rpc.Worker) { w.State, w.Desired = "stopped", "stopped" }, 0, "2 pools, 2/2 healthy; mailers: 1 worker stopped"},
		{"its pool stopped by hand", func(p *rpc.Pool, w *rpc.Worker) {
			p.Desired = "stopped"
			for i := range p.Workers {
				p.Workers[i].State, p.Workers[i].Desired, p.Workers[i].Healthy = "stopped", "stopped", false
			}
		}, 0, "2 pools, 1/1 healthy; mailers is stopped"},
		{"waits for another pool", func(p *rpc.Pool, w *rpc.Worker) {
			p.WaitsFor, w.State, w.Since = []string{"web"}, "stopped", ago(time.Hour)
		}, 0, "2 pools, 2/3 healthy; mailers waits for web"},
		{"never started", func(_ *rpc.Pool, w *rpc.Worker) { w.State, w.Since = "stopped", ago(time.Hour+time.Second) }, 1, "mailers/1 not started for 1h00m; 2 pools, 2/3 healthy"},
		{"beyond the count", func(p *rpc.Pool, w *rpc.Worker) { p.Count, w.State = 1, "failed" }, 0, "2 pools, 2/2 healthy"},
		{"deployed", func(p *rpc.Pool, w *rpc.Worker) {
			w.State, w.Since = "starting", ago(time.Hour)
			p.Deployment = deploying("running", time.Now().Add(time.Minute))
		}, 0, "2 pools, 2/3 healthy; mailers: restart running 1/2"},
		{"deployed and late", func(p *rpc.Pool, w *rpc.Worker) {
			w.State, w.Since = "starting", ago(time.Second)
			p.Deployment = deploying("running", time.Now().Add(-time.Second))
		}, 1, "mailers/1 not healthy in time (starting); 2 pools, 2/3 healthy; mailers: restart running 1/2"},
		{"waiting for its promotion", func(p *rpc.Pool, w *rpc.Worker) {
			w.Healthy, p.Deployment = true, deploying("awaiting_promotion", time.Time{})
		}, 0, "2 pools, 3/3 healthy; mailers: restart awaiting promotion 1/2"},
		{"reverted", func(p *rpc.Pool, w *rpc.Worker) {
			w.Healthy, p.Deployment = true, deploying("reverting", time.Time{})
		}, 1, "mailers is being reverted to revision 7: mailers/1 was not healthy in time; 2 pools, 3/3 healthy"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.ready()
			f.change("mailers", func(p *rpc.Pool) {
				w := &p.Workers[1]
				if c.name != "healthy" {
					w.Healthy = false
				}
				c.change(p, w)
			})
			code, line := f.checked()
			message, _, _ := strings.Cut(line, " | ")
			if want := fmt.Sprintf("SUPERD %s - %s", severity(c.code), c.want); code != c.code || message != want {
				t.Errorf("%d %s\nwant %d %s", code, message, c.code, want)
			}
		})
	}
}

func deploying(state string, deadline time.Time) *rpc.Deployment {
	return &rpc.Deployment{ID: "d", State: state, Reason: "restart", From: 7, To: 8, Done: 1, Total: 2, Error: "mailers/1 was not healthy in time",
		Workers: []rpc.DeployStep{{Name: "mailers/0", State: "healthy"}, {Name: "mailers/1", State: "starting", Deadline: rpc.At(deadline)}}}
}

func TestCheckPerfdata(t *testing.T) {
	f := newFake(t)
	f.ready()
	const totals = "running=3;;;0;3 healthy=3;;;0;3 backoff=0;;;0;3 delayed=0;;;0;3 failed=0;;;0;3 time=0s;;;0"
	if code, line := f.checked(); code != 0 || line != "SUPERD OK - 2 pools, 3/3 healthy | "+totals+
		" mailers::running=2;;;0;2 mailers::healthy=2;;;0;2 web::running=1;;;0;1 web::healthy=1;;;0;1" {
		t.Errorf("%d %s", code, line)
	}
	if code, line := f.checked("mailers"); code != 0 ||
		line != "SUPERD OK - mailers, 2/2 healthy | running=2;;;0;2 healthy=2;;;0;2 backoff=0;;;0;2 delayed=0;;;0;2 failed=0;;;0;2 time=0s;;;0" {
		t.Errorf("%d %s", code, line)
	}
	if code, line := f.checked("@front", "mailers/0"); code != 0 || !strings.HasPrefix(line, "SUPERD OK - 2 pools, 2/2 healthy | ") {
		t.Errorf("%d %s", code, line)
	}
	f.status.Pools = nil
	if code, line := f.checked(); code != 0 || !strings.HasPrefix(line, "SUPERD OK - no pools | running=0;;;0;0 ") {
		t.Errorf("%d %s", code, line)
	}
	for label, want := range map[string]string{"a": "a", "a b": "'a b'", "a=b'c|d": "a_b_cd"} {
		if got := perfLabel(label); got != want {
			t.Errorf("%q is %q, want %q", label, got, want)
		}
	}
}

// TestCheckSuperd: superd itself counts when it is asked about as a whole.
func TestCheckSuperd(t *testing.T) {
	f := newFake(t)
	f.ready()
	f.status.Superd.Degraded = []string{"state.db|\nis \x1b[31mread-only\u202e"}
	f.status.Superd.ConfigPending = true
	f.status.Superd.Stopping = true
	f.status.Superd.KeeperPID = 0
	code, line := f.checked()
	if code != 1 || !strings.HasPrefix(line, "SUPERD WARNING - superd is degraded: state.db is [31mread-only; "+
		"the configuration on disk is not what is in force; superd is being shut down; superd has no keeper; 2 pools, 3/3 healthy | ") {
		t.Errorf("%d %s", code, line)
	}
	if code, line := f.checked("web"); code != 0 {
		t.Errorf("%d %s", code, line)
	}
	// The worst comes first and decides.
	f.change("web", func(p *rpc.Pool) { p.Workers[0].State, p.Workers[0].Healthy = "failed", false })
	if code, line := f.checked(); code != 2 || !strings.HasPrefix(line, "SUPERD CRITICAL - web/0 failed; superd is degraded") {
		t.Errorf("%d %s", code, line)
	}
	// One failed worker of a pool, asked about as a worker.
	if code, line := f.checked("web/0"); code != 2 || !strings.HasPrefix(line, "SUPERD CRITICAL - web/0 failed; web, 0/1 healthy") {
		t.Errorf("%d %s", code, line)
	}
}

// TestCheckLong: however much there is to say, Nagios reads all of the line.
func TestCheckLong(t *testing.T) {
	f := newFake(t)
	f.ready()
	p := f.status.Pools[1]
	f.status.Pools = nil
	for i := range 300 {
		q := p
		q.Name = fmt.Sprintf("pool-with-a-rather-long-name-%03d", i)
		q.Count, q.Workers = 20, nil
		for n := range 20 {
			q.Workers = append(q.Workers, rpc.Worker{Name: fmt.Sprintf("%s/%d", q.Name, n), Index: n, State: "failed", Desired: "running",
				LastExit: &rpc.Exit{Reason: strings.Repeat("long ", 100)}})
		}
		f.status.Pools = append(f.status.Pools, q)
	}
	code, line := f.checked()
	if code != 2 || len(line) > maxLine || !strings.Contains(line, "; and 59") || !strings.Contains(line, "300 pools, 0/6000 healthy | running=0;;;0;6000 ") {
		t.Errorf("%d, %d bytes: %s", code, len(line), line)
	}
	if code, line := f.checked(f.status.Pools[7].Name); code != 2 || !strings.Contains(line, "007: 20 of 20 failed (0, 1, 2, 3, 4, ...): long long") {
		t.Errorf("%d, %s", code, line)
	}
}

// TestCheckUnknown: what is no answer about health is UNKNOWN, on stdout.
func TestCheckUnknown(t *testing.T) {
	f := newFake(t)
	f.ready()
	f.gets["/v1/pools/secret"] = rpc.Errorf(rpc.KindForbidden, "cannot show pool secret: that takes the role viewer")
	for want, args := range map[string][]string{
		`there is no pool "mailer"; did you mean "mailers"?`:  {"mailer"},
		`there is no worker mailers/2`:                        {"mailers/2"},
		`no pool is in the group "backend"`:                   {"@backend"},
		`cannot show pool secret: that takes the role viewer`: {"secret"},
		`"mailers/x" names no worker`:                         {"mailers/x"},
		`unknown flag: --warning; see superctl check --help`:  {"--warning", "5"},
		`invalid argument "soon" for "-t, --timeout" flag`:    {"-t", "soon"},
		`invalid argument "0" for "-t, --timeout" flag`:       {"--timeout=0"},
		`flag needs an argument: 't' in -t`:                   {"-t"},
		`unknown flag: --such; see superctl check --help`:     {"mailers", "--such"},
	} {
		code, line := f.checked(args...)
		if code != 3 || !strings.HasPrefix(line, "SUPERD UNKNOWN - "+want) || strings.Contains(line, "=0;;;") {
			t.Errorf("check %v: %d %s\nwant %s", args, code, line, want)
		}
	}
	f.gets["/v1/status"] = rpc.Errorf(rpc.KindForbidden, "cannot show the status: that takes the role viewer")
	if code, line := f.checked(); code != 3 || line != "SUPERD UNKNOWN - cannot show the status: that takes the role viewer" {
		t.Errorf("%d %s", code, line)
	}
	f.gets["/v1/status"] = rpc.Errorf(rpc.KindInternal, "cannot show the status: a bug")
	if code, line := f.checked(); code != 2 || line != "SUPERD CRITICAL - cannot show the status: a bug" {
		t.Errorf("%d %s", code, line)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r := ctl(t, ctx, []string{"SUPERD_SOCKET=" + f.path}, "check"); r.code != 3 || r.out != "SUPERD UNKNOWN - interrupted\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
}

// TestCheckWaits: for a superd that is away, as long as it may.
func TestCheckWaits(t *testing.T) {
	f := newFake(t)
	f.ready()
	f.kill()
	if code, line := f.checked("-t", "100ms"); code != 2 || !strings.HasPrefix(line, "SUPERD CRITICAL - cannot reach superd at "+f.path) {
		t.Errorf("%d %s", code, line)
	}
	done := make(chan result, 1)
	go func() { done <- f.ctl("check", "-t", "30") }() // bare seconds
	f.listen()
	if r := <-done; r.code != 0 || r.err != "" || !strings.HasPrefix(r.out, "SUPERD OK - 2 pools, 3/3 healthy | ") {
		t.Errorf("%+v", r)
	}
	if a := newApp(nil, nil, func(string) string { return "" }); checkReach != 5*time.Second || !strings.Contains(a.checkCommand().Flag("timeout").Usage, "(default 5s)") {
		t.Error("the time is not what the help says")
	}
}

func TestCheckJSON(t *testing.T) {
	f := newFake(t)
	f.ready()
	f.change("mailers", func(p *rpc.Pool) {
		p.Workers[1].State, p.Workers[1].Healthy, p.Workers[1].LastExit = "failed", false, &rpc.Exit{Reason: "exit code 3"}
	})
	var h struct {
		State, Message string
		Code           int
		Superd         *rpc.Superd
		Pools          []poolHealth
		Problems       []struct {
			State, Pool, Text string
			Workers           []string
		}
	}
	r := f.ctl("check", "--json")
	if err := json.Unmarshal([]byte(r.out), &h); err != nil || r.code != 2 || h.State != "CRITICAL" || h.Code != 2 || h.Superd.PID != 812 ||
		len(h.Pools) != 2 || h.Pools[0].Failed != 1 || h.Pools[0].Wanted != 2 || len(h.Problems) != 1 || h.Problems[0].State != "CRITICAL" ||
		h.Problems[0].Pool != "mailers" || h.Problems[0].Workers[0] != "mailers/1" || h.Problems[0].Text != "mailers/1 failed: exit code 3" ||
		h.Message != "SUPERD CRITICAL - mailers/1 failed: exit code 3; 2 pools, 2/3 healthy" {
		t.Errorf("%v %+v", err, r)
	}
	f.ready()
	if r := f.ctl("check", "--json", "web"); r.code != 0 || !strings.Contains(r.out, `"state":"OK","code":0,`) || !strings.Contains(r.out, `"problems":[]`) {
		t.Errorf("%+v", r)
	}
	f.kill()
	if r := f.ctl("check", "--json", "-t", "100ms"); r.code != 2 || !strings.Contains(r.out, `"superd":null,"pools":[],"problems":[{"state":"CRITICAL",`) {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("check", "--json", "--bogus"); r.code != 3 || !strings.Contains(r.out, `"state":"UNKNOWN"`) {
		t.Errorf("%+v", r)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%swant\n%s", name, got, want)
	}
}

func (f *fake) wide(columns string, args ...string) result {
	return ctl(f.t, context.Background(), []string{"SUPERD_SOCKET=" + f.path, "COLUMNS=" + columns}, args...)
}

func TestStatusFitsTheWidth(t *testing.T) {
	f := newFake(t)
	f.change("web", func(p *rpc.Pool) {
		p.Deployment = &rpc.Deployment{Reason: "restart", State: "running", To: 2, Done: 0, Total: 1}
		p.WaitsFor = []string{"mailers"}
		w := &p.Workers[0]
		w.State, w.LastExit = "delayed", &rpc.Exit{Reason: "killed by SEGV\x1b[2J (core dumped), after having been warned twice", At: rpc.At(time.Now().Add(-90 * time.Minute))}
	})
	golden(t, "status-wide.txt", f.wide("", "status").out)
	golden(t, "status-80.txt", f.wide("80", "status").out)
	golden(t, "status-40.txt", f.wide("40", "status").out)
	golden(t, "status-one.txt", f.wide("", "status", "mailers/1").out)
	for _, columns := range []string{"20", "40", "60", "80", "100", "200"} {
		n := map[string]int{"20": 35, "40": 40, "60": 60, "80": 80, "100": 100, "200": 200}[columns]
		for _, line := range strings.Split(f.wide(columns, "status").out, "\n") {
			if len([]rune(line)) > n {
				t.Errorf("%s columns: %q", columns, line)
			}
		}
	}
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	f := newFake(t)
	f.status.Superd.Degraded = []string{"state.db was broken"}
	f.status.Superd.ConfigPending = true
	r := f.ctl("status")
	if !strings.Contains(r.err, "degraded: state.db was broken") || !strings.Contains(r.err, "superctl apply") {
		t.Errorf("%+v", r)
	}
	f.status.Pools = nil
	if r := f.ctl("status"); r.code != 0 || r.out != "" || !strings.Contains(r.err, "no pools") {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("stop", "--all"); r.code != 0 || r.out != "" || !strings.Contains(r.err, "nothing to stop") {
		t.Errorf("%+v", r)
	}
}

func TestStatusJSON(t *testing.T) {
	f := newFake(t)
	var st rpc.Status
	r := f.ctl("status", "--json")
	if err := json.Unmarshal([]byte(r.out), &st); err != nil || len(st.Pools) != 2 {
		t.Errorf("%v %+v", err, r)
	}
	r = f.ctl("status", "--json", "web")
	if err := json.Unmarshal([]byte(r.out), &st); err != nil || len(st.Pools) != 1 || st.Superd.PID != 812 {
		t.Errorf("%v %+v", err, r)
	}
}

// TestWatch: the status is shown again when something happened.
func TestWatch(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan result, 1)
	go func() { done <- ctl(t, ctx, []string{"SUPERD_SOCKET=" + f.path}, "status", "-w", "web") }()
	eventually(t, "it is shown", func() bool { return f.count("/v1/status") >= 2 && f.count("/v1/events") == 1 })
	f.change("web", func(p *rpc.Pool) { p.Workers[0].State = "failed" })
	shown := f.count("/v1/status")
	eventually(t, "it is shown again", func() bool { return f.count("/v1/status") > shown })
	cancel()
	if r := <-done; r.code != 0 || !strings.Contains(r.out, "stopped") {
		t.Errorf("%+v", r)
	}
}

func TestShow(t *testing.T) {
	f := newFake(t)
	f.gets["/v1/pools/mailers/config"] = rpc.PoolConfig{
		Pool: "mailers", File: "/etc/superd/superd.toml", Count: 5, Scaled: true, EnvHidden: true,
		Settings: []rpc.Setting{
			{Key: "command", Value: `["sh", "-c", "a\nb"]`, Source: "/etc/superd/superd.toml:3"},
			{Key: "count", Value: "4", Source: "/etc/superd/superd.toml:4"},
			{Key: "user", Source: "default"},
			{Key: "env.SECRET", Source: "defaults /etc/superd/superd.toml:1"},
			{Key: "restart.delay", Value: `"1s"`, Source: "default"},
		},
	}
	golden(t, "show.txt", f.ctl("show", "mailers").out)
	var cfg rpc.PoolConfig
	if r := f.ctl("show", "mailers", "--json"); json.Unmarshal([]byte(r.out), &cfg) != nil || cfg.Count != 5 {
		t.Errorf("%+v", r)
	}
}

func TestEvents(t *testing.T) {
	f := newFake(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	f.mu.Lock()
	f.happenLocked(rpc.Event{Time: rpc.At(at), Type: "superd.started", Message: "pid 812"})
	f.happenLocked(rpc.Event{Time: rpc.At(at), Type: "worker.exited", Pool: "mailers", Worker: "mailers/0", Message: "exit code 1\x1b[2J"})
	f.happenLocked(rpc.Event{Time: rpc.At(at), Type: "worker.exited", Pool: "mailers", Worker: "mailers/1", Message: "TERM"})
	f.mu.Unlock()
	golden(t, "events.txt", f.ctl("events").out)
	if r := f.ctl("events", "mailers/1"); strings.Count(r.out, "\n") != 1 || !strings.Contains(r.out, "mailers/1") {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("events", "--json", "mailers"); strings.Count(r.out, "\n") != 2 || !strings.HasPrefix(r.out, `{"seq":7,`) {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("events", "--since", "1h"); r.code != 0 || r.out != "" || r.err != "no events\n" {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("events", "--since", "yesterday"); r.code != 2 {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out syncBuffer
	done := make(chan result, 1)
	go func() { done <- ctlTo(ctx, &out, []string{"SUPERD_SOCKET=" + f.path}, "events", "-f", "web") }()
	eventually(t, "it listens", func() bool { return f.count("/v1/events") >= 5 })
	f.change("web", func(*rpc.Pool) {})
	f.change("mailers", func(*rpc.Pool) {})
	f.kill()
	f.listen()
	f.change("web", func(*rpc.Pool) {})
	eventually(t, "what happened before and after the crash is shown", func() bool { return strings.Count(out.String(), "worker.changed") == 2 })
	cancel()
	if r := <-done; r.code != 0 || strings.Contains(r.out, "mailers") {
		t.Errorf("%+v", r)
	}
}

func TestHelp(t *testing.T) {
	f := newFake(t)
	golden(t, "help.txt", f.ctl("--help").out)
	for _, name := range []string{"status", "show", "events", "start", "stop", "restart", "scale", "signal", "apply", "upgrade", "shutdown", "version"} {
		if r := f.ctl(name, "--help"); r.code != 0 || !strings.Contains(r.out, "Examples:\n  superctl "+name) && !strings.Contains(r.out, "superctl "+name) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := f.ctl("completion", "bash"); r.code != 0 || !strings.Contains(r.out, "superctl") {
		t.Errorf("completion: %d %s", r.code, r.err)
	}
	if r := f.ctl("__complete", "stop", ""); !strings.Contains(r.out, "mailers\t1/2 healthy\nweb\tstopped\n") {
		t.Errorf("%+v", r)
	}
}

func TestVersion(t *testing.T) {
	f := newFake(t)
	if r := f.ctl("version"); r.code != 0 || !regexp.MustCompile(`^superctl \S+\n$`).MatchString(r.out) {
		t.Errorf("%+v", r)
	}
	version = "1.2.3"
	defer func() { version = "" }()
	if r := f.ctl("version", "--json"); !strings.Contains(r.out, `"version":"1.2.3"`) {
		t.Errorf("%+v", r)
	}
}

// TestProgressOnATerminal: the lines are drawn over those before.
func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	a := newApp(&out, &out, func(string) string { return "" })
	a.tty, a.width = true, 30
	pool := &rpc.Pool{Name: "web", Workers: []rpc.Worker{{Name: "web/0", State: "starting"}, {Name: "web/1", Index: 1, State: "running"}}}
	p := &pursuit{verb: verbStart, target: target{pool: pool}, pool: pool}
	g := a.progress([]*pursuit{p})
	g.update()
	pool.Workers[0].State = "running"
	p.finished = true
	g.update()
	g.end()
	const want = "web: starting, 1 running, 1 …\n\x1b[1A\x1b[Jweb: started, 2 running\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}
}

func TestColoursAndWidths(t *testing.T) {
	tb := &table{columns: []column{{name: "A"}, {name: "B", right: true}, {name: "C", drop: 1}}}
	tb.add(cell{"x", green}, cell{"1", plain}, cell{"-", plain})
	var b bytes.Buffer
	tb.write(&b, 0, true)
	if b.String() != "\x1b[2mA\x1b[0m  \x1b[2mB\x1b[0m\n\x1b[32mx\x1b[0m  1\n" {
		t.Errorf("%q", b.String())
	}
	a := newApp(&b, &b, func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] })
	a.tty = true
	if a.colours() {
		t.Error("NO_COLOR is not heeded")
	}
	for d, want := range map[time.Duration]string{
		-1: "-", 0: "0.0s", 1500 * time.Millisecond: "1.5s", 59 * time.Second: "59s", 61 * time.Second: "1m01s",
		25 * time.Hour: "1d01h", 3*time.Hour + 5*time.Minute: "3h05m",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.5K", 120 << 20: "120M", 5 << 40: "5.0T"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/signals"
)

// load accepts a text that has to be good.
func load(t *testing.T, text string) *Config {
	t.Helper()
	c, err := LoadBytes("f", []byte(text), Options{self: rootUser, CgroupAvailable: func() error { return nil }})
	if err != nil {
		t.Fatalf("refused:\n%v", err)
	}
	return c
}

func TestBuiltInDefaults(t *testing.T) {
	c := load(t, "[pool.a]\ncommand = \"x\"\n")
	want := Superd{RuntimeDir: "/run/superd", StateDir: "/var/lib/superd", LogDir: "/var/log/superd", ShutdownTimeout: 90 * time.Second}
	if !reflect.DeepEqual(c.Superd, want) {
		t.Errorf("[superd] is %+v; want %+v", c.Superd, want)
	}
	stop := signals.Sequence{{Signal: syscall.SIGTERM, Wait: 10 * time.Second}, {Signal: syscall.SIGKILL}}
	pool := &Pool{
		Name: "a", Command: []string{"x"}, Count: 1, Directory: "/", Umask: 0o22,
		InheritEnv: []string{"PATH", "LANG", "LC_*", "TZ"},
		Stop:       stop, Drain: stop, SignalScope: ScopeMain, KillScope: ScopeGroup,
		SuccessExit: []ExitMatch{{}}, Autostart: true, AfterTimeout: time.Minute,
		Restart: Restart{On: RestartAlways, Attempts: 10, Interval: 10 * time.Minute, Delay: time.Second, MaxDelay: time.Second, Mode: ModeDelay},
		Update:  Update{MaxParallel: 1, MinHealthyTime: 10 * time.Second, HealthyDeadline: 5 * time.Minute, ProgressDeadline: 10 * time.Minute},
		Log:     Log{Target: LogFile, MaxSize: 10 << 20, Keep: 10},
		Sources: map[string]string{"command": "f:2"},
	}
	if !reflect.DeepEqual(c.Pools["a"], pool) {
		t.Errorf("the pool is\n%+v; want\n%+v", c.Pools["a"], pool)
	}
	if c := load(t, ""); len(c.Pools) != 0 || c.Pools == nil {
		t.Errorf("an empty file has the pools %v", c.Pools)
	}
}

// TestEveryKey gives each supported key a value of its own and finds all of
// them in the pool, by way of show.
func TestEveryKey(t *testing.T) {
	c := load(t, `
[superd]
runtime_dir = "/r"
state_dir = "/s/"
log_dir = "/l"
viewers = ["nagios"]
operators = ["deploy", "@ops"]
shutdown_timeout = "90s"
watch = false
metrics = ""
[pool.b]
command = "y"
[pool.a]
command = ["x", "${index}"]
count = 3
groups = ["web"]
directory = "/srv"
user = "deploy"
group = "www-data"
umask = "027"
env = { B = "2", A = "1" }
env_file = ["/etc/a.env", "-/etc/b.env"]
inherit_env = ["*"]
preset = "rq"
stop_sequence = ["TSTP 5s", "TERM 8m", "KILL"]
drain_sequence = ["RTMIN+3 10d", "QUIT forever"]
signal_scope = "group"
kill_scope = "cgroup"
success_exit = [0, 75, "SIGTERM"]
forward = { SIGUSR1 = "USR2", HUP = "QUIT" }
autostart = false
after = ["b"]
after_timeout = "5m"
essential = true
restart_on_change = []
sockets = {}
busy = { title = "at work" }
operators = ["x"]
viewers = ["@y"]
restart = { on = "failure", attempts = 3, interval = "1h", delay = "2s", max_delay = "1m", jitter = 0.25, mode = "fail" }
update = { max_parallel = 2, order = "stop-first", min_healthy_time = "20s", healthy_deadline = "2m", progress_deadline = "20m", auto_revert = false, canary = 0, auto_promote = true, drain = "wait", before = [], after = [] }
log = { target = "inherit", max_size = "64K", keep = 3, compress = true, stderr = "separate", on_full = "block" }
limits = { nofile = 1024, nproc = 100, core = "unlimited", nice = -5, oom_score_adj = 500 }
`)
	want := `command = ["x", "${index}"]
count = 3
groups = ["web"]
directory = "/srv"
user = "deploy"
group = "www-data"
umask = "027"
env.A = "1"
env.B = "2"
env_file = ["/etc/a.env", "-/etc/b.env"]
inherit_env = ["*"]
preset = "rq"
stop_sequence = ["TSTP 5s", "TERM 8m", "KILL"]
drain_sequence = ["RTMIN+3 10d", "QUIT forever"]
signal_scope = "group"
kill_scope = "cgroup"
success_exit = [0, 75, "TERM"]
forward.HUP = "QUIT"
forward.USR1 = "USR2"
autostart = false
after = ["b"]
after_timeout = "5m"
essential = true
restart.on = "failure"
restart.attempts = 3
restart.interval = "1h"
restart.delay = "2s"
restart.max_delay = "1m"
restart.jitter = 0.25
restart.mode = "fail"
update.max_parallel = 2
update.min_healthy_time = "20s"
update.healthy_deadline = "2m"
update.progress_deadline = "20m"
update.auto_revert = false
log.target = "inherit"
log.max_size = "64K"
log.keep = 3
log.compress = true
log.stderr = "separate"
log.on_full = "block"
limits.nofile = 1024
limits.nproc = 100
limits.core = "unlimited"
limits.nice = -5
limits.oom_score_adj = 500
busy = { title = "at work" }
operators = ["x"]
viewers = ["@y"]
`
	var got strings.Builder
	for _, s := range c.Pools["a"].Describe() {
		got.WriteString(s.Key + " = " + s.Value + "\n")
		if !strings.HasPrefix(s.Source, "f:") {
			t.Errorf("%s comes from %q", s.Key, s.Source)
		}
	}
	if got.String() != want {
		t.Errorf("in force:\n%s\nwant:\n%s", got.String(), want)
	}
	wantSuperd := Superd{RuntimeDir: "/r", StateDir: "/s", LogDir: "/l", Viewers: []string{"nagios"}, Operators: []string{"deploy", "@ops"}, ShutdownTimeout: 90 * time.Second}
	if !reflect.DeepEqual(c.Superd, wantSuperd) {
		t.Errorf("[superd] is %+v", c.Superd)
	}
}

// TestPoolsAreStored: a revision is kept as JSON and has to come back the same.
func TestPoolsAreStored(t *testing.T) {
	c := load(t, `
[pool.a]
command = "x"
[pool.b]
command = ["x", "<&>\u2028"]
env = { A = "1" }
env_file = "-/x"
groups = []
forward = { USR1 = "RTMIN+3" }
success_exit = ["TERM", 3]
stop_sequence = ["TERM 1h30m", "QUIT forever"]
limits = { core = "unlimited", nice = 0, nofile = 1 }
restart = { jitter = 0.1 }
`)
	for name, p := range c.Pools {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Pool
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&back, p) {
			t.Errorf("%s came back as\n%+v; want\n%+v", name, back, *p)
		}
		if back.ContentDigest() != p.ContentDigest() {
			t.Errorf("%s came back with another digest", name)
		}
	}
}

func TestDefaultsTable(t *testing.T) {
	c := load(t, `
[defaults]
command = "shared"
count = 4
kill_timeout = "30s"
env = { A = "d", B = "d" }
forward = { USR1 = "USR1", HUP = "HUP" }
success_exit = [0, 1]
restart.attempts = 3
restart.delay = "5s"
drain_sequence = ["QUIT 1h", "KILL"]
limits.nofile = 100
[pool.plain]
[pool.own]
command = "own"
env = { B = "p", C = "p" }
forward = { SIGHUP = "QUIT" }
success_exit = [2]
stop_signal = "INT"
restart.attempts = 5
limits.nice = 3
[pool.sequence]
stop_sequence = ["TERM 1s", "KILL"]
drain_sequence = ["TERM 2s", "KILL"]
[pool.forever]
kill_timeout = "forever"
[pool.killed]
stop_signal = "KILL"
`)
	for _, tc := range []struct{ pool, key, value, source string }{
		{"plain", "command", `["shared"]`, "defaults f:3"},
		{"plain", "stop_sequence", `["TERM 30s", "KILL"]`, "defaults f:5"},
		{"plain", "drain_sequence", `["QUIT 1h", "KILL"]`, "defaults f:11"},
		{"plain", "restart.attempts", "3", "defaults f:9"},
		{"plain", "restart.max_delay", `"5s"`, "default"},
		{"plain", "restart.interval", `"10m"`, "default"},
		{"plain", "limits.nproc", "", "default"},
		{"own", "command", `["own"]`, "f:15"},
		{"own", "count", "4", "defaults f:4"},
		{"own", "env.A", `"d"`, "defaults f:6"},
		{"own", "env.B", `"p"`, "f:16"},
		{"own", "env.C", `"p"`, "f:16"},
		{"own", "forward.USR1", `"USR1"`, "defaults f:7"},
		{"own", "forward.HUP", `"QUIT"`, "f:17"},
		{"own", "success_exit", "[2]", "f:18"},
		{"own", "stop_sequence", `["INT 30s", "KILL"]`, "f:19"},
		{"own", "restart.attempts", "5", "f:20"},
		{"own", "restart.delay", `"5s"`, "defaults f:10"},
		{"own", "limits.nofile", "100", "defaults f:12"},
		{"own", "limits.nice", "3", "f:21"},
		{"sequence", "stop_sequence", `["TERM 1s", "KILL"]`, "f:23"},
		{"sequence", "drain_sequence", `["TERM 2s", "KILL"]`, "f:24"},
		{"forever", "stop_sequence", `["TERM forever"]`, "f:26"},
		{"killed", "stop_sequence", `["KILL"]`, "f:28"},
	} {
		got := Setting{}
		for _, s := range c.Pools[tc.pool].Describe() {
			if s.Key == tc.key {
				got = s
			}
		}
		if want := (Setting{tc.key, tc.value, tc.source}); got != want {
			t.Errorf("%s: %+v; want %+v", tc.pool, got, want)
		}
	}
	// The short form of a pool replaces the sequence of [defaults].
	c = load(t, "[defaults]\nstop_sequence = [\"QUIT 1h\", \"KILL\"]\n[pool.a]\ncommand = \"x\"\nkill_timeout = \"3s\"\n")
	if got := c.Pools["a"].Stop.Strings(); !reflect.DeepEqual(got, []string{"TERM 3s", "KILL"}) {
		t.Errorf("stop sequence %q", got)
	}
	if got := c.Pools["a"].Drain.Strings(); !reflect.DeepEqual(got, []string{"TERM 3s", "KILL"}) {
		t.Errorf("drain sequence %q", got)
	}
}

// TestDefaultsGiveWay: whatever is given alone, it is never an error.
func TestDefaultsGiveWay(t *testing.T) {
	for _, tc := range []struct {
		update                     string
		minimum, healthy, progress time.Duration
	}{
		{``, 10 * time.Second, 5 * time.Minute, 10 * time.Minute},
		{`min_healthy_time = "4m"`, 4 * time.Minute, 5 * time.Minute, 10 * time.Minute},
		{`min_healthy_time = "5m"`, 5 * time.Minute, 10 * time.Minute, 10 * time.Minute},
		{`min_healthy_time = "24h"`, 24 * time.Hour, 24*time.Hour + 5*time.Minute, 24*time.Hour + 5*time.Minute},
		{`healthy_deadline = "1h"`, 10 * time.Second, time.Hour, time.Hour},
		{`healthy_deadline = "5s"`, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Minute},
		{`progress_deadline = "1m"`, 10 * time.Second, time.Minute, time.Minute},
		{`progress_deadline = "2s"`, time.Second, 2 * time.Second, 2 * time.Second},
		{`min_healthy_time = "5m"` + "\n" + `progress_deadline = "6m"`, 5 * time.Minute, 6 * time.Minute, 6 * time.Minute},
		{`min_healthy_time = "0s"`, 0, 5 * time.Minute, 10 * time.Minute},
	} {
		u := load(t, "[pool.a]\ncommand = \"x\"\n[pool.a.update]\n"+tc.update).Pools["a"].Update
		if u.MinHealthyTime != tc.minimum || u.HealthyDeadline != tc.healthy || u.ProgressDeadline != tc.progress {
			t.Errorf("%s: %v, %v, %v; want %v, %v, %v", tc.update, u.MinHealthyTime, u.HealthyDeadline, u.ProgressDeadline, tc.minimum, tc.healthy, tc.progress)
		}
		if u.MinHealthyTime >= u.HealthyDeadline || u.HealthyDeadline > u.ProgressDeadline {
			t.Errorf("%s: out of order: %+v", tc.update, u)
		}
	}
	r := load(t, "[pool.a]\ncommand = \"x\"\nrestart.max_delay = \"100ms\"").Pools["a"].Restart
	if r.Delay != 100*time.Millisecond || r.MaxDelay != 100*time.Millisecond {
		t.Errorf("max_delay alone: %+v", r)
	}
}

func TestCgroups(t *testing.T) {
	text := []byte("[pool.a]\ncommand = \"x\"\nkill_scope = \"cgroup\"\n[pool.b]\ncommand = \"x\"\nkill_scope = \"cgroup\"\n")
	asked := 0
	_, err := LoadBytes("f", text, Options{self: rootUser, CgroupAvailable: func() error { asked++; return errors.New("/sys/fs/cgroup is read-only") }})
	want := `f:3:14: pool.a.kill_scope: found "cgroup", which is not to be had here: /sys/fs/cgroup is read-only; allowed: "process" or "group"
f:6:14: pool.b.kill_scope: found "cgroup", which is not to be had here: /sys/fs/cgroup is read-only; allowed: "process" or "group"`
	if err == nil || err.Error() != want || asked != 1 {
		t.Errorf("asked %d times:\n%v", asked, err)
	}
}

func TestUserMode(t *testing.T) {
	env := map[string]string{"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000"}
	id := &identity{uid: 1000, gid: 1001, user: "u", group: "g", getenv: func(n string) string { return env[n] }}
	text := "[pool.a]\ncommand = \"x\"\nuser = \"u\"\ngroup = \"1001\"\n"
	c, err := LoadBytes("f", []byte(text), Options{self: id})
	if err != nil {
		t.Fatal(err)
	}
	want := Superd{RuntimeDir: "/run/user/1000/superd", StateDir: "/home/u/.local/state/superd", LogDir: "/home/u/.local/state/superd/log", ShutdownTimeout: 90 * time.Second}
	if !reflect.DeepEqual(c.Superd, want) {
		t.Errorf("%+v; want %+v", c.Superd, want)
	}
	if got := defaultFile(id); got != "/home/u/.config/superd/superd.toml" {
		t.Errorf("the default file is %s", got)
	}
	env["XDG_CONFIG_HOME"], env["XDG_STATE_HOME"] = "/c", "relative"
	if got := defaultFile(id); got != "/c/superd/superd.toml" {
		t.Errorf("the default file is %s", got)
	}
	if got := defaultFile(rootUser); got != "/etc/superd/superd.toml" {
		t.Errorf("root's default file is %s", got)
	}
	clear(env)
	_, err = LoadBytes("f", []byte("[pool.a]\ncommand = \"x\"\nuser = \"root\"\ngroup = \"adm\"\n"), Options{self: id})
	wantErr := `f:1:1: superd.runtime_dir: found no such key, and XDG_RUNTIME_DIR is not set; required: one of the two
f:1:1: superd.state_dir: found no such key, and XDG_STATE_HOME or HOME is not set; required: one of the two
f:1:1: superd.log_dir: found no such key, and XDG_STATE_HOME or HOME is not set; required: one of the two
f:3:8: pool.a.user: found "root", but superd does not run as root and cannot change users; allowed: "u"
f:4:9: pool.a.group: found "adm", but superd does not run as root and cannot change groups; allowed: "g"`
	if err == nil || err.Error() != wantErr {
		t.Errorf("%v\nwant\n%s", err, wantErr)
	}
	if defaultFile(id) != "" {
		t.Error("without HOME there is a default file")
	}
}

// write makes the files of a configuration, by name.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir) // for who runs the test as a user
	t.Setenv("XDG_STATE_HOME", dir)
	write(t, dir, map[string]string{
		"superd.toml":   "[superd]\ninclude = [\"conf.d/*.toml\", \"extra.toml\", \"./extra.toml\", \"none/*.toml\", \"superd.toml\"]\n[pool.main]\ncommand = \"x\"\nafter = [\"b\"]\n",
		"conf.d/b.toml": "[pool.b]\ncommand = \"b\"\n",
		"conf.d/a.toml": "[defaults]\ncount = 7\n[pool.a]\ncommand = \"a\"\n",
		"conf.d/c.bak":  "[pool.",
		"extra.toml":    "[pool.extra]\ncommand = \"e\"\n",
	})
	file := filepath.Join(dir, "superd.toml")
	c, err := Load(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{file, filepath.Join(dir, "conf.d/a.toml"), filepath.Join(dir, "conf.d/b.toml"), filepath.Join(dir, "extra.toml")}
	if c.File != file || !reflect.DeepEqual(c.Files, want) {
		t.Errorf("read %q; want %q", c.Files, want)
	}
	if len(c.Pools) != 4 || c.Pools["main"].Count != 7 || c.Pools["b"].Sources["command"] != filepath.Join(dir, "conf.d/b.toml")+":2" {
		t.Errorf("pools %v", c.Pools)
	}
}

func TestIncludeErrors(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir) // for who runs the test as a user
	t.Setenv("XDG_STATE_HOME", dir)
	write(t, dir, map[string]string{
		"superd.toml": "[superd]\ninclude = [\"missing.toml\", \"a.toml\", \"dir\", \"[\", \"b.toml\"]\n[pool.p]\ncommand = \"x\"\n[job.j]\ncommand = \"x\"\n",
		"a.toml":      "[superd]\n[defaults]\n[pool.p]\ncount = -1\n[job.j]\n[pool.broken\n",
		"b.toml":      "[defaults]\ncount = -2\n[pool.q]\ncommand = \"x\"\nafter = [\"later\"]\n",
		"dir/x":       "",
	})
	_, err := Load(filepath.Join(dir, "superd.toml"), Options{})
	want := `DIR/superd.toml:2:12: superd.include: found "missing.toml", but DIR/missing.toml does not exist; allowed: a file, or a glob that may match none
DIR/superd.toml:2:38: superd.include: found "dir", but cannot read DIR/dir: it is a directory; needed: a file
DIR/superd.toml:2:45: superd.include: found "["; allowed: a path or a glob
DIR/superd.toml:5:1: job.j: found a table, which is not supported yet; allowed: leaving it out
DIR/a.toml:1:1: superd: found a second time, first at DIR/superd.toml:1; allowed: once in all files together
DIR/a.toml:3:1: pool.p: found a second time, first at DIR/superd.toml:3; allowed: once in all files together
DIR/a.toml:5:1: job.j: found a second time, first at DIR/superd.toml:5; allowed: once in all files together
DIR/a.toml:6:13: pool.broken: not valid TOML: expected '.' or ']' to end table name, but got '\n' instead
DIR/b.toml:1:1: defaults: found a second time, first at DIR/a.toml:2; allowed: once in all files together`
	if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != want {
		t.Errorf("reported:\n%s\nwant:\n%s", got, want)
	}
	_, err = Load(filepath.Join(dir, "nowhere.toml"), Options{})
	if got, want := strings.ReplaceAll(err.Error(), dir, "DIR"), "DIR/nowhere.toml: cannot read it: no such file or directory"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	var list *Errors
	if !errors.As(err, &list) || len(list.List) != 1 {
		t.Errorf("the error is a %T", err)
	}
}

func TestUnpinnedPaths(t *testing.T) {
	text := `[defaults]
env = { GEMFILE = "/srv/current/Gemfile", OTHER = "/srv/currently" }
[pool.a]
command = ["x", "--config=/srv/current/x.conf"]
directory = "/srv/current"
[pool.b]
command = ["x", "/srv/plain/y", "${release}/x"]
directory = "/srv/plain"
env = { GEMFILE = "" }
`
	resolve := func(p string) (string, error) {
		return strings.Replace(p, "/srv/current", "/srv/releases/42", 1), nil
	}
	c, err := LoadBytes("f", []byte(text), Options{self: rootUser, Resolve: resolve})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range c.Warnings {
		got = append(got, w.String())
	}
	const rest = `a path below "/srv/current" is not held to the release that a deployment chose, since that leads through a symbolic link; better: ${release}`
	want := []string{"f:2:19: defaults.env.GEMFILE: " + rest, "f:4:11: pool.a.command: " + rest}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

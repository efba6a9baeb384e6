package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestDiff changes one key after the other. A line that begins with * needs new processes.
func TestDiff(t *testing.T) {
	base := load(t, "[pool.a]\ncommand = \"x\"\nenv = { A = \"1\", B = \"2\" }\n").Pools["a"]
	for _, tc := range []struct{ text, want string }{
		{``, ``},
		{`count = 3`, `count: 1 -> 3`},
		{`groups = ["web"]`, `groups: [] -> ["web"]`},
		{`directory = "/srv"`, `*directory: "/" -> "/srv"`},
		{`user = "deploy"`, `*user: "" -> "deploy"`},
		{`group = "deploy"`, `*group: "" -> "deploy"`},
		{`umask = "077"`, `*umask: "022" -> "077"`},
		{`env.B = "3"` + "\n" + `env.C = "4"`, `*env.B: "2" -> "3"|*env.C:  -> "4"`},
		{`env_file = "-/x"`, `*env_file: [] -> ["-/x"]`},
		{`inherit_env = []`, `*inherit_env: ["PATH", "LANG", "LC_*", "TZ"] -> []`},
		{`stop_signal = "INT"`, `stop_sequence: ["TERM 10s", "KILL"] -> ["INT 10s", "KILL"]|drain_sequence: ["TERM 10s", "KILL"] -> ["INT 10s", "KILL"]`},
		{`drain_sequence = ["KILL"]`, `drain_sequence: ["TERM 10s", "KILL"] -> ["KILL"]`},
		{`signal_scope = "group"`, `signal_scope: "main" -> "group"`},
		{`kill_scope = "process"`, `kill_scope: "group" -> "process"`},
		{`kill_scope = "cgroup"`, `*kill_scope: "group" -> "cgroup"`},
		{`success_exit = [0, "TERM"]`, `success_exit: [0] -> [0, "TERM"]`},
		{`forward = { HUP = "HUP" }`, `forward.HUP:  -> "HUP"`},
		{`autostart = false`, `autostart: true -> false`},
		{`after_timeout = "2m"`, `after_timeout: "1m" -> "2m"`},
		{`essential = true`, `essential: false -> true`},
		{`restart.delay = "2s"`, `restart.delay: "1s" -> "2s"|restart.max_delay: "1s" -> "2s"`},
		{`restart.jitter = 0.5`, `restart.jitter: 0.0 -> 0.5`},
		{`update.max_parallel = 2`, `update.max_parallel: 1 -> 2`},
		{`log.target = "none"`, `*log.target: "file" -> "none"`},
		{`log.stderr = "separate"`, `*log.stderr: "merge" -> "separate"`},
		{`log.max_size = "1M"`, `log.max_size: "10M" -> "1M"`},
		{`log.on_full = "block"`, `log.on_full: "drop" -> "block"`},
		{`limits.nofile = 5`, `*limits.nofile:  -> 5`},
		{`limits.nice = 0`, `*limits.nice:  -> 0`},
		{`operators = ["x"]`, `operators: [] -> ["x"]`},
	} {
		env := "env.A = \"1\"\n"
		if !strings.Contains(tc.text, "env.B") {
			env += "env.B = \"2\"\n"
		}
		other := load(t, "# elsewhere\n[pool.a]\ncommand = [\"x\"]\n"+env+tc.text).Pools["a"]
		c := Diff(base, other)
		var lines []string
		needs, scaled := false, false
		for _, k := range c.Keys {
			mark := ""
			if k.NewProcesses {
				mark, needs = "*", true
			}
			scaled = scaled || k.Key == "count"
			lines = append(lines, fmt.Sprintf("%s%s: %s -> %s", mark, k.Key, k.Old, k.New))
		}
		if got := strings.Join(lines, "|"); got != tc.want {
			t.Errorf("%s: %s\nwant %s", tc.text, got, tc.want)
		}
		if c.NeedsNewProcesses != needs || c.Scaled != scaled {
			t.Errorf("%s: %+v", tc.text, c)
		}
		if same := base.ContentDigest() == other.ContentDigest(); same == needs {
			t.Errorf("%s: the digests are equal: %v", tc.text, same)
		}
		back := Diff(other, base)
		if len(back.Keys) != len(c.Keys) || back.NeedsNewProcesses != c.NeedsNewProcesses {
			t.Errorf("%s: the way back is %+v", tc.text, back)
		}
	}
	cgroup := load(t, "[pool.a]\ncommand = \"x\"\nkill_scope = \"cgroup\"").Pools["a"]
	process := load(t, "[pool.a]\ncommand = \"x\"\nkill_scope = \"process\"").Pools["a"]
	if !Diff(cgroup, process).NeedsNewProcesses {
		t.Error("the way from cgroup needs no new processes")
	}
}

// TestDiffSeesEverything: the table of keys forgets no field of a pool.
func TestDiffSeesEverything(t *testing.T) {
	p := newDraft().Pool
	unseen := map[string]bool{"Name": true, "Sources": true}
	v := reflect.ValueOf(&p).Elem()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if f.Kind() == reflect.Struct {
			for j := range f.NumField() {
				seen(t, &p, f.Field(j), name+"."+f.Type().Field(j).Name)
			}
		} else if !unseen[name] {
			seen(t, &p, f, name)
		}
	}
}

// seen changes one field and wants Diff to notice.
func seen(t *testing.T, p *Pool, f reflect.Value, name string) {
	t.Helper()
	before := *p
	old := reflect.New(f.Type()).Elem()
	old.Set(f)
	f.Set(other(f))
	if len(Diff(&before, p).Keys) == 0 {
		t.Errorf("a change of %s is not seen", name)
	}
	f.Set(old)
}

// other is a value that differs.
func other(f reflect.Value) reflect.Value {
	v := reflect.New(f.Type()).Elem()
	switch f.Kind() {
	case reflect.Bool:
		v.SetBool(!f.Bool())
	case reflect.String:
		v.SetString(f.String() + "x")
	case reflect.Int:
		v.SetInt(f.Int() + 1)
	case reflect.Int64: // a duration, of which less than 1 ms is not shown, or a size
		v.SetInt(f.Int() + int64(time.Second))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(f.Uint() + 1)
	case reflect.Float64:
		v.SetFloat(f.Float() + 0.5)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(f.Type(), f.Len()+1, f.Len()+1))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"X": "y"}))
	case reflect.Pointer:
		v.Set(reflect.New(f.Type().Elem()))
	default:
		panic("no other value of " + f.Type().String())
	}
	return v
}

package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/superd/superd/rpc"
)

func TestChoosing(t *testing.T) {
	f := newFake(t)
	f.gets["/v1/pools/secret"] = rpc.Errorf(rpc.KindForbidden, "cannot show secret: vera has not the role viewer")
	for _, test := range []struct {
		names string
		want  string // or the exit code and a part of the message
		code  int
	}{
		{"mailers", "mailers", 0},
		{"web mailers", "mailers web", 0},
		{"mail* @front", "mailers web", 0},
		{"*", "mailers web", 0},
		{"mailers/1 mailers/0 mailers/1", "mailers/0 mailers/1", 0},
		{"mailers/1 mailers", "mailers", 0},
		{"mailers mailers/1", "mailers", 0},
		{"*/0", "mailers/0 web/0", 0},
		{"@work/1", "mailers/1", 0},
		{"mialers", `did you mean "mailers"?`, 5},
		{"zzz*", `no pool matches "zzz*"`, 5},
		{"@nobody", `in the group "nobody"`, 5},
		{"secret", "has not the role", 4},
		{"mailers/x", "names no worker", 2},
		{"mailers/-1", "names no worker", 2},
		{"mailers/00", "names no worker", 2},
		{"mailers/", "names no worker", 2},
		{"/0", "names no pool", 2},
		{"@", "names no pool", 2},
		{"[", "not a pattern", 2},
	} {
		var out syncBuffer
		a := newApp(&out, &out, func(name string) string { return map[string]string{"SUPERD_SOCKET": f.path}[name] })
		st, _, err := a.status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		targets, err := a.choose(context.Background(), st, strings.Fields(test.names), false)
		if test.code != 0 {
			if got := a.failure(err); err == nil || got.code != test.code || !strings.Contains(got.text, test.want) {
				t.Errorf("%s: %+v", test.names, got)
			}
			continue
		}
		var got []string
		for i := range targets {
			got = append(got, targets[i].String())
		}
		if s := strings.Join(got, " "); err != nil || s != test.want {
			t.Errorf("%s: %q %v, want %q", test.names, s, err, test.want)
		}
		a.client.Close()
	}
}

// TestWhoeverMayNothing: what is refused is what was asked for, not the first step
// to it.
func TestWhoeverMayNothing(t *testing.T) {
	f := newFake(t)
	f.gets["/v1/status"] = rpc.Errorf(rpc.KindForbidden, "cannot show the status: role")
	for args, says := range map[string]string{
		"status": "show the status", "events": "show events", "events web": "show events", "show web": "show web",
		"logs web mailers": "show the logs of web mailers", "logs --all": "show logs", "stop --all": "stop",
	} {
		if r := f.ctl(strings.Fields(args)...); r.code != 4 || !strings.HasPrefix(r.err, "cannot "+says+": role\n") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// TestExitCodes: each mistake has its own, and says what to do next.
func TestExitCodes(t *testing.T) {
	f := newFake(t)
	answers := map[string]*rpc.Error{}
	for _, k := range rpc.Kinds() {
		answers[string(k)] = rpc.Errorf(k, "cannot stop web: %s", k)
	}
	var kind string
	f.post = func(string, string) (int, any) {
		e := answers[kind]
		return e.Kind.Status(), rpc.ErrorReply{Error: e}
	}
	for k, code := range map[rpc.Kind]int{
		rpc.KindInvalid: 2, rpc.KindNotFound: 5, rpc.KindNotSupported: 1, rpc.KindMethod: 2, rpc.KindForbidden: 4, rpc.KindConflict: 1,
		rpc.KindConfigInvalid: 2, rpc.KindTooLarge: 2, rpc.KindStopping: 1, rpc.KindTimeout: 6, rpc.KindInternal: 1,
	} {
		kind = string(k)
		if r := f.ctl("stop", "web"); r.code != code || !strings.HasPrefix(r.err, "cannot stop web: "+kind+"\n") || r.out != "" {
			t.Errorf("%s: %+v, want %d", k, r, code)
		}
	}
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"stop", 2, "no pool is named"},
		{"stop web --all", 2, "both pools and --all"},
		{"nosuch", 2, "nosuch"},
		{"stop web --nosuch", 2, "nosuch"},
		{"stop web --timeout soon", 2, "soon"},
		{"stop web --timeout 0s", 2, "more than zero"},
		{"apply now", 2, "now"},
		{"scale", 2, "no pool is named"},
		{"scale web", 2, "POOL=N"},
		{"scale web=-1", 2, "POOL=N"},
		{"scale web=x", 2, "POOL=N"},
		{"scale web/0=1", 2, "a worker"},
		{"scale web=1 w*=2", 2, "both 1 and 2"},
		{"scale nosuch=1", 5, "nosuch"},
		{"signal", 2, "neither"},
		{"signal USR9 web", 2, "USR9"},
		{"signal HUP", 2, "no pool is named"},
		{"shutdown --now --detach", 2, "--detach"},
		{"status nosuch", 5, "nosuch"},
		{"show", 2, "no pool is named"},
		{"events nosuch", 5, "nosuch"},
	} {
		r := f.ctl(strings.Fields(test.args)...)
		if r.code != test.code || !strings.Contains(r.err, test.says) || !strings.Contains(r.err, "next: ") {
			t.Errorf("%s: %+v, want %d with %q", test.args, r, test.code, test.says)
		}
	}
}

func TestSignal(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) { return 200, f.reply("op", "mailers") }
	if r := f.ctl("signal", "sigusr1", "mailers", "--group"); r.code != 0 || r.out != "mailers: USR1 sent to 2 runs\n" {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("signal", "HUP", "mailers/1"); r.code != 0 || r.out != "mailers/1: HUP sent to 1 run\n" {
		t.Errorf("%+v", r)
	}
	want := "/v1/pools/mailers/signal {\"signal\":\"USR1\",\"group\":true}\n/v1/pools/mailers/signal {\"signal\":\"HUP\",\"workers\":[1]}"
	if f.asked() != want {
		t.Errorf("asked %s", f.asked())
	}
}

func TestUnreachable(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	r := ctl(t, context.Background(), nil, "-s", none, "--timeout", "50ms", "status")
	if r.code != 3 || !strings.Contains(r.err, none) || !strings.Contains(r.err, "waiting up to 50ms") {
		t.Errorf("%+v", r)
	}
	// Nobody accepts, as while superd is away and its socket is held.
	l, err := net.Listen("unix", none)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if r := ctl(t, context.Background(), nil, "-s", none, "--timeout", "50ms", "start", "web"); r.code != 3 {
		t.Errorf("%+v", r)
	}
}

// TestTwoSuperds: the system's goes before the user's, and the one used is named.
func TestTwoSuperds(t *testing.T) {
	system, user := newFake(t), newFake(t)
	user.status.Pools = user.status.Pools[:1]
	was := systemSocket
	systemSocket = system.path
	defer func() { systemSocket = was }()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "superd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(user.path, filepath.Join(dir, "superd", "control.sock")); err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_RUNTIME_DIR=" + dir}
	r := ctl(t, context.Background(), env, "status")
	if r.code != 0 || !strings.Contains(r.out, "web") || !strings.HasPrefix(r.err, "using "+system.path) {
		t.Errorf("%+v", r)
	}
	system.kill()
	r = ctl(t, context.Background(), env, "status")
	if r.code != 0 || strings.Contains(r.out, "web") || r.err != "" {
		t.Errorf("%+v", r)
	}
	r = ctl(t, context.Background(), append(env, "SUPERD_SOCKET="+user.path), "status")
	if r.code != 0 || r.err != "" {
		t.Errorf("%+v", r)
	}
}

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

func TestUpgrade(t *testing.T) {
	good := rpc.Event{Type: "superd.upgraded", PID: 812, Message: "from 1.0 to 2.0",
		Data: map[string]any{"from": "1.0", "to": "2.0", "gap_ms": 21, "runs": 2}}
	for _, tc := range []struct {
		name   string
		events []rpc.Event // after the answer
		args   string
		code   int
		want   string // in the output or, when it fails, the errors
	}{
		{"done", []rpc.Event{{Type: "superd.started", PID: 812}, {Type: "superd.adopted"}, good}, "upgrade", 0,
			"superd upgraded from 1.0 to 2.0, gap 21 ms, 2 runs kept"},
		{"json", []rpc.Event{good}, "upgrade --json", 0, `"gap_ms":21`},
		{"given back", []rpc.Event{{Type: "superd.started", PID: 812}, {Type: "superd.degraded", Message: "a disk"},
			{Type: "superd.degraded", Message: "cannot upgrade from 1.0 to 2.0: it hangs", Data: map[string]any{"upgrade": "failed"}}}, "upgrade", 1,
			"cannot upgrade from 1.0 to 2.0: it hangs"},
		{"died", []rpc.Event{{Type: "superd.started", PID: 999, Message: "version 2.0"}}, "upgrade", 1,
			"was started anew: pid 999, version 2.0"},
		{"slow", nil, "upgrade --timeout 100ms", 6, "still being upgraded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			f.status.Superd.PID = 812
			f.post = func(string, string) (int, any) {
				f.mu.Lock()
				for _, ev := range tc.events {
					f.happenLocked(ev)
				}
				f.mu.Unlock()
				return 202, rpc.UpgradeReply{Upgrading: true, From: "1.0", To: "2.0", PID: 812}
			}
			r := f.ctl(strings.Fields(tc.args)...)
			text := r.out
			if tc.code != 0 {
				text = r.err
			}
			if r.code != tc.code || !strings.Contains(text, tc.want) {
				t.Errorf("%+v", r)
			}
			if f.asked() != "/v1/upgrade {}" {
				t.Errorf("asked %s", f.asked())
			}
		})
	}
}

func TestUpgradeIsRefused(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		return 409, rpc.ErrorReply{Error: rpc.Errorf(rpc.KindConflict, "cannot upgrade to /x: no such file or directory")}
	}
	if r := f.ctl("upgrade", "--binary", "/x"); r.code != 1 || !strings.Contains(r.err, "no such file") {
		t.Errorf("%+v", r)
	}
	if f.asked() != `/v1/upgrade {"binary":"/x"}` {
		t.Errorf("asked %s", f.asked())
	}
}

// TestUpgradeToNothing: a path that is empty is no path that was left out.
func TestUpgradeToNothing(t *testing.T) {
	f := newFake(t)
	if r := f.ctl("upgrade", "--binary", ""); r.code != 2 || !strings.Contains(r.err, "cannot upgrade: the path after --binary is empty") {
		t.Errorf("%+v", r)
	}
	if f.asked() != "" {
		t.Errorf("asked %s", f.asked())
	}
}

// TestUpgradeIsAskedOnce: an answer that got lost is no reason to upgrade twice.
func TestUpgradeIsAskedOnce(t *testing.T) {
	f := newFake(t)
	f.post = func(string, string) (int, any) {
		f.kill()
		time.AfterFunc(20*time.Millisecond, func() {
			f.listen()
			f.mu.Lock()
			defer f.mu.Unlock()
			f.happenLocked(rpc.Event{Type: "superd.upgraded", PID: 812,
				Data: map[string]any{"from": "1.0", "to": "2.0", "gap_ms": 21, "runs": 2}})
		})
		return 202, rpc.UpgradeReply{}
	}
	if r := f.ctl("upgrade"); r.code != 0 || !strings.Contains(r.out, "2 runs kept") {
		t.Errorf("%+v", r)
	}
	if f.asked() != "/v1/upgrade {}" {
		t.Errorf("asked %s", f.asked())
	}
}

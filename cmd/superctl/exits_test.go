package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

// withExits has a fake answer with exits of both its pools.
func withExits(t *testing.T) *fake {
	f := newFake(t)
	at := func(minute int) rpc.Time { return rpc.At(time.Date(2026, 1, 2, 3, minute, 0, 0, time.Local)) }
	code := 3
	f.gets["/v1/pools/mailers/exits"] = rpc.ExitList{Exits: []rpc.RunExit{
		{At: at(40), Worker: "mailers/0", RunID: "01k812jlqi74kii4p4q1", PID: 9, StartedAt: at(1), Uptime: 2340, Code: &code, Reason: "exit code 3", Revision: 7, Release: "/srv/app/releases/42"},
		{At: at(20), Worker: "mailers/1", Index: 1, RunID: "01k812jlqi74kii4p4q0", PID: 8, StartedAt: at(1), Uptime: 1140, Signal: "TERM", Reason: "signal TERM", Success: true, Requested: true, Revision: 7, Release: "/srv/app/releases/42"},
	}}
	f.gets["/v1/pools/web/exits"] = rpc.ExitList{Exits: []rpc.RunExit{
		{At: at(30), Worker: "web/0", RunID: "01k812jlqi74kii4p4pz", Reason: "cannot start: exec: no such file or directory\x1b[2J", Stage: "exec", Revision: 1, Release: "/srv/web"},
	}}
	return f
}

func TestExits(t *testing.T) {
	f := withExits(t)
	r := f.wide("", "exits")
	if r.code != 0 || r.err != "" {
		t.Errorf("%+v", r)
	}
	golden(t, "exits-wide.txt", r.out)
	golden(t, "exits-80.txt", f.wide("80", "exits").out)
	if r := f.ctl("exits", "mailers", "-n", "1"); strings.Count(r.out, "\n") != 2 || !strings.Contains(r.out, "mailers/0") {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("exits", "-n", "2"); strings.Contains(r.out, "mailers/1") || !strings.Contains(r.out, "web/0") {
		t.Errorf("%+v", r)
	}
	var list rpc.ExitList
	if r := f.ctl("exits", "--json"); json.Unmarshal([]byte(r.out), &list) != nil || len(list.Exits) != 3 || list.Exits[1].Worker != "web/0" || !strings.Contains(r.out, `"incomplete":null`) {
		t.Errorf("%+v", r)
	}
	f.gets["/v1/pools/web/exits"] = rpc.ExitList{Exits: []rpc.RunExit{}, Incomplete: "the disk does not answer"}
	if r := f.ctl("exits", "web"); r.code != 0 || r.out != "" || r.err != "exits may be missing: the disk does not answer\nno exits\n" {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("exits", "web", "--failed"); r.code != 0 || r.out != "" || !strings.Contains(r.err, "no exits that fit") {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("exits", "--json", "web"); strings.TrimSpace(r.out) != `{"exits":[],"incomplete":"the disk does not answer"}` || r.err != "" {
		t.Errorf("%+v", r)
	}
	for _, args := range [][]string{{"-n", "0"}, {"-n", "-1"}, {"-n", "x"}, {"--since", "soon"}, {"--since", ""}, {"mailers/x"}} {
		if r := f.ctl(append([]string{"exits"}, args...)...); r.code != 2 || r.out != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := f.ctl("exits", "none"); r.code != 5 {
		t.Errorf("%+v", r)
	}
}

// TestExitsAreAskedFor: superd filters, so that the limit is of what fits.
func TestExitsAreAskedFor(t *testing.T) {
	f := withExits(t)
	for args, want := range map[string]string{
		"exits mailers":                                   "limit=100",
		"exits mailers -n 7":                              "limit=7",
		"exits mailers -n 7000":                           "limit=1000",
		"exits mailers/1 mailers/12 --failed":             "failed=true&limit=100&worker=1&worker=12",
		"exits mailers --since 2026-01-02T03:00:00Z":      "limit=1000&since=2026-01-02T03%3A00%3A00Z",
		"exits mailers --since 2026-01-02T03:00:00Z -n 5": "limit=5&since=2026-01-02T03%3A00%3A00Z",
	} {
		if r := f.ctl(strings.Fields(args)...); r.code != 0 {
			t.Errorf("%s: %+v", args, r)
		}
		if got := f.query("/v1/pools/mailers/exits"); got != want {
			t.Errorf("%s asks for %s, want %s", args, got, want)
		}
	}
	many := make([]rpc.RunExit, 150)
	for i := range many {
		many[i] = rpc.RunExit{Worker: fmt.Sprint("mailers/", i), At: rpc.At(time.Now())}
	}
	f.gets["/v1/pools/mailers/exits"] = rpc.ExitList{Exits: many}
	if r := f.ctl("exits", "--since", "1h"); strings.Count(r.out, "\n") != 152 {
		t.Errorf("%d lines", strings.Count(r.out, "\n"))
	}
}

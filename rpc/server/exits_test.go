package server

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
)

func TestExits(t *testing.T) {
	f := newFake()
	var asked supervisor.ExitQuery
	code := 3
	known := []supervisor.Exit{
		{RunID: "r2", Pool: "mailers", Index: 1, PID: 99, StartedAt: boot.Wall, At: boot.Wall.Add(time.Second), Uptime: time.Second,
			Code: &code, Reason: "exit code 3", Revision: 7, Release: "/srv/releases/42", Deployment: "d1"},
		{RunID: "r1", Pool: "mailers", At: boot.Wall, Reason: "cannot start: no such file", Stage: "exec", Revision: 6, Requested: true},
	}
	var unreadable error
	f.exits = func(q supervisor.ExitQuery) ([]supervisor.Exit, error) {
		asked = q
		return known, unreadable
	}
	c := serve(t, f, Options{})
	a := c.get("/v1/pools/mailers/exits")
	var list rpc.ExitList
	a.into(t, &list)
	if a.status != 200 || len(list.Exits) != 2 || list.Incomplete != "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, want := range []string{
		`{"at":"2026-01-02T03:04:06.000000006Z","worker":"mailers/1","index":1,"run_id":"r2","pid":99,"started_at":"2026-01-02T03:04:05.000000006Z","uptime":1,` +
			`"code":3,"signal":null,"core":false,"reason":"exit code 3","stage":null,"success":false,"requested":false,"revision":7,"release":"/srv/releases/42","deployment":"d1"}`,
		`"pid":null,"started_at":null,"uptime":0,"code":null,"signal":null,"core":false,"reason":"cannot start: no such file","stage":"exec","success":false,"requested":true`,
		`"incomplete":null`,
	} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("no %s in %s", want, a.body)
		}
	}
	if want := (supervisor.ExitQuery{Pool: "mailers", Limit: rpc.DefaultExits}); !reflect.DeepEqual(asked, want) {
		t.Errorf("asked for %+v", asked)
	}
	c.get("/v1/pools/mailers/exits?limit=7&worker=1&worker=12&failed&since=1h")
	if want := (supervisor.ExitQuery{Pool: "mailers", Limit: 7, Indices: []int{1, 12}, Failed: true, Since: boot.Wall.Add(-time.Hour)}); !reflect.DeepEqual(asked, want) {
		t.Errorf("asked for %+v", asked)
	}

	known, unreadable = known[1:], errors.New("the disk does not answer")
	a = c.get("/v1/pools/mailers/exits")
	a.into(t, &list)
	if a.status != 200 || len(list.Exits) != 1 || list.Incomplete != "the disk does not answer" {
		t.Errorf("%d %s", a.status, a.body)
	}
	known = nil
	if a = c.get("/v1/pools/mailers/exits"); !strings.HasPrefix(string(a.body), `{"exits":[],`) {
		t.Errorf("%s", a.body)
	}
	for query, want := range map[string]string{
		"limit=0": "from 1 to 1000", "limit=1001": "from 1 to 1000", "limit=many": "limit", "since=soon": "since",
		"failed=perhaps": "failed", "worker=x": "worker's index", "worker=-1": "worker's index", "lines=3": "lines",
	} {
		if err := c.get("/v1/pools/mailers/exits?" + query).wireErr(t); err.Kind != rpc.KindInvalid || !strings.Contains(err.Message, want) {
			t.Errorf("%s: %v", query, err)
		}
	}
	if err := c.get("/v1/pools/none/exits").wireErr(t); err.Kind != rpc.KindNotFound {
		t.Error(err)
	}
}

// TestExitsAreForViewers: who may not see a pool does not see how it ended.
func TestExitsAreForViewers(t *testing.T) {
	f := newShared()
	f.exits = func(supervisor.ExitQuery) ([]supervisor.Exit, error) { return nil, nil }
	c := serve(t, f, Options{Lookup: people})
	c.open()
	deploy := c.as(6001, 100) // an operator of web
	if a := deploy.get("/v1/pools/web/exits"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := deploy.get("/v1/pools/mailers/exits").wireErr(t); err.Kind != rpc.KindForbidden {
		t.Error(err)
	}
}

package server

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// TestRolesChangeWhileStreaming: a reader that is connected sees what its roles
// are now, and is hung up on when it has none any more.
func TestRolesChangeWhileStreaming(t *testing.T) {
	f := newShared()
	f.show(func(s *supervisor.Snapshot) { s.Seq = 1 << 40 })
	c := serve(t, f, Options{Lookup: people})
	c.open()
	resp, err := c.as(6001, 100).http.Get("http://superd/v1/events?follow") // deploy: an operator of web
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	events := rpc.NewEventDecoder(resp.Body)
	seq := uint64(0)
	happen := func(pool string) {
		seq++
		f.happen(0, supervisor.Event{Seq: seq, Notice: core.Notice{Type: "worker.started", Pool: pool}})
	}
	grant := func(pool string, who ...string) {
		f.changePool(pool, func(p *core.Pool) {
			cfg := *p.Config
			cfg.Operators, cfg.Viewers = who, nil
			p.Config = &cfg
		})
	}
	want := func(n uint64) {
		t.Helper()
		if ev, err := events.Next(); err != nil || ev.Seq != n {
			t.Fatalf("event %d, %v; want %d", ev.Seq, err, n)
		}
	}
	happen("mailers")
	happen("web")
	want(2)
	grant("mailers", "deploy")
	happen("mailers")
	want(3)
	grant("web", "olga")
	happen("web")
	happen("mailers")
	want(5)
	grant("mailers", "olga")
	happen("mailers")
	if ev, err := events.Next(); err == nil {
		t.Errorf("it was told %+v", ev)
	}
}

// TestNamedPoolIsTakenAway: who follows one pool is hung up on when that is no
// longer its to see, though another one is.
func TestNamedPoolIsTakenAway(t *testing.T) {
	f := newShared()
	f.changePool("mailers", func(p *core.Pool) {
		cfg := *p.Config
		cfg.Viewers = []string{"deploy"}
		p.Config = &cfg
	})
	c := serve(t, f, Options{Lookup: people})
	c.open()
	resp, err := c.as(6001, 100).http.Get("http://superd/v1/events?follow&pool=mailers")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	f.changePool("mailers", func(p *core.Pool) {
		cfg := *p.Config
		cfg.Viewers = nil
		p.Config = &cfg
	})
	f.happen(0, supervisor.Event{Seq: 4, Notice: core.Notice{Type: "config.applied"}})
	if text, err := io.ReadAll(bufio.NewReader(resp.Body)); err != nil || len(text) != 0 {
		t.Errorf("it was told %q, %v", text, err)
	}
}

// TestAccountsOfNameServices: names that the files lack count by what the
// supervisor learned; what the files say counts first.
func TestAccountsOfNameServices(t *testing.T) {
	f := newShared()
	f.show(func(s *supervisor.Snapshot) {
		s.Info.Operators = []string{"ldapop", "@ldapgroup", "olga"}
		s.Info.Accounts = map[string]uint32{"ldapop": 6020, "@ldapgroup": 7020, "olga": 6021, "@6022": 7022}
	})
	c := serve(t, f, Options{Lookup: people})
	c.open()
	for _, test := range []struct {
		who    *client
		status int
	}{
		{c.as(6020, 100), 200},
		{c.as(6030, 100, 7020), 200},
		{c.as(6002, 100), 200}, // olga in the files
		{c.as(6021, 100), 403}, // another olga elsewhere
		{c.as(7020, 100), 403}, // a uid is no gid
		{c.as(6031, 6020), 403},
	} {
		if got := test.who.do("POST", "/v1/pools/mailers/stop", ""); got.status != test.status {
			t.Errorf("%d, want %d: %s", got.status, test.status, got.body)
		}
	}
	// Its name is known when it is told what it may not.
	e := c.as(6020, 100).do("POST", "/v1/apply", "").wireErr(t)
	if !strings.Contains(e.Message, "user ldapop (uid 6020)") {
		t.Errorf("told %q", e.Message)
	}
}

// TestTroubleIsNotForAll: what is degraded may name pools that one may not see.
func TestTroubleIsNotForAll(t *testing.T) {
	f := newShared()
	f.show(func(s *supervisor.Snapshot) { s.Info.Degraded = []string{"mailers/0 has two runs"} })
	c := serve(t, f, Options{Lookup: people})
	c.open()
	for who, sees := range map[*client]bool{c.as(6003, 100): true, c.as(6001, 100): false} {
		var st rpc.Status
		who.get("/v1/status").into(t, &st)
		if len(st.Superd.Degraded) != 1 || strings.Contains(st.Superd.Degraded[0], "mailers") != sees {
			t.Errorf("%v: %q", sees, st.Superd.Degraded)
		}
	}
}

package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/supervisor"
)

// FuzzRequest sends any method, path, query and body. The server may say no, but
// it must not break, and what it says is JSON with a proper status.
func FuzzRequest(f *testing.F) {
	for i := range routes {
		f.Add(routes[i].method, routes[i].path, "", "{}")
	}
	f.Add("POST", "/v1/pools/mailers/start", "wait=1ms", `{"workers":[0]}`)
	f.Add("POST", "/v1/pools/mailers/scale", "", `{"count":3}`)
	f.Add("POST", "/v1/pools/mailers/signal", "", `{"signal":"RTMIN+3","group":true}`)
	f.Add("GET", "/v1/pools/mailers/workers/0", "", "")
	f.Add("GET", "/v1/events", "since=1&pool=mailers&type=worker.*", "")
	f.Add("GET", "/v1/%2e%2e/%00", "%zz", "[[[[")
	f.Add("POST", "/v1/pools/mailers/stop", "", `{"now":true,"now":{"a":[1,{}]}}`)
	fk := newFake()
	fk.happen(0, numbered(1, 3, "mailers", 0)...)
	fk.apply = func() (*supervisor.ApplyResult, error) { return &supervisor.ApplyResult{}, nil }
	fk.shutdown = func(bool, bool) error { return nil }
	fk.upgrade = func(path string) (supervisor.Upgrade, error) { return supervisor.Upgrade{}, nil }
	s := New(fk, Options{Log: func(m string) { f.Error(m) }, Patience: time.Second})
	// As when it ends: nothing waits, so every input is answered at once.
	s.once.Do(func() { close(s.done) })
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		u, err := url.Parse(path)
		if err != nil {
			return
		}
		u.RawQuery = query
		for _, p := range []*peer{{uid: 0}, {uid: 65533}, nil} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.Method, r.URL = method, u
			r.Body = http.NoBody
			if body != "" {
				r.Body = readCloser(body)
			}
			s.serve(w, r.WithContext(contextWith(p)))
			if w.Code < 200 || w.Code > 599 || w.Code < 400 && p == nil {
				t.Errorf("status %d", w.Code)
			}
		}
	})
}

func readCloser(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

func contextWith(p *peer) context.Context {
	if p == nil {
		return context.Background()
	}
	return context.WithValue(context.Background(), peerKey{}, p)
}

package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// dialAs connects as another user. The kernel records the credentials of the
// thread that connects, so a thread that takes them on is enough; it is never
// used again.
func dialAs(t testing.TB, path string, uid, gid int, groups ...uint32) net.Conn {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as somebody else")
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := connectAs(path, uid, gid, groups)
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	f := os.NewFile(uintptr(r.fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func connectAs(path string, uid, gid int, groups []uint32) (int, error) {
	// The raw calls change this thread alone; the syscall package's would change all.
	var list *uint32
	if len(groups) > 0 {
		list = &groups[0]
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(list)), 0); e != 0 {
		return 0, fmt.Errorf("setgroups: %w", e)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); e != 0 {
		return 0, fmt.Errorf("setresgid: %w", e)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
		return 0, fmt.Errorf("setresuid: %w", e)
	}
	return connectOnce(path)
}

func connectOnce(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// open makes a client's socket one that anybody may connect to.
func (c *client) open() {
	c.t.Helper()
	for dir := c.path; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			c.t.Fatal(err)
		}
	}
}

// as asks as another user.
func (c *client) as(uid, gid int, groups ...uint32) *client {
	conn := dialAs(c.t, c.path, uid, gid, groups...)
	return &client{t: c.t, path: c.path, http: &http.Client{Transport: &oneConn{conn, bufio.NewReader(conn)}}}
}

// oneConn sends all requests over one connection.
type oneConn struct {
	net.Conn
	r *bufio.Reader
}

func (o *oneConn) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Write(o.Conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(o.r, req)
}

// names is a Lookup without files.
type names struct{ users, groups map[string]uint32 }

func (n names) UID(s string) (uint32, bool) { u, ok := n.users[s]; return u, ok }
func (n names) GID(s string) (uint32, bool) { g, ok := n.groups[s]; return g, ok }
func (n names) User(uid uint32) string {
	for name, u := range n.users {
		if u == uid {
			return name
		}
	}
	return ""
}

var people = names{
	users:  map[string]uint32{"root": 0, "deploy": 6001, "olga": 6002, "vera": 6003, "nobody": nobody},
	groups: map[string]uint32{"ops": 7001, "watchers": 7002, "nogroup": nobody},
}

// newShared is a fake with a second pool, and rights for some.
func newShared() *fake {
	f := newFake()
	f.show(func(s *supervisor.Snapshot) {
		s.Info.Operators = []string{"olga", "@ops", "nobody", "@nogroup", "nosuch"}
		s.Info.Viewers = []string{"vera"}
		web := *s.Pools[0]
		web.Name = "web"
		cfg := *web.Config
		cfg.Operators, cfg.Viewers = []string{"deploy"}, []string{"@watchers"}
		web.Config = &cfg
		s.Pools = append(s.Pools, &web)
	})
	f.shutdown = func(bool, bool) error { return nil }
	f.upgrade = func(string) (supervisor.Upgrade, error) { return supervisor.Upgrade{}, nil }
	f.apply = func() (*supervisor.ApplyResult, error) { return &supervisor.ApplyResult{}, nil }
	return f
}

// TestRoles asks as everybody for everything, and compares with who may.
func TestRoles(t *testing.T) {
	c := serve(t, newShared(), Options{Lookup: people})
	c.open()
	who := map[string]*client{
		"root":     c.as(0, 0),
		"olga":     c.as(6002, 100),
		"ops":      c.as(6010, 100, 5, 7001),
		"opsgid":   c.as(6011, 7001),
		"vera":     c.as(6003, 100),
		"deploy":   c.as(6001, 100),
		"watcher":  c.as(6012, 100, 7002),
		"nobody":   c.as(nobody, nobody),
		"stranger": c.as(65533, 65533),
	}
	all := "root olga ops opsgid vera deploy watcher"
	operators := "root olga ops opsgid"
	if !inNamespace() {
		all, operators = all+" nobody", operators+" nobody" // a user like any other
	}
	for _, test := range []struct{ method, path, may string }{
		{"GET", "/v1/status", all},
		{"GET", "/healthz", all},
		{"GET", "/v1/openapi.json", all},
		{"GET", "/v1/events", all},
		{"GET", "/v1/pools/mailers", operators + " vera"},
		{"GET", "/v1/pools/web", all},
		{"GET", "/v1/pools/web/config", all},
		{"GET", "/v1/events?pool=mailers", operators + " vera"},
		{"GET", "/v1/events?pool=web", all},
		{"POST", "/v1/pools/mailers/stop", operators},
		{"POST", "/v1/pools/web/stop", operators + " deploy"},
		{"POST", "/v1/pools/web/restart", operators + " deploy"},
		{"POST", "/v1/apply", "root"},
		{"POST", "/v1/shutdown", "root"},
		{"POST", "/v1/upgrade", "root"},
	} {
		for name, client := range who {
			got := client.do(test.method, test.path, "")
			may := strings.Contains(" "+test.may+" ", " "+name+" ")
			switch {
			case may && got.status >= 300:
				t.Errorf("%s may not %s %s: %s", name, test.method, test.path, got.body)
			case !may && got.status != 403:
				t.Errorf("%s may %s %s: %d", name, test.method, test.path, got.status)
			case !may:
				if e := got.wireErr(t); e.Kind != rpc.KindForbidden || !strings.Contains(e.Message, "role") || !strings.Contains(e.Message, "root") {
					t.Errorf("%s is told %+v", name, e)
				}
			}
		}
	}
}

// TestForbiddenTellsNothing: whoever may not see a pool is told the same whether
// it exists or not, of routes that exist or not.
func TestForbiddenTellsNothing(t *testing.T) {
	c := serve(t, newShared(), Options{Lookup: people})
	c.open()
	for name, client := range map[string]*client{"deploy": c.as(6001, 100), "stranger": c.as(65533, 65533)} {
		for _, form := range []string{"/v1/pools/%s", "/v1/pools/%s/config", "/v1/events?pool=%s"} {
			real, none := client.get(fmt.Sprintf(form, "mailers")), client.get(fmt.Sprintf(form, "no-such"))
			told := strings.ReplaceAll(string(none.body), "no-such", "mailers")
			if real.status != 403 || none.status != 403 || string(real.body) != told {
				t.Errorf("%s: %d %s, and %d %s", name, real.status, real.body, none.status, none.body)
			}
		}
		if got := client.get("/v1/deployments/nosuch"); got.status != 403 {
			t.Errorf("%s: deployment: %d", name, got.status)
		}
	}
	if got := c.as(65533, 65533).get("/v1/nosuch"); got.status != 403 {
		t.Errorf("stranger: unknown route: %d", got.status)
	}
	if got := c.as(6001, 100).do("POST", "/v1/pools/web/scale", `{"count":1}`); got.status != 200 {
		t.Errorf("deploy may not scale its own pool: %s", got.body)
	}
}

func TestListsShowWhatOneMaySee(t *testing.T) {
	f := newShared()
	f.happen(0, supervisor.Event{Seq: 1, Notice: core.Notice{Type: "superd.started"}},
		supervisor.Event{Seq: 2, Notice: core.Notice{Type: "worker.started", Pool: "mailers"}},
		supervisor.Event{Seq: 3, Notice: core.Notice{Type: "worker.started", Pool: "web"}})
	c := serve(t, f, Options{Lookup: people})
	c.open()
	for _, test := range []struct {
		client      *client
		pools, seqs string
		env         bool
	}{
		{c.as(6003, 100), "mailers web", "1 2 3", false},
		{c.as(6001, 100), "web", "3", true},
		{c.as(6012, 100, 7002), "web", "3", false},
	} {
		var st rpc.Status
		test.client.get("/v1/status").into(t, &st)
		var pools []string
		for _, p := range st.Pools {
			pools = append(pools, p.Name)
		}
		if got := strings.Join(pools, " "); got != test.pools {
			t.Errorf("pools %q, want %q", got, test.pools)
		}
		var seqs []string
		events := rpc.NewEventDecoder(strings.NewReader(string(test.client.get("/v1/events").body)))
		for {
			ev, err := events.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seqs = append(seqs, fmt.Sprint(ev.Seq))
		}
		if got := strings.Join(seqs, " "); got != test.seqs {
			t.Errorf("events %q, want %q", got, test.seqs)
		}
		var cfg rpc.PoolConfig
		test.client.get("/v1/pools/web/config").into(t, &cfg)
		for _, setting := range cfg.Settings {
			if strings.Contains(string(setting.Value), "hush") != (test.env && setting.Key == "env.SECRET") {
				t.Errorf("%+v", setting)
			}
		}
		if (cfg.Config.Env["SECRET"] != nil) != test.env || cfg.EnvHidden == test.env {
			t.Errorf("env is %v, hidden %v", cfg.Config.Env, cfg.EnvHidden)
		}
	}
}

// TestOwnUserIsAdmin: superd run by a user obeys that user.
func TestOwnUserIsAdmin(t *testing.T) {
	uid := uint32(6002)
	f := newShared()
	c := serve(t, f, Options{Lookup: people, UID: &uid})
	c.open()
	if got := c.as(6002, 100).do("POST", "/v1/apply", ""); got.status != 200 {
		t.Errorf("%s", got.body)
	}
	e := c.as(65533, 65533).do("POST", "/v1/pools/web/stop", "").wireErr(t)
	if !strings.Contains(e.Message, "olga") || !strings.Contains(e.Message, "operators = ") {
		t.Errorf("told %q", e.Message)
	}
}

func TestFileLookup(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(passwd, "root:x:0:0::/:\n# no\n\nbad:x:y:0::/:\n:x:5:5::/:\ndeploy:x:6001:100::/:/bin/sh\ndeploy:x:6009:100::/:\nhuge:x:99999999999:1::/:\n")
	write(group, "ops:x:7001:a,b\n")
	l := NewFileLookup(passwd, group)
	if u, ok := l.UID("deploy"); !ok || u != 6001 {
		t.Errorf("deploy is %d, %v", u, ok)
	}
	if g, ok := l.GID("ops"); !ok || g != 7001 {
		t.Errorf("ops is %d, %v", g, ok)
	}
	for _, name := range []string{"bad", "", "huge", "nosuch", "ops"} {
		if u, ok := l.UID(name); ok {
			t.Errorf("%q is %d", name, u)
		}
	}
	if n := l.User(6001); n != "deploy" {
		t.Errorf("6001 is %q", n)
	}
	write(passwd, "new:x:6002:100::/:\n")
	eventually(t, "the changed file is read", func() bool { _, ok := l.UID("new"); return ok })
	if _, ok := l.UID("deploy"); ok {
		t.Error("deploy is still there")
	}
	if _, ok := NewFileLookup(filepath.Join(dir, "none"), group).UID("root"); ok {
		t.Error("a name out of no file")
	}
}

package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// Options are what a server may be told. The zero value is right for superd.
type Options struct {
	// UID is whom superd runs as, who is an admin beside root; nil: the process's own.
	UID *uint32
	// Lookup turns the names in operators and viewers into numbers; nil: /etc/passwd and /etc/group.
	Lookup Lookup
	// Log is told of what goes wrong in the server itself; nil: nobody is.
	Log func(string)
	// Now reads both clocks; nil: the system's.
	Now func() core.Time

	PerUID   int           // connections of one uid that is no admin; 0: 64
	Total    int           // connections in all; 0: 256
	Reserved int           // of Total, for admins alone; 0: 16
	Patience time.Duration // for a header, a body, and for a peer to take what it is sent; 0: 10 s
	Work     time.Duration // for a command to be accepted by the supervisor; 0: 30 s
}

// Server answers the control socket for one supervisor. Make it with New.
type Server struct {
	api  supervisor.API
	opts settings
	http *http.Server
	done chan struct{} // closed when no answer may wait any longer
	once sync.Once
}

// settings are the Options with their defaults.
type settings struct {
	UID uint32
	Options
}

// New makes a server that asks api.
func New(api supervisor.API, opts Options) *Server {
	s := &Server{api: api, done: make(chan struct{})}
	s.opts = withDefaults(opts)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ConnContext:       withPeer,
		ReadHeaderTimeout: s.opts.Patience,
		IdleTimeout:       6 * s.opts.Patience,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(logWriter{s.opts.Log}, "", 0),
		ConnState:         noteState,
		// "OPTIONS *" is a request like any other, for whoever has a role.
		DisableGeneralOptionsHandler: true,
	}
	s.http.RegisterOnShutdown(func() { s.once.Do(func() { close(s.done) }) })
	return s
}

// maxHeader bounds a request's header, in bytes (net/http allows a little more).
const maxHeader = 16 << 10

func withDefaults(o Options) settings {
	set := settings{Options: o, UID: uint32(os.Geteuid())}
	if o.UID != nil {
		set.UID = *o.UID
	}
	if set.Lookup == nil {
		set.Lookup = NewFileLookup("/etc/passwd", "/etc/group")
	}
	if set.Log == nil {
		set.Log = func(string) {}
	}
	if set.Now == nil {
		set.Now = systemTime
	}
	set.PerUID = orDefault(o.PerUID, 64)
	set.Total = orDefault(o.Total, 256)
	set.Reserved = orDefault(o.Reserved, 16)
	set.Patience = orDefault(o.Patience, 10*time.Second)
	set.Work = orDefault(o.Work, 30*time.Second)
	return set
}

func orDefault[T ~int | ~int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// systemTime reads CLOCK_BOOTTIME and the wall clock.
func systemTime() core.Time {
	var ts unix.Timespec
	// It cannot fail for a clock that the kernel has, and every kernel since 2.6.39 has it.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return core.Time{Boot: time.Duration(ts.Nano()), Wall: time.Now()}
}

// Serve answers on a unix socket's listener until Shutdown or until the listener
// is closed, and then returns nil. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	limited := &limiter{
		Listener: l, isAdmin: s.isAdmin,
		perUID: s.opts.PerUID, total: s.opts.Total, reserved: s.opts.Reserved, log: s.opts.Log,
	}
	err := s.http.Serve(limited)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve the control socket: %w", err)
}

// Shutdown takes no more connections, ends the answers that wait or stream, and
// lets the others finish until ctx ends; then it hangs up on them.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return err
}

// call is one request on its way through a handler.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	route  *route
	values map[string]string
	body   []byte
	snap   *supervisor.Snapshot
	access *access
	pool   *core.Pool // of the path, nil when the path has none
}

// serve is where every request comes in and every error goes out.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	answers(r.Context())
	c := &call{w: w, r: r, rc: http.NewResponseController(w)}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.opts.Log(fmt.Sprintf("cannot answer %s %s: %v (this is a bug; the connection is closed)\n%s", r.Method, r.URL.Path, p, debug.Stack()))
			panic(http.ErrAbortHandler)
		}
	}()
	if err := s.answer(c); err != nil {
		s.fail(c, err)
	}
}

// answer checks who asks and what, in an order that tells nobody more than they may know.
func (s *Server) answer(c *call) error {
	var allow []string
	c.awaitBody(s.opts.Patience)
	c.snap, _ = s.api.Snapshot()
	c.access = s.accessOf(peerFrom(c.r.Context()), c.snap)
	c.route, c.values, allow = find(c.r.Method, c.r.URL)
	if c.route == nil {
		return c.noRoute(allow)
	}
	if err := c.admit(); err != nil {
		return err
	}
	if err := c.checkQuery(); err != nil {
		return err
	}
	if err := c.readBody(s.opts.Patience); err != nil {
		return err
	}
	return c.route.handle(s, c)
}

// checkQuery refuses parameters that the route has not: whoever gives one means something by it.
func (c *call) checkQuery() error {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: the query cannot be read: %v", c.verb(), err)
	}
	for name := range query {
		if !slices.Contains(c.route.query, name) {
			takes := "it takes none"
			if len(c.route.query) > 0 {
				takes = "it takes " + strings.Join(c.route.query, ", ")
			}
			return rpc.Errorf(rpc.KindInvalid, "cannot %s: unknown parameter %q; %s", c.verb(), clip(name), takes)
		}
	}
	return nil
}

// noRoute says what is wrong with a path or method that is not in the table.
func (c *call) noRoute(allow []string) error {
	if !c.access.any() {
		return c.access.forbid(viewer, "answer "+c.r.Method+" "+clip(c.r.URL.Path), "")
	}
	if len(allow) > 0 {
		c.w.Header().Set("Allow", strings.Join(allow, ", "))
		return rpc.Errorf(rpc.KindMethod, "cannot %s %s: it takes %s", clip(c.r.Method), clip(c.r.URL.Path), strings.Join(allow, " or "))
	}
	return rpc.Errorf(rpc.KindNotSupported, "cannot %s %s: not supported yet by superd %s; GET /v1/openapi.json lists what is",
		clip(c.r.Method), clip(c.r.URL.Path), c.snap.Info.Version)
}

// admit finds the path's pool and checks the peer's role.
func (c *call) admit() error {
	name := c.values["pool"]
	if name != "" {
		c.pool = c.snap.Pool(name)
	}
	have := c.access.all
	switch c.route.scope {
	case onePool:
		have = c.access.pool(c.pool)
	case anyPool:
		if c.access.any() {
			have = max(have, viewer)
		}
	}
	if have < c.route.need {
		return c.access.forbid(c.route.need, c.verb(), clip(name))
	}
	if c.route.scope == onePool && c.pool == nil {
		return c.noPool(name)
	}
	return nil
}

func (c *call) noPool(name string) error {
	if name == "job" && strings.HasPrefix(c.route.path, "/v1/logs/") && c.values["index"] != "" { // no pool can be called so
		return rpc.Errorf(rpc.KindNotFound, "cannot show the log of job/%[1]s: there is no job %[1]q", clip(c.values["index"]))
	}
	return rpc.Errorf(rpc.KindNotFound, "cannot %s: there is no pool %q", c.verb(), clip(name))
}

// verb names what the call is about, for errors: "stop mailers".
func (c *call) verb() string {
	name := clip(c.values["pool"])
	last := c.route.path[strings.LastIndexByte(c.route.path, '/')+1:]
	switch {
	case c.route.method == http.MethodPost && name != "":
		return last + " " + name
	case c.route.method == http.MethodPost:
		return last
	case strings.HasPrefix(c.route.path, "/v1/logs/"):
		return "show the log of " + name
	case name != "":
		return "show " + name
	case strings.HasPrefix(c.route.path, "/v1/"):
		return "show the " + strings.Split(c.route.path, "/")[2]
	}
	return "answer " + c.route.path
}

// clip bounds what is repeated of a request in an error.
func clip(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// logWriter passes on what net/http has to say.
type logWriter struct{ log func(string) }

func (w logWriter) Write(b []byte) (int, error) {
	w.log("control socket: " + strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// listenAt serves h on a socket at path until the end of the test or stop.
func listenAt(t *testing.T, path string, h http.Handler) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	stop = func() { s.Close() }
	t.Cleanup(stop)
	return stop
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func newTestClient(t *testing.T, opts Options) *Client {
	c := NewClient(opts)
	t.Cleanup(c.Close)
	return c
}

func TestErrorsKeepTheirKind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listenAt(t, path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/pools/odd":
			w.WriteHeader(500)
			io.WriteString(w, "<html>")
		case "/v1/pools/bad":
			io.WriteString(w, "{")
		default:
			answerJSON(w, 404, ErrorReply{Errorf(KindNotFound, "no such pool")})
		}
	}))
	c := newTestClient(t, Options{Sockets: []string{path}})
	var e *Error
	if _, _, err := c.Pool(context.Background(), "a/b"); !errors.As(err, &e) || e.Kind != KindNotFound || e.Message != "no such pool" {
		t.Errorf("%v", err)
	}
	if _, _, err := c.Pool(context.Background(), "odd"); !errors.As(err, &e) || e.Kind != KindInternal {
		t.Errorf("%v", err)
	}
	if _, _, err := c.Pool(context.Background(), "bad"); err == nil || errors.As(err, &e) && e == nil {
		t.Errorf("%v", err)
	}
	if c.Socket() != path {
		t.Errorf("socket %q", c.Socket())
	}
}

func TestKindsAreClosed(t *testing.T) {
	for _, k := range Kinds() {
		if k.Status() < 400 || k.Status() > 599 || k.Exit() < 1 || k.Exit() > 6 {
			t.Errorf("%s: status %d, exit %d", k, k.Status(), k.Exit())
		}
	}
	if k := Kind("new"); k.Status() != 500 || k.Exit() != 1 {
		t.Errorf("an unknown kind: status %d, exit %d", k.Status(), k.Exit())
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	mute := filepath.Join(dir, "mute") // as when superd is away and its socket is held
	m, err := net.Listen("unix", mute)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, path := range []string{filepath.Join(dir, "none"), stale, mute} {
		var told atomic.Int32
		c := newTestClient(t, Options{Sockets: []string{path}, Reach: 100 * time.Millisecond, Waiting: func(error) { told.Add(1) }})
		_, _, err := c.Status(context.Background())
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindUnreachable || !strings.Contains(e.Message, path) {
			t.Errorf("%s: %v", path, err)
		}
		if path != mute && told.Load() != 1 {
			t.Errorf("%s: told %d times", path, told.Load())
		}
		if err := c.Follow(context.Background(), EventQuery{}, func() {}, func(Event) error { return nil }); !errors.As(err, &e) || e.Kind != KindUnreachable {
			t.Errorf("%s: following: %v", path, err)
		}
	}
}

// TestWaitsForSuperd: a call made while superd is away succeeds when it is back.
func TestWaitsForSuperd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	waiting := make(chan struct{})
	c := newTestClient(t, Options{Sockets: []string{path}, Waiting: func(error) { close(waiting) }})
	done := make(chan error, 1)
	go func() {
		_, _, err := c.Status(context.Background())
		done <- err
	}()
	<-waiting
	listenAt(t, path, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, Status{}) }))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestKilledInTheMiddle: superd goes away between request and answer.
func TestKilledInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var calls atomic.Int32
	kill := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	var deployments atomic.Pointer[DeploymentList]
	deployments.Store(&DeploymentList{})
	listenAt(t, path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case strings.HasSuffix(r.URL.Path, "/deployments"):
			answerJSON(w, 200, deployments.Load())
		case calls.Add(1) < 3:
			kill(w)
		case strings.HasSuffix(r.URL.Path, "/restart"):
			answerJSON(w, 202, Deployment{ID: "third"})
		default:
			answerJSON(w, 200, CommandReply{Operation: "op"})
		}
	}))
	c := newTestClient(t, Options{Sockets: []string{path}})
	ctx := context.Background()
	if r, _, err := c.Stop(ctx, "p", WorkersRequest{}); err != nil || r.Operation != "op" || calls.Load() != 3 {
		t.Errorf("stop: %+v %v after %d calls", r, err, calls.Load())
	}
	calls.Store(0)
	var cut *Interrupted
	if _, _, err := c.Signal(ctx, "p", SignalRequest{Signal: "HUP"}); !errors.As(err, &cut) || calls.Load() != 1 {
		t.Errorf("signal: %v after %d calls", err, calls.Load())
	}
	calls.Store(0)
	if r, _, err := c.Restart(ctx, "p", WorkersRequest{}); err != nil || r.Deployment == nil || r.Deployment.ID != "third" {
		t.Errorf("restart: %+v %v", r, err)
	}
	// The first restart was accepted before superd went: it is found, and no second one begun.
	calls.Store(0)
	deployments.Store(&DeploymentList{Deployments: []Deployment{
		{ID: "other", Reason: "apply", StartedAt: At(time.Now().Add(time.Hour))},
		{ID: "first", Reason: "restart", StartedAt: At(time.Now().Add(time.Hour))},
	}})
	if r, _, err := c.Restart(ctx, "p", WorkersRequest{}); err != nil || r.Deployment == nil || r.Deployment.ID != "first" || calls.Load() != 1 {
		t.Errorf("restart: %+v %v after %d calls", r, err, calls.Load())
	}
}

func TestRestartOfWorkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listenAt(t, path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answerJSON(w, 200, CommandReply{Operation: "op", Pool: Pool{Name: "p"}})
	}))
	r, _, err := newTestClient(t, Options{Sockets: []string{path}}).Restart(context.Background(), "p", WorkersRequest{Workers: []int{0}})
	if err != nil || r.Command == nil || r.Command.Operation != "op" || r.Deployment != nil {
		t.Errorf("%+v %v", r, err)
	}
}

// TestFollowGoesOn: a stream that breaks is taken up where it broke.
func TestFollowGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var since []string
	n := uint64(0)
	listenAt(t, path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		since = append(since, r.URL.Query().Get("since"))
		for range 2 {
			n++
			fmt.Fprintf(w, `{"seq":%d,"type":"x"}`+"\n", n)
		}
		if n == 4 { // a crash in the middle of a line
			io.WriteString(w, `{"seq":5,"ty`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	c := newTestClient(t, Options{Sockets: []string{path}})
	var seqs []uint64
	connected := 0
	enough := errors.New("enough")
	err := c.Follow(context.Background(), EventQuery{}, func() { connected++ }, func(ev Event) error {
		seqs = append(seqs, ev.Seq)
		if len(seqs) == 6 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || fmt.Sprint(seqs) != "[1 2 3 4 5 6]" || fmt.Sprint(since) != "[0 2 4]" || connected != 3 {
		t.Errorf("%v: events %v, asked since %v, connected %d times", err, seqs, since, connected)
	}
}

func TestSocketsInOrder(t *testing.T) {
	dir := t.TempDir()
	second := filepath.Join(dir, "second")
	listenAt(t, second, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, Status{}) }))
	c := newTestClient(t, Options{Sockets: []string{filepath.Join(dir, "first"), second}})
	if _, _, err := c.Status(context.Background()); err != nil || c.Socket() != second {
		t.Errorf("%v, %s", err, c.Socket())
	}
}

// TestLongSocketPath: sockaddr_un holds 108 bytes, folders may be deeper.
func TestLongSocketPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	short, done, err := shortPath(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	listenAt(t, short, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, Status{}) }))
	defer done()
	if _, _, err := newTestClient(t, Options{Sockets: []string{filepath.Join(dir, "s")}}).Status(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := Dial(context.Background(), filepath.Join(dir, "none", "s")); !errors.Is(err, syscall.ENOENT) || !comesBack(err) {
		t.Error(err)
	}
}

func TestWhoIsTrusted(t *testing.T) {
	for _, test := range []struct {
		server, client int
		want           bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, true}, {1000, 1001, false}, {65534, 1000, false}} {
		if got := trusted(test.server, test.client); got != test.want {
			t.Errorf("served by %d, asked by %d: %v", test.server, test.client, got)
		}
	}
}

// TestRootAsksAnybody: the uid is that of whoever listens, and root asks all the same.
func TestRootAsksAnybody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can serve as somebody else")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listenAsOther(t, l.(*net.UnixListener), 65533)
	c, err := Dial(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// listenAsOther calls listen(2) again as another user, on a thread that is never
// used again: the kernel notes who listens each time.
func listenAsOther(t *testing.T, l *net.UnixListener, uid int) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			done <- e
			return
		}
		var lerr error
		err := raw.Control(func(fd uintptr) { lerr = syscall.Listen(int(fd), 16) })
		done <- errors.Join(err, lerr)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A superd that becomes another program hangs up on those whose request it has not
// read: they are heard by the other one, and what must not be done twice is done once.
func TestUnreadRequestIsSentAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	requests := make(chan string, 4)
	go func() {
		for turn := 0; ; turn++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if turn == 0 {
				awaitInput(c)
				c.Close() // with a request in it
				continue
			}
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil {
				requests <- r.Method + " " + r.URL.Path
			}
			if turn == 1 {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			}
			c.Close()
		}
	}()
	c := newTestClient(t, Options{Sockets: []string{path}, Reach: 10 * time.Second})
	once := Request{Method: "POST", Path: "/v1/pools/x/signal", Body: map[string]string{"signal": "HUP"}}
	if _, err := c.Do(t.Context(), once, nil); err != nil {
		t.Errorf("the first call: %v", err)
	}
	// One that was read may have been done: it is not repeated.
	var cut *Interrupted
	if _, err := c.Do(t.Context(), once, nil); !errors.As(err, &cut) {
		t.Errorf("the second call: %v", err)
	}
	var got []string
	for range 2 {
		select {
		case r := <-requests:
			got = append(got, r)
		default:
		}
	}
	if want := []string{"POST /v1/pools/x/signal", "POST /v1/pools/x/signal"}; !slices.Equal(got, want) {
		t.Errorf("superd has read %v", got)
	}
}

// A server that hangs up on connections at rest, as one does that goes away, never
// meets a request that must not be sent twice.
func TestOnceMeansANewConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var mu sync.Mutex
	used := map[net.Conn]int{}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, struct{}{}) }),
		ConnState: func(c net.Conn, state http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			if state == http.StateActive {
				used[c]++
			}
		},
	}
	go s.Serve(l)
	defer s.Close()
	c := newTestClient(t, Options{Sockets: []string{path}})
	for range 3 {
		if _, _, err := c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Do(t.Context(), Request{Method: "POST", Path: "/v1/apply"}, nil); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	var times []int
	for _, n := range used {
		times = append(times, n)
	}
	slices.Sort(times)
	if !slices.Equal(times, []int{1, 3}) {
		t.Errorf("connections were used %v times, not 3 for the questions and 1 for the command", times)
	}
}

// awaitInput waits until there is something to be read, and leaves it there.
func awaitInput(c net.Conn) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return n > 0 || err != syscall.EAGAIN
	})
}

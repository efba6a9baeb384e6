package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// bearing bounds how long a server may take to get rid of a peer, and to answer
// the others meanwhile. It only runs out when something is broken.
const bearing = 60 * time.Second

// attack is what a hostile peer does with a connection. It returns when the
// server has hung up, or an error if the server does what it should not.
type attack struct {
	name string
	do   func(net.Conn) error
}

const stopMailers = "POST /v1/pools/mailers/stop HTTP/1.1\r\nHost: x\r\n"

var attacks = []attack{
	{"says nothing", says("")},
	{"half a request line", says("GET /v1/sta")},
	{"half a header", says("GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Ha")},
	{"a header that trickles", trickles("GET /v1/status HTTP/1.1\r\nX: ", "x")},
	{"headers without end", trickles("GET /v1/status HTTP/1.1\r\nHost: x\r\n", "X: y\r\n")},
	{"a huge header", answered("GET /v1/status HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20), 431, rpc.KindTooLarge)},
	{"a huge body", answered(stopMailers+"Content-Length: 10000000\r\n\r\n"+strings.Repeat("x", 1<<20), 413, rpc.KindTooLarge)},
	{"a huge body in chunks", answered(stopMailers+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 100), 413, rpc.KindTooLarge)},
	{"half a body", answered(stopMailers+"Content-Length: 10\r\n\r\n{", 400, rpc.KindInvalid)},
	{"half a body for nothing", answered("POST /v1/nosuch HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 404, rpc.KindNotSupported)},
	{"half a body that is refused", answered("POST /v1/apply HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", 0, "")},
	{"a body that trickles", trickles(stopMailers+"Content-Length: 60000\r\n\r\n", " ")},
	{"binary garbage", answered("\x00\xff\x16\x03\x01\x02\x00\r\n\r\n\x80", 400, rpc.KindInvalid)},
	{"no host", answered("GET /v1/status HTTP/1.1\r\n\r\n", 400, rpc.KindInvalid)},
	{"another protocol", answered("GET /v1/status HTTP/9.9\r\nHost: x\r\n\r\n", 505, rpc.KindInvalid)},
	{"an unknown coding", answered(stopMailers+"Transfer-Encoding: rot13\r\n\r\n", 501, rpc.KindInvalid)},
	{"garbage behind a request", answered("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n)]}'\r\n\r\n", 400, rpc.KindInvalid)},
	{"requests without reading", floods("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")},
	{"events without reading", deaf("GET /v1/events?follow HTTP/1.1\r\nHost: x\r\n\r\n")},
}

// says sends something and waits.
func says(text string) func(net.Conn) error {
	return func(c net.Conn) error {
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		return readToEnd(c, io.Discard)
	}
}

// trickles sends the beginning of something, and then a little again and again.
func trickles(begin, more string) func(net.Conn) error {
	return func(c net.Conn) error {
		if _, err := io.WriteString(c, begin); err != nil {
			return err
		}
		for late := time.Now().Add(bearing); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
			if _, err := io.WriteString(c, more); err != nil {
				return nil // hung up on
			}
		}
		return errors.New("it is still listened to")
	}
}

// floods sends again and again, as fast as it is taken, and reads nothing.
func floods(text string) func(net.Conn) error {
	return func(c net.Conn) error {
		for {
			if _, err := io.WriteString(c, text); errors.Is(err, os.ErrDeadlineExceeded) {
				return errors.New("it is still listened to")
			} else if err != nil {
				return nil
			}
		}
	}
}

// answered wants the last answer to be an error in JSON.
func answered(text string, status int, kind rpc.Kind) func(net.Conn) error {
	return func(c net.Conn) error {
		go func() { _, _ = io.WriteString(c, text) }() // more than is taken, perhaps
		var got strings.Builder
		if err := readToEnd(c, &got); err != nil {
			return err
		}
		last := got.String()
		last = last[max(0, strings.LastIndex(last, "HTTP/1.1 ")):]
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(last)), nil)
		if err != nil {
			return fmt.Errorf("%q: %w", last, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("%q: %w", last, err)
		}
		var e rpc.ErrorReply
		if err := json.Unmarshal(body, &e); err != nil || e.Error == nil {
			return fmt.Errorf("it was told %q", last)
		}
		if status == 0 { // what it is told depends on who asks
			return nil
		}
		if resp.StatusCode != status || e.Error.Kind != kind || !strings.HasPrefix(e.Error.Message, "cannot ") {
			return fmt.Errorf("it was told %d %+v", resp.StatusCode, e.Error)
		}
		return nil
	}
}

// deaf asks for what does not end, and does not read it.
func deaf(text string) func(net.Conn) error {
	return func(c net.Conn) error {
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		raw, err := c.(*net.UnixConn).SyscallConn()
		if err != nil {
			return err
		}
		for late := time.Now().Add(bearing); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
			hup := false
			_ = raw.Control(func(fd uintptr) {
				poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
				n, _ := unix.Poll(poll, 0)
				hup = n == 1 && poll[0].Revents&unix.POLLHUP != 0
			})
			if hup {
				return nil
			}
		}
		return errors.New("it is still written to")
	}
}

// readToEnd reads until the server hangs up, politely or not.
func readToEnd(c net.Conn, to io.Writer) error {
	_, err := io.Copy(to, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it was not hung up on")
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	return nil
}

// dial connects as somebody: a viewer if we may, else as who we are.
func (c *client) dial() net.Conn {
	c.t.Helper()
	var conn net.Conn
	if os.Geteuid() == 0 {
		conn = dialAs(c.t, c.path, 6003, 100)
	} else {
		var err error
		if conn, err = net.Dial("unix", c.path); err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { conn.Close() })
	}
	if err := conn.SetDeadline(time.Now().Add(bearing)); err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// TestHostilePeers has everything done to the server at once, several times over.
// Whoever behaves is answered meanwhile, and afterwards nothing is left of it.
func TestHostilePeers(t *testing.T) {
	f := newShared()
	f.show(func(s *supervisor.Snapshot) { s.Seq = 1 << 40; s.Info.Operators = append(s.Info.Operators, "vera") })
	for i := range uint64(8) { // 4 MiB: more than a socket takes
		f.happen(0, numbered(i*500+1, i*500+500, "mailers", 1000)...)
	}
	// Long enough for what is sent at once to arrive in time on a busy machine.
	c := serve(t, f, Options{Lookup: people, Patience: 3 * time.Second})
	c.open()
	if got := c.get("/healthz"); got.status != 200 {
		t.Fatal(got.status)
	}
	c.http.CloseIdleConnections()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	const times = 3
	var all sync.WaitGroup
	for i := range times * len(attacks) {
		all.Go(func() {
			a, conn := attacks[i%len(attacks)], c.dial()
			if err := a.do(conn); err != nil {
				t.Errorf("%s: %v", a.name, err)
			}
			conn.Close()
		})
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	for going, n := true, 0; going; n++ {
		if got := c.get("/v1/status"); got.status != 200 {
			t.Errorf("meanwhile: %s", got.body)
		}
		if got := c.do("POST", "/v1/pools/mailers/stop", ""); got.status != 200 {
			t.Errorf("meanwhile: %s", got.body)
		}
		select {
		case <-over:
			going = false
		default:
		}
	}
	c.http.CloseIdleConnections()
	eventually(t, "descriptors are closed", func() bool { return openFiles(t) <= files })
	eventually(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// openFiles counts this process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

// TestHoarders waits with all connections that a user may have, and more. They
// hold up nobody, and leave nothing when they go.
func TestHoarders(t *testing.T) {
	f := newShared()
	f.changePool("mailers", func(p *core.Pool) {
		p.Deployment = &core.Deployment{ID: "d1", Pool: "mailers", State: core.DeployRunning}
	})
	c := serve(t, f, Options{Lookup: people, PerUID: 8})
	c.open()
	c.get("/healthz")
	c.http.CloseIdleConnections()
	goroutines := runtime.NumGoroutine()
	var conns []net.Conn
	for i := range 8 {
		conn := c.dial()
		conns = append(conns, conn)
		path := []string{"/v1/deployments/d1?wait=1h", "/v1/events?follow"}[i%2]
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		extra := c.dial()
		resp, err := http.ReadResponse(bufio.NewReader(extra), nil)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("one more was answered %v, %v", resp, err)
		}
		extra.Close()
		if got := c.as(6002, 100).get("/v1/status"); got.status != 200 {
			t.Errorf("another user is told %s", got.body)
		}
	}
	if got := c.get("/v1/status"); got.status != 200 {
		t.Errorf("an admin is told %s", got.body)
	}
	for _, conn := range conns {
		conn.Close()
	}
	c.http.CloseIdleConnections()
	eventually(t, "what waited has ended", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// TestThousandConnections: one user takes what it may have and is told so of the
// rest; others, and root, get in.
func TestThousandConnections(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as somebody else")
	}
	c := serve(t, newShared(), Options{Lookup: people, Patience: 2 * bearing}) // so that all stay
	c.open()
	refused, taken := 0, 0
	conns := dialMany(t, c.path, 6003, 1000)
	// They are accepted in order: once the last has an answer, all that get one have it.
	eventually(t, "the last is refused", func() bool { return readable(t, conns[999]) })
	for _, conn := range conns {
		if !readable(t, conn) {
			taken++
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(bearing))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		var e rpc.ErrorReply
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Error == nil || e.Error.Kind != rpc.KindTooMany ||
			!strings.Contains(e.Error.Message, "of this user") || resp.StatusCode != 429 {
			t.Fatalf("refused with %d %+v, %v", resp.StatusCode, e.Error, err)
		}
		refused++
	}
	if taken != 64 || refused != 936 {
		t.Errorf("%d were taken and %d refused", taken, refused)
	}
	if got := c.as(6002, 100).get("/v1/status"); got.status != 200 {
		t.Errorf("another user is told %s", got.body)
	}
	// Others take all but what is kept for admins.
	for uid := 8000; uid < 8003; uid++ {
		dialMany(t, c.path, uid, 64)
	}
	eventually(t, "all common connections are taken", func() bool {
		conn := dialMany(t, c.path, 8004, 1)[0]
		_ = conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return false
		}
		text, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(text), "kept for root")
	})
	if got := c.as(0, 0).get("/v1/status"); got.status != 200 {
		t.Errorf("root is told %s", got.body)
	}
}

// readable tells whether something has come, or the end.
func readable(t testing.TB, c net.Conn) bool {
	t.Helper()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) { n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) }); err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// dialMany connects n times as another user.
func dialMany(t testing.TB, path string, uid, n int) []net.Conn {
	t.Helper()
	fds := make(chan []int)
	go func() {
		runtime.LockOSThread() // and never unlocked, as in dialAs
		var list []int
		fd, err := connectAs(path, uid, uid, nil)
		for len(list) < n && err == nil {
			list = append(list, fd)
			if len(list) < n {
				fd, err = connectOnce(path)
			}
		}
		if err != nil {
			t.Error(err)
		}
		fds <- list
	}()
	var conns []net.Conn
	for _, fd := range <-fds {
		f := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn)
	}
	return conns
}

// TestAnswersAreLeftAlone: only what net/http makes up is put into other words.
func TestAnswersAreLeftAlone(t *testing.T) {
	for _, text := range []string{
		"", "HTTP/1.1 ", "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n{}",
		"log line\nHTTP/1.1 400 x\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: y\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 xyz\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n",
	} {
		if got := ownAnswer([]byte(text)); got != nil {
			t.Errorf("%q became %q", text, got)
		}
	}
}

package cmd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostileConfig has somebody who may look, somebody else who may too, and a pool
// that fills the memory for events.
const hostileConfig = `viewers = ["71021", "71022"]
[pool.good]
command = "sleep 1000"
update.min_healthy_time = "100ms"
[pool.chatty]
command = ["sh", "-c", "yes | head -c 5000000; exec sleep 1000"]
[pool.bad]
command = "false"
count = 5
restart = { delay = "5ms", attempts = 10000, interval = "1m" }
`

// TestHostileClients: one user opens a thousand connections and does on them what
// a client must not. superd answers everybody else, and is as it was afterwards.
func TestHostileClients(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as somebody else")
	}
	t.Parallel()
	d := newDaemon(t, hostileConfig)
	for dir := d.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.Create(d.dir + "/superd.out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d.begin(out, out)
	d.running("good/0")
	d.until("there are more events than a socket takes", func() bool {
		var st struct{ Superd struct{ Seq int } }
		return json.Unmarshal([]byte(d.must("status", "--json")), &st) == nil && st.Superd.Seq > 6000
	})
	d.until("there is more of a log than a socket takes", func() bool {
		fi, err := os.Stat(d.dir + "/log/chatty/0.log")
		return err == nil && fi.Size() > 4900000
	})
	d.must("stop", "bad")
	files, looks := 0, 0
	d.until("superd comes to rest", func() bool {
		if n := d.has("fd"); n != files {
			files, looks = n, 0
		}
		looks++
		return looks > 30
	})
	threads := d.has("task")
	conns := connectMany(t, d.dir+"/run/control.sock", 71021, 1000)
	taken := conns[:64] // those that one user may have
	for i, c := range taken {
		if _, err := io.WriteString(c, misuse[i%len(misuse)]); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for _, c := range conns[64:] {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		answer, err := io.ReadAll(c)
		switch {
		case err == nil && len(answer) == 0: // it got a place that had become free, and said nothing in time
		case err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 429 ") || !strings.Contains(string(answer), "too many connections of this user"):
			t.Fatalf("one too many is told %q, %v", answer, err)
		default:
			refused++
		}
		c.Close()
	}
	if refused < 800 {
		t.Errorf("%d of %d were refused", refused, len(conns)-64)
	}
	// Those that ask for nothing in time, or do not read, are hung up on.
	left := map[int]net.Conn{}
	for i, c := range taken {
		if misuse[i%len(misuse)] != hoard {
			left[i] = c
		} else {
			defer c.Close()
		}
	}
	t.Cleanup(func() {
		for i := range left {
			t.Logf("still connected: %.30q", misuse[i%len(misuse)])
		}
	})
	d.until("superd hangs up on whoever misbehaves", func() bool {
		d.must("status")
		if text, code := d.superctlAs(71022, "status"); code != 0 {
			t.Fatalf("another user is told: %s", text)
		}
		for i, c := range left {
			if misuse[i%len(misuse)] == trickle {
				_, err := io.WriteString(c, "x") // a little more of the header
				if err != nil {
					delete(left, i)
					c.Close()
				}
			} else if hungUp(c) {
				delete(left, i)
				c.Close()
			}
		}
		return len(left) == 0
	})
	d.must("restart", "good")
	for _, c := range taken {
		c.Close()
	}
	d.until("descriptors are closed", func() bool { return d.has("fd") <= files })
	// The runtime keeps threads that it once needed, but it must not need one for
	// each connection.
	if n := d.has("task"); n > threads+8 {
		t.Errorf("%d threads, and %d before", n, threads)
	}
	if kib := d.resident(); kib > 200<<10 {
		t.Errorf("superd has %d KiB", kib)
	}
	d.must("stop", "good")
}

const (
	trickle = "GET /v1/status HTTP/1.1\r\nHost: superd\r\nX-Trickle: "
	hoard   = "GET /v1/events?follow&type=nothing.* HTTP/1.1\r\nHost: superd\r\n\r\n"
)

// misuse is what is sent; nothing more is, nor is anything read.
var misuse = []string{
	"",
	"GET /v1/sta",
	trickle,
	"POST /v1/pools/good/stop HTTP/1.1\r\nHost: superd\r\nContent-Length: 100\r\n\r\n{",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	"GET /v1/events?since=0 HTTP/1.1\r\nHost: superd\r\n\r\n",
	"GET /v1/events?since=0&follow HTTP/1.1\r\nHost: superd\r\n\r\n",
	"GET /v1/logs/chatty?lines=1000000 HTTP/1.1\r\nHost: superd\r\n\r\n",
	"GET /v1/logs/chatty?lines=1000000&follow HTTP/1.1\r\nHost: superd\r\nAccept: text/plain\r\n\r\n",
	hoard,
}

// hungUp tells whether the other end of a connection is closed, without reading.
func hungUp(c net.Conn) bool {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	hup := false
	_ = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, _ := unix.Poll(poll, 0)
		hup = n == 1 && poll[0].Revents&unix.POLLHUP != 0
	})
	return hup
}

// connectMany connects as another user. The kernel takes the credentials of the
// thread that connects, and these calls change one thread alone; it is never used
// again.
func connectMany(t *testing.T, path string, id, n int) []net.Conn {
	t.Helper()
	type result struct {
		fds []int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked
		var r result
		for _, call := range [][4]uintptr{
			{syscall.SYS_SETGROUPS, 0, uintptr(unsafe.Pointer(nil)), 0},
			{syscall.SYS_SETRESGID, uintptr(id), uintptr(id), uintptr(id)},
			{syscall.SYS_SETRESUID, uintptr(id), uintptr(id), uintptr(id)},
		} {
			if _, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				r.err = errors.Join(r.err, errno)
			}
		}
		for r.err == nil && len(r.fds) < n {
			var fd int
			if fd, r.err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); r.err == nil {
				r.fds = append(r.fds, fd)
				r.err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
			}
		}
		done <- r
	}()
	r := <-done
	var conns []net.Conn
	for _, fd := range r.fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns = append(conns, c)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	return conns
}

// superctlAs runs superctl as another user.
func (d *daemon) superctlAs(id uint32, args ...string) (string, int) {
	d.t.Helper()
	cmd := exec.Command(filepath.Join(bin, "superctl"), args...)
	cmd.Env = append(os.Environ(), "SUPERD_SOCKET="+d.dir+"/run/control.sock", "NO_COLOR=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// resident is superd's memory in KiB.
func (d *daemon) resident() int {
	d.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				d.t.Fatal(err)
			}
			return n
		}
	}
	d.t.Fatal("no VmRSS")
	return 0
}

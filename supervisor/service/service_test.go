package service

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a service manager's end.
func listener(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestTell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for _, name := range []string{path, fmt.Sprintf("@superd-test-%d", os.Getpid())} {
		conn := listener(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		m := Find(func(s string) { t.Error(s) })
		m.Tell(Ready, Status("1 pool,\n1/1 healthy"))
		if got, want := next(t, conn), "READY=1\nSTATUS=1 pool, 1/1 healthy"; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		m.Flush(30 * time.Second)
	}
}

// TestNobodyListens: whoever tells something is not held up by a manager that hangs or is
// not there, and what waits for it does not grow.
func TestNobodyListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn := listener(t, path)
	t.Setenv("NOTIFY_SOCKET", path)
	m := Find(nil)
	begin := time.Now()
	for i := range 2000 { // far more than the kernel keeps for one that does not read
		m.Tell(Ready)
		m.Tell(Status(strconv.Itoa(i)))
		m.Tell(Alive)
	}
	m.mu.Lock()
	waiting := len(m.queue)
	m.mu.Unlock()
	if waiting > 4 {
		t.Errorf("%d messages wait", waiting)
	}
	if took := time.Since(begin); took > patience {
		t.Errorf("telling took %s", took)
	}
	// What it hears in the end is the newest.
	for last := ""; last != "STATUS=1999"; {
		if text := next(t, conn); strings.HasPrefix(text, "STATUS=") {
			last = text
		}
	}
	conn.Close()

	said := make(chan string, 100)
	m.log = func(s string) { said <- s }
	m.Flush(30 * time.Second)
	for range 3 {
		m.Tell(Ready)
		m.Flush(30 * time.Second)
	}
	if len(said) != 1 || !strings.Contains(<-said, "cannot tell the service manager") {
		t.Errorf("it was said %d times more that nobody listens", len(said))
	}
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		socket, usec, pid string
		there             bool
		watchdog          time.Duration
	}{
		{"", "1000000", "", false, 0},
		{"vsock:2:1", "", "", false, 0},
		{"/run/n", "", "", true, 0},
		{"/run/n", "1500000", strconv.Itoa(os.Getpid()), true, 1500 * time.Millisecond},
		{"@n", "1500000", "", true, 1500 * time.Millisecond},
		{"/run/n", "1500000", "1", true, 0},
		{"/run/n", "18446744073709551615", "", true, 0},
		{"/run/n", "-1", "", true, 0},
	} {
		t.Setenv("NOTIFY_SOCKET", c.socket)
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		m := Find(nil)
		if (m != nil) != c.there || m.Watchdog() != c.watchdog {
			t.Errorf("%+v: there %v, watchdog %s", c, m != nil, m.Watchdog())
		}
		if !c.there { // nobody is told, and nobody waits
			m.Tell(Ready)
			m.Flush(time.Hour)
		}
	}
}

// TestTakeListener passes sockets as systemd does: by number. The test itself has no
// descriptors from 3 on to spare, so their numbers are moved out of the way.
func TestTakeListener(t *testing.T) {
	dir := t.TempDir()
	wanted, other := filepath.Join(dir, "control.sock"), filepath.Join(dir, "other.sock")
	passed := func(pid int, paths ...string) (*net.UnixListener, []string) {
		t.Helper()
		var files []*os.File
		for _, path := range paths {
			os.Remove(path)
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			f, err := l.File()
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			files = append(files, f)
		}
		t.Setenv("LISTEN_PID", strconv.Itoa(pid))
		t.Setenv("LISTEN_FDS", strconv.Itoa(len(paths)))
		t.Setenv("LISTEN_FDNAMES", "x")
		return takeListener(descriptors(t, files), wanted)
	}
	l, refused := passed(os.Getpid(), other, wanted)
	if l == nil || l.Addr().String() != wanted {
		t.Fatalf("the listener is %v", l)
	}
	if len(refused) != 1 || !strings.Contains(refused[0], other) {
		t.Errorf("refused: %q", refused)
	}
	if slices.ContainsFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "LISTEN_") }) {
		t.Error("whoever comes next would take the sockets for its own")
	}
	go func() {
		conn, err := net.Dial("unix", wanted)
		if err == nil {
			conn.Write([]byte("x"))
			conn.Close()
		}
	}()
	l.SetDeadline(time.Now().Add(30 * time.Second))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	l.Close()
	if _, err := os.Lstat(wanted); err != nil {
		t.Errorf("the socket's name went with the listener: %v", err)
	}
	if l, refused := passed(os.Getpid()+1, wanted); l != nil || refused != nil {
		t.Errorf("sockets for another process: %v %q", l, refused)
	}
	if l, refused := passed(os.Getpid(), other); l != nil || len(refused) != 1 {
		t.Errorf("sockets of somebody else's: %v %q", l, refused)
	}
}

// descriptors are the numbers of files, whose descriptors are then somebody else's.
func descriptors(t *testing.T, files []*os.File) func(i int) int {
	numbers := make([]int, len(files))
	for i, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			t.Fatal(err)
		}
		numbers[i] = fd
		f.Close()
	}
	return func(i int) int { return numbers[i] }
}

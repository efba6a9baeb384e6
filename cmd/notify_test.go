package cmd_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager is a service manager that listens.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	all  []string
}

// hears waits for a message with a line that matches.
func (m *manager) hears(re string) string {
	m.t.Helper()
	want := regexp.MustCompile("(?m)" + re)
	buf := make([]byte, 4096)
	for late := time.Now().Add(patience); ; {
		m.conn.SetReadDeadline(late)
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatalf("not heard within %s: %q after\n%s", patience, re, strings.Join(m.all, "\n"))
		}
		m.all = append(m.all, string(buf[:n]))
		if found := want.FindString(string(buf[:n])); found != "" {
			return found
		}
	}
}

// notifySocket is a folder with a service manager's socket in it. The folder's name
// is short, as a socket's has to be.
func notifySocket(t *testing.T) (dir, socket string, conn *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "superd-")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "notify")
	conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		os.RemoveAll(dir)
	})
	return dir, socket, conn
}

// TestServiceManager: what a service manager hears of superd, from its start to its end.
func TestServiceManager(t *testing.T) {
	dir, socket, conn := notifySocket(t)
	m := &manager{t: t, conn: conn}

	file := filepath.Join(dir, "superd.toml")
	write := func(pool string) {
		t.Helper()
		text := (&host{dir: dir}).superdTable() + "[pool.slow]\n" + pool
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const slow = "command = ['sh', '-c', 'trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done']\n" +
		"inherit_env = ['*']\nupdate.min_healthy_time = '10ms'\n"
	write(slow + "count = 2\n")
	cmd := exec.Command(filepath.Join(bin, "superd"), "-c", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=300000")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill()
	defer func() {
		for _, pid := range (&host{dir: dir}).processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}()

	m.hears(`^EXTEND_TIMEOUT_USEC=\d+`) // a recovery may take longer than a usual start
	m.hears(`^READY=1`)
	m.hears(`^STATUS=1 pool, 2/2 healthy$`)
	m.hears(`^WATCHDOG=1`)
	m.hears(`^WATCHDOG=1`)
	for _, pid := range (&host{dir: dir}).processes() {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(line, []byte("\x00keep\x00")) {
			continue
		}
		if bytes.Contains(env, []byte("NOTIFY_SOCKET=")) || bytes.Contains(env, []byte("WATCHDOG_")) {
			t.Errorf("a worker may speak to the service manager of superd: %q", env)
		}
	}

	write(slow + "count = 1\n")
	cmd.Process.Signal(syscall.SIGHUP)
	m.hears(`^RELOADING=1\nMONOTONIC_USEC=\d+$`)
	m.hears(`^READY=1`)
	m.hears(`^STATUS=1 pool, 1/1 healthy$`)

	cmd.Process.Signal(syscall.SIGTERM)
	m.hears(`^STOPPING=1`)
	m.hears(`^EXTEND_TIMEOUT_USEC=\d+`)
	m.hears(`^STATUS=stopping: 1 worker left$`)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("superd: %v\n%s", err, said.String())
		}
	case <-time.After(patience):
		t.Fatalf("superd does not end\n%s", strings.Join(m.all, "\n"))
	}
}

// TestStuckLoop: what a service manager sends to a superd that hangs ends it by that
// signal, with what all goroutines do on standard error.
func TestStuckLoop(t *testing.T) {
	dir, socket, conn := notifySocket(t)
	file := filepath.Join(dir, "superd.toml")
	if err := os.WriteFile(file, []byte((&host{dir: dir}).superdTable()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "superd"), "-c", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, pid := range (&host{dir: dir}).processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	(&manager{t: t, conn: conn}).hears(`^READY=1`)
	cmd.Process.Signal(syscall.SIGABRT)
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	cmd.Wait()
	st := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !st.Signaled() || st.Signal() != syscall.SIGABRT || !strings.Contains(said.String(), "(*Supervisor).Run") {
		t.Errorf("%v; it said\n%s", cmd.ProcessState, tail(said.String(), 30))
	}
}

// TestGivenSocket: a control socket that a service manager holds is served, and its name
// stays when superd ends: whoever calls then is heard by the next superd.
func TestGivenSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "superd-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer func() {
		for _, pid := range (&host{dir: dir}).processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	file := filepath.Join(dir, "superd.toml")
	if err := os.WriteFile(file, []byte((&host{dir: dir}).superdTable()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "run/control.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	given, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	superd := func(pass bool) (*exec.Cmd, *bytes.Buffer) {
		t.Helper()
		cmd := exec.Command("sh", "-c", "LISTEN_PID=$$ exec "+filepath.Join(bin, "superd")+" -c "+file)
		if pass {
			cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=control")
			cmd.ExtraFiles = []*os.File{given}
		}
		said := &bytes.Buffer{}
		cmd.Stderr = said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, said
	}
	ctl := func(args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "superctl"), append([]string{"--socket", path}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("superctl %v: %v\n%s", args, err, out)
		}
	}
	same := func(when string) {
		t.Helper()
		if now, err := os.Stat(path); err != nil || !os.SameFile(before, now) {
			t.Errorf("%s the control socket is another one (%v)", when, err)
		}
	}
	// The second is started by hand, while the keeper has the socket of the first.
	for _, pass := range []bool{true, false, true} {
		cmd, said := superd(pass)
		ctl("status")
		same("while superd runs")
		if pass {
			cmd.Process.Kill()
			cmd.Wait()
			same("after superd was killed")
			continue
		}
		ctl("shutdown")
		late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			t.Errorf("superd: %v\n%s", err, said)
		}
		late.Stop()
		same("after superd has ended")
	}
}

package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/superd/superd/supervisor/service"
	"golang.org/x/sys/unix"
)

// The control socket: where it comes from, and who holds it while no superd is there.
// doors.go is about those who serve it.

func (s *Supervisor) socketPath() string { return s.opt.Config.RuntimeDir + "/control.sock" }

// answers tells whether a superd, and not only a backlog, is behind a socket.
func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: superd\r\nConnection: close\r\n\r\n")); err != nil {
		return false
	}
	var first [5]byte
	n, err := conn.Read(first[:])
	return err == nil && string(first[:n]) == "HTTP/"
}

// The control socket's name in the keeper: one that superd has bound, and one that
// the service manager has, whose name in the file system is not superd's to remove.
const (
	controlName = "control"
	givenName   = "control.given"
)

// listen takes the control socket from the service manager, gets it back from the
// keeper, or makes it. The keeper holds it, so that calls made while no superd is
// there wait in its backlog.
func (s *Supervisor) listen() error {
	if s.listener != nil { // of a recovery that failed
		return s.holdListener()
	}
	path := s.socketPath()
	given, refused := service.TakeListener(path)
	for _, why := range refused {
		s.log.Warn(why)
	}
	if given != nil && boundTo(given, path) {
		s.listener, s.given = given, true
		return s.holdListener()
	}
	for _, name := range []string{givenName, controlName} {
		f, err := s.keepers.Fetch(name)
		if err != nil {
			continue
		}
		l, err := net.FileListener(f)
		f.Close()
		if err == nil && boundTo(l, path) {
			s.listener, s.given = unlinkless(l), name == givenName
			return nil
		}
		if err == nil {
			l.Close()
		}
	}
	return s.bind()
}

// holdListener has the keeper hold the control socket, and no other one.
func (s *Supervisor) holdListener() error {
	f, err := s.listener.(*net.UnixListener).File()
	if err != nil {
		return fmt.Errorf("cannot share the control socket: %w", err)
	}
	defer f.Close()
	name, other := controlName, givenName
	if s.given {
		name, other = other, name
	}
	if err := s.keepers.Hold(name, f); err != nil {
		return err
	}
	return s.keepers.current().Release(other)
}

// bind makes the control socket.
func (s *Supervisor) bind() error {
	path := s.socketPath()
	// The lock is ours: whatever bears the name now is left over.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot bind the control socket: %w", err)
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return fmt.Errorf("cannot bind the control socket: %w", err)
	}
	s.listener = unlinkless(l)
	if err := os.Chmod(path, 0o666); err != nil {
		return fmt.Errorf("cannot open the control socket to clients: %w", err)
	}
	s.given = false
	return s.holdListener()
}

// unlinkless keeps a listener from removing its socket's name when it is closed:
// after a crash or an upgrade it is still in use.
func unlinkless(l net.Listener) net.Listener {
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l
}

// boundTo tells whether a path still names a socket and the listener was bound there.
func boundTo(l net.Listener, path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.Mode()&os.ModeSocket != 0 && l.Addr().String() == path
}

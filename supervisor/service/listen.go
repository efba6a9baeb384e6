package service

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstSocket is the first descriptor that is passed (sd_listen_fds(3)).
const firstSocket = 3

// maxSockets bounds what is believed of LISTEN_FDS.
const maxSockets = 64

// TakeListener is the listening socket at path among those that the service manager
// has passed (LISTEN_FDS), or nil; what else it has passed is closed, and refused
// says what that was. The environment tells nobody of them any more. It is to be
// called once, before anything opens a descriptor that might be taken for one.
func TakeListener(path string) (l *net.UnixListener, refused []string) {
	return takeListener(func(i int) int { return firstSocket + i }, path)
}

// takeListener is TakeListener with the number of the i-th descriptor.
func takeListener(number func(i int) int, path string) (l *net.UnixListener, refused []string) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	mine := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	if err != nil || !mine || count < 1 || count > maxSockets {
		return nil, nil
	}
	for i := range count {
		fd := number(i)
		unix.CloseOnExec(fd)
		next, err := listenerOf(fd, path)
		switch {
		case err != nil:
			refused = append(refused, fmt.Sprintf("cannot use descriptor %d of LISTEN_FDS: %v", fd, err))
		case l != nil:
			next.Close()
		default:
			l = next
		}
	}
	return l, refused
}

// listenerOf makes a listener of a descriptor, which it closes.
func listenerOf(fd int, path string) (*net.UnixListener, error) {
	f := os.NewFile(uintptr(fd), "listen")
	if f == nil {
		return nil, unix.EBADF
	}
	defer f.Close()
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok || listening == 0 || l.Addr().String() != path {
		l.Close()
		return nil, fmt.Errorf("it is bound to %s; superd listens on %s (ListenStream= of superd.socket)", l.Addr(), path)
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}

package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into sockaddr_un with its final zero (unix(7)).
const maxSocketPath = 107

// dialTimeout bounds one attempt to connect. A unix socket's connect waits for
// nothing but a full backlog.
const dialTimeout = 5 * time.Second

// Dial connects to the control socket at path and makes sure that whoever
// serves it is root or the caller: nobody else may pass for superd.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "unix", short)
	if err != nil {
		return nil, err
	}
	if err := checkServer(c, path); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// shortPath is a name for path that fits into a socket's address: its folder is
// opened and named by its descriptor where the path itself is too long.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path), func() { unix.Close(dir) }, nil
}

// checkServer asks the kernel who listens. The listener's credentials are those
// of the process that called listen(2).
func checkServer(c net.Conn, path string) error {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if cerr != nil {
		return fmt.Errorf("cannot tell who serves %s: %w", path, cerr)
	}
	if uid := int(cred.Uid); !trusted(uid, os.Geteuid()) {
		return Errorf(KindUnreachable, "cannot trust %s: it is served by uid %d, neither root nor you; to talk to that user's superd become that user", path, uid)
	}
	return nil
}

// trusted tells whether a client may believe a server. Root may look after any
// user's superd: it has nothing to fear from an answer.
func trusted(server, client int) bool { return server == 0 || server == client || client == 0 }

// comesBack tells whether a failure to connect is what a superd that is being
// restarted looks like.
func comesBack(err error) bool {
	for _, e := range []error{syscall.ECONNREFUSED, syscall.ENOENT, syscall.ECONNRESET, syscall.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

package server

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// When superd has no descriptor left, whoever wants to know why, or to stop what
// uses them up, must still be heard. So some are held in reserve for connections:
// one is closed, and the kernel gives its number to the call that waits.

const (
	spareFiles  = 8
	spareAdmins = 4 // of them, for admins; the last one is there to say no
)

// spares are descriptors of /dev/null, there to be closed. The zero value has
// none. Safe for concurrent use.
type spares struct {
	mu   sync.Mutex
	fds  []int
	over bool // closed: connections end later than their listener
}

// fill takes what is missing, as far as it can be had. After close it does nothing.
func (s *spares) fill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && len(s.fds) < spareFiles {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		s.fds = append(s.fds, fd)
	}
}

// lend gives one up for a call that could not be accepted, and tells how many
// are left; false: this error is another one, or there was none.
func (s *spares) lend(err error) (left int, ok bool) {
	if !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.fds) - 1
	if n < 0 {
		return 0, false
	}
	unix.Close(s.fds[n])
	s.fds = s.fds[:n]
	return n, true
}

// close gives all back, for good.
func (s *spares) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	s.fds, s.over = nil, true
}

package keeper

import (
	"errors"

	"golang.org/x/sys/unix"
)

// What the keeper does when the kernel gives it no more descriptors, because its
// limit was lowered below what it has or the whole system has run out of them. A
// run that is to be started fails and says so. But a superd that calls must be
// heard, and what is to be killed must be found: for these some descriptors are
// held in reserve, and closed when there are no others. What could not be done all
// the same is tried again, and until then no run is taken for gone.

// spareFiles is how many there are: for a call, a look into /proc, and to pin the
// processes that it finds, so many at a time.
const spareFiles = 16

// spares are descriptors of /dev/null, there to be closed.
type spares struct {
	null int
	fds  []int
}

// fill takes what is missing, as far as it can be had.
func (s *spares) fill() {
	for len(s.fds) < spareFiles {
		fd, err := unix.FcntlInt(uintptr(s.null), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return
		}
		s.fds = append(s.fds, fd)
	}
}

// enough tells whether something that failed is worth to be tried again: it failed
// for want of a descriptor, and there are some now. They are taken back at the end
// of the round.
func (s *spares) enough(err error) bool {
	if !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) || len(s.fds) == 0 {
		return false
	}
	closeAll(s.fds)
	s.fds = s.fds[:0]
	return true
}

// pressed does something that needs descriptors, and does it again with the spare
// ones if there were none.
func (k *keeper) pressed(do func() error) error {
	err := do()
	if k.spare.enough(err) {
		err = do()
	}
	return err
}

// doubt notes that it could not be found out what is left of a run: it is not
// gone, and looked for again when a descriptor has been closed, or some time is over.
func (k *keeper) doubt(r *run) {
	if !r.doubted {
		r.doubted = true
		k.doubts = append(k.doubts, r)
	}
}

// resolve looks again at what could not be found out.
func (k *keeper) resolve() {
	doubts := k.doubts
	k.doubts, k.freed = nil, false
	for _, r := range doubts {
		r.doubted = false
		if !r.live() {
			continue
		}
		switch {
		case r.scope == scopeGroup:
			k.look(r)
		case r.killed:
			k.kill(r) // it may not have been sent
		}
		k.perhapsGone(r)
	}
}

package store

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another process has the lock.
var ErrLocked = errors.New("locked by another process")

// lockPause is how long Lock sleeps between two looks. A blocking flock(2) cannot
// be called off without a signal to its thread, and waiting happens at a start only.
const lockPause = 10 * time.Millisecond

// Lock takes the exclusive flock(2) of the file at path, which it makes (0600)
// when it is not there, and waits for it at most so long. It is held until the
// returned file is closed or the process ends. The lock belongs to the open file
// description, so a child that was forked and has not reached its exec yet holds
// it too: whoever gets the lock knows that no such child is left. The error is
// ErrLocked when the time is over.
//
// The file is never removed: else two processes could lock two files of one name.
func Lock(path string, wait time.Duration) (*os.File, error) { return lock(path, os.O_CREATE, wait) }

// LockExisting is Lock of a file that is not made: the error is os.ErrNotExist then.
func LockExisting(path string, wait time.Duration) (*os.File, error) { return lock(path, 0, wait) }

func lock(path string, create int, wait time.Duration) (*os.File, error) {
	deadline := time.Now().Add(wait)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|create|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot lock: %w", err)
		}
		err = flockUntil(f, deadline)
		if err == nil && SameFile(path, f) {
			return f, nil
		}
		f.Close() // locked, but the name means another file by now: once more
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
	}
}

func flockUntil(f *os.File, deadline time.Time) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == unix.EINTR:
			continue
		case err != unix.EWOULDBLOCK:
			return err
		case !time.Now().Before(deadline):
			return ErrLocked
		}
		time.Sleep(lockPause)
	}
}

// SameFile tells whether path, without following a symlink, still names the open
// file f. Somebody may have removed or replaced it.
func SameFile(path string, f *os.File) bool {
	named, err := os.Lstat(path)
	if err != nil {
		return false
	}
	open, err := f.Stat()
	return err == nil && os.SameFile(named, open)
}

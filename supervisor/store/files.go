package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openIn opens name in the folder dir, never through a symlink.
func openIn(dir *os.File, name string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), dir.Name()+"/"+name), nil
	}
}

// openRegular is openIn for a file that must be a regular one of our own: a
// FIFO, a device or somebody else's file in its place is refused.
func openRegular(dir *os.File, name string, flags int) (*os.File, int64, error) {
	f, err := openIn(dir, name, flags)
	if err != nil {
		return nil, 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() {
		f.Close()
		return nil, 0, errForeign
	}
	return f, st.Size, nil
}

var errForeign = errors.New("not a regular file of superd's own user")

// allocate gives f size bytes that later writes can rely on: from then on an
// overwrite needs no more space. See fallocate(2); a file system without it gets
// zeros written.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EOPNOTSUPP, unix.ENOSYS:
			return writeZeros(f, size)
		}
		return err
	}
}

func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, min(size, 64<<10))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// checkFolder says why a folder cannot be trusted with superd's records: only its
// own user (or root) may own it, and nobody else may write into it.
func checkFolder(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to uid %d, and must belong to uid %d or root", st.Uid, os.Geteuid())
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("others than its owner may write into it (mode %04o)", st.Mode&0o7777)
	}
	return nil
}

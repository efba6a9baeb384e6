package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenProgram opens a program that superd may be replaced by. It must be a regular
// file that superd may execute, of root or of superd's own user, and nobody else
// may write it; when superd is root the same holds for every folder on its path,
// as for the files of the configuration.
func OpenProgram(path string) (*os.File, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%s: the path must begin with a slash", path)
	}
	uid := os.Geteuid()
	f, err := openProgram(path, uid)
	if err != nil {
		return nil, err
	}
	// By its descriptor, so that it is the very file that was checked.
	err = unix.Faccessat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.X_OK, unix.AT_EACCESS)
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("%s may not be executed; type: chmod +x %s", path, shellWord(path))
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func openProgram(path string, uid int) (*os.File, error) {
	if uid == 0 {
		return trust{}.open(path)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	w := &walker{trust: trust{uid: uid}}
	mode, err := w.check(fd, path)
	if err == nil && mode != unix.S_IFREG {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

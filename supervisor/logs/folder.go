package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is LogDir/POOL, held open: all files are reached relative to it, so
// that nobody can put another folder in its place between check and use.
type folder struct {
	pool string
	path string
	fd   int
	ino  uint64
	refs int // files that use it
}

// enter gives f its folder, opened and checked.
func (d *device) enter(f *logFile) error {
	dir := d.folders[f.pool]
	if f.folder != nil && f.folder == dir {
		return nil
	}
	if dir == nil {
		var err error
		if dir, err = openFolder(d.m.opt.LogDir, f.pool, f.gid); err != nil {
			return err
		}
		d.folders[f.pool] = dir
	}
	old := f.folder
	f.folder = dir
	dir.refs++
	if old != nil {
		d.release(old)
	}
	return nil
}

// release gives a folder back; the last one closes it.
func (d *device) release(dir *folder) {
	if dir.refs--; dir.refs == 0 {
		d.forget(dir)
		dir.close()
	}
}

// forget has the folder opened anew for whoever needs it next.
func (d *device) forget(dir *folder) {
	if d.folders[dir.pool] == dir {
		delete(d.folders, dir.pool)
	}
}

func (dir *folder) close() {
	if dir.fd >= 0 {
		unix.Close(dir.fd)
		dir.fd = -1
	}
}

// inPlace tells whether the folder is still the one of its name.
func (dir *folder) inPlace() bool {
	var st unix.Stat_t
	return unix.Lstat(dir.path, &st) == nil && st.Ino == dir.ino
}

// openFolder opens base/pool and makes what is missing. base may be reached
// through symbolic links, the administrator chose it; below it none is followed.
func openFolder(base, pool string, gid int) (*folder, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the log folder: %w", err)
	}
	path := base
	fd, err := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open log folder %s: %w", path, err)
	}
	if err := ownFolder(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot use log folder %s: %w", path, err)
	}
	for part := range strings.SplitSeq(pool, "/") {
		path = filepath.Join(path, part)
		next, err := openPart(fd, part, gid)
		unix.Close(fd)
		if err != nil {
			return nil, fmt.Errorf("cannot use log folder %s: %w", path, err)
		}
		fd = next
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot stat log folder %s: %w", path, err)
	}
	return &folder{pool: pool, path: path, fd: fd, ino: st.Ino}, nil
}

// openPart opens or makes one folder below another.
func openPart(dir int, name string, gid int) (int, error) {
	if name == "" || name == "." || name == ".." {
		return -1, errors.New("is not the name of a folder")
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0)
	if err == unix.ENOENT {
		made := unix.Mkdirat(dir, name, 0o750)
		if made != nil && made != unix.EEXIST {
			return -1, made
		}
		fd, err = unix.Openat(dir, name, flags, 0)
		if err == nil && made == nil && gid != 0 {
			unix.Fchown(fd, -1, gid)
		}
	}
	switch {
	case err == unix.ELOOP || err == unix.ENOTDIR:
		return -1, errors.New("it is not a folder, or a symbolic link; superd follows none here")
	case err != nil:
		return -1, err
	}
	if err := ownFolder(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// ownFolder refuses a folder in which others could put something into superd's way.
func ownFolder(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if uid := int(st.Uid); uid != os.Geteuid() && uid != 0 {
		return fmt.Errorf("it belongs to uid %d, and superd runs as %d; give it to superd (chown)", uid, os.Geteuid())
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("its mode %04o lets others write to it; take that away (chmod go-w)", st.Mode&0o7777)
	}
	return nil
}

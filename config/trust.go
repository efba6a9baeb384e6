package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Whoever may write the configuration of a superd that runs as root is root.
// So each step on the way to a file is checked: that it belongs to a trusted
// user, and that nobody else may change it. Each check is made on the
// descriptor from which the next step is taken, so nothing can be exchanged in
// between.

// trust says whose files are believed.
type trust struct {
	uid     int  // this user's, and root's
	noLinks bool // symbolic links are refused
}

// maxLinks is how many symbolic links one path may lead through, as in the kernel.
const maxLinks = 40

// maxFile is how large one file of the configuration may be.
const maxFile = 8 << 20

// read gives the content of a regular file that can be trusted.
func (t trust) read(path string) ([]byte, error) {
	f, err := t.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, plainError(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %s", formatSize(maxFile))
	}
	return data, nil
}

// open opens a regular file for reading, from the root directory step by step.
// path must be absolute.
func (t trust) open(path string) (*os.File, error) {
	w := &walker{trust: t, dir: -1}
	defer w.close()
	if err := w.restart(); err != nil {
		return nil, err
	}
	w.todo = strings.Split(path, "/")
	for len(w.todo) > 0 {
		name := w.todo[0]
		w.todo = w.todo[1:]
		if name == "" || name == "." {
			continue
		}
		f, err := w.step(name)
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, fmt.Errorf("%s is a directory; needed: a file", w.at)
}

// walker stands in a directory that was found good.
type walker struct {
	trust
	dir   int    // its descriptor
	at    string // its path, for messages
	todo  []string
	links int
}

func (w *walker) close() {
	if w.dir >= 0 {
		unix.Close(w.dir)
		w.dir = -1
	}
}

// enter makes fd, whose path is at, the directory to go on from.
func (w *walker) enter(fd int, at string) {
	w.close()
	w.dir, w.at = fd, at
}

func (w *walker) restart() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/: %w", err)
	}
	w.enter(fd, "/")
	_, err = w.check(fd, "/")
	return err
}

// step goes to a name in the current directory. It gives a file if that is the
// end of the way.
func (w *walker) step(name string) (*os.File, error) {
	path := filepath.Join(w.at, name)
	fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	mode, err := w.check(fd, path)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	switch {
	case mode == unix.S_IFDIR:
		w.enter(fd, path)
		return nil, nil
	case mode == unix.S_IFLNK:
		err := w.follow(fd, path)
		unix.Close(fd)
		return nil, err
	}
	unix.Close(fd)
	for _, rest := range w.todo {
		if rest != "" && rest != "." {
			return nil, fmt.Errorf("%s: %w", path, unix.ENOTDIR)
		}
	}
	return w.final(name, path)
}

// follow goes on with what the symbolic link says.
func (w *walker) follow(fd int, path string) error {
	if w.noLinks {
		return fmt.Errorf("%s is a symbolic link", path)
	}
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("%s: %w", path, unix.ELOOP)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	target := string(buf[:n])
	w.todo = append(strings.Split(target, "/"), w.todo...)
	if filepath.IsAbs(target) {
		return w.restart()
	}
	return nil
}

// final opens the file itself and checks the descriptor that is read from.
func (w *walker) final(name, path string) (*os.File, error) {
	fd, err := unix.Openat(w.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
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

// check gives the type bits of an opened file, and an error that says what to
// type if it cannot be trusted.
func (w *walker) check(fd int, path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	sort := st.Mode & unix.S_IFMT
	if sort != unix.S_IFREG && sort != unix.S_IFDIR && sort != unix.S_IFLNK {
		// Before whose it is and its mode: a device that is changed is a device less.
		return 0, fmt.Errorf("%s is no regular file", path)
	}
	if st.Uid != 0 && int(st.Uid) != w.uid {
		return 0, fmt.Errorf("%s belongs to uid %d; needed: %s; type: %s %s", path, st.Uid, w.owners(),
			map[bool]string{true: "chown -h", false: "chown"}[sort == unix.S_IFLNK]+" "+fmt.Sprint(w.uid), shellWord(path))
	}
	if sort == unix.S_IFLNK {
		return sort, nil // its mode means nothing (symlink(7))
	}
	sticky := sort == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0
	if st.Mode&0o022 != 0 && !sticky {
		return 0, fmt.Errorf("%s may be written by others (mode %04o); needed: by %s alone; type: chmod go-w %s",
			path, st.Mode&0o7777, w.owners(), shellWord(path))
	}
	return sort, nil
}

// owners are the trusted users in words.
func (t trust) owners() string {
	if t.uid == 0 {
		return "root"
	}
	return fmt.Sprintf("root or uid %d", t.uid)
}

// shellWord is a path as a shell takes it.
func shellWord(path string) string {
	if strings.IndexFunc(path, func(r rune) bool {
		return !isBare(byte(r)) && !strings.ContainsRune("/.+:@%,", r) || r > 0x7e
	}) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// plainError takes the path and the call out of an error that names them: the
// message around it names the path already.
func plainError(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

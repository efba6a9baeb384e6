package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/config"
)

const nameCheck = time.Second // so often a file in use is looked up by its name

// logFile is one INDEX.log with its sources. The file owns the position: it is
// asked for its size before each batch, so that whoever else writes to it or cuts
// it is noticed.
type logFile struct {
	d       *device
	pool    string
	name    string // "0.log"
	index   int
	worker  string
	gid     int
	keys    config.Log
	sources []*source
	owner   *source // wrote last: the only one that may go on within a line
	absent  *note   // its note, while an earlier superd's owner has not been recovered yet

	folder   *folder
	fd       int // -1: not open
	ino      uint64
	size     int64
	used     uint64 // device.tick of the last use
	checked  time.Time
	known    bool // was open once in this process
	noSplice bool
	idx      index

	trouble  error // why it cannot be written; nil: it can
	since    time.Time
	retryAt  time.Time
	rotateAt time.Time // no rotation before: the last try failed
}

// file finds or makes the log file of a run's stream.
func (d *device) file(spec *Spec, stream byte) *logFile {
	name := fmt.Sprintf("%d.log", spec.Index)
	if stream == streamErr {
		name = fmt.Sprintf("%d.err.log", spec.Index)
	}
	key := spec.Pool + "/" + name
	f := d.files[key]
	if f == nil {
		f = &logFile{d: d, pool: spec.Pool, name: name, fd: -1, idx: index{fd: -1}}
		d.files[key] = f
	}
	f.index, f.worker, f.gid, f.keys = spec.Index, spec.Worker, spec.GID, spec.Log
	return f
}

// path is for messages.
func (f *logFile) path() string { return filepath.Join(f.d.m.opt.LogDir, f.pool, f.name) }

// notice fills in whose log it is.
func (f *logFile) notice(n Notice) Notice {
	n.Pool, n.Worker, n.File = f.pool, f.worker, f.path()
	return n
}

// leave removes a drained source.
func (f *logFile) leave(s *source) {
	for i, x := range f.sources {
		if x == s {
			f.sources = append(f.sources[:i], f.sources[i+1:]...)
			break
		}
	}
}

// drop forgets a file without sources.
func (d *device) drop(f *logFile) {
	d.shut(f)
	delete(d.files, f.pool+"/"+f.name)
	delete(d.waits, f)
	if dir := f.folder; dir != nil {
		f.folder = nil
		d.release(dir)
	}
}

// prepare makes sure that f is open, is still the file of its name, and that
// size is its size.
func (d *device) prepare(f *logFile) error {
	if f.fd >= 0 {
		d.tick++
		f.used = d.tick
		same, err := f.check(d.now)
		if err != nil || same {
			return err
		}
		d.shut(f)
	}
	return d.open(f)
}

// check compares an open file with the disk; false: it must be opened anew.
func (f *logFile) check(now time.Time) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return false, fmt.Errorf("cannot stat %s: %w", f.path(), err)
	}
	if st.Nlink == 0 {
		return false, nil
	}
	switch {
	case st.Size < f.size:
		f.idx.cut(st.Size)
	case st.Size > f.size:
		f.idx.end(f.size)
	}
	f.size = st.Size
	if now.Sub(f.checked) < nameCheck {
		return true, nil
	}
	f.checked = now
	if !f.folder.inPlace() {
		f.d.forget(f.folder)
		return false, nil
	}
	err := unix.Fstatat(f.folder.fd, f.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Ino == f.ino, nil
}

// open opens the file of f's name, or makes it, and settles what an earlier superd
// left unfinished in it.
func (d *device) open(f *logFile) error {
	d.makeRoom()
	fd, err := d.reach(f)
	for (errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)) && len(d.opened) > 0 {
		d.shut(d.oldest()) // the descriptors of one that can wait
		fd, err = d.reach(f)
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot open %s: %w", f.path(), err)
	}
	f.fd, f.checked = fd, d.now
	d.tick++
	f.used = d.tick
	d.opened = append(d.opened, f)
	if f.ino != st.Ino {
		f.ino = st.Ino
		f.noSplice = false
		f.idx.forget()
	} else if st.Size != f.size {
		f.idx.cut(min(st.Size, f.size))
	}
	f.size = st.Size
	f.idx.open(f)
	if !f.known {
		f.known = true
		f.absent = d.m.notes.settle(d.id, f.ino, f.size)
		f.claim()
		d.packer.startup(f)
	}
	return nil
}

// reach opens the file in its folder, or makes both.
func (d *device) reach(f *logFile) (int, error) {
	if err := d.enter(f); err != nil {
		return -1, err
	}
	fd, err := openLog(f.folder.fd, f.name, f.gid)
	if err != nil {
		if errors.Is(err, unix.ENOENT) { // the folder itself was removed
			d.forget(f.folder)
		}
		return -1, fmt.Errorf("cannot open %s: %w", f.path(), err)
	}
	return fd, nil
}

// claim gives an unfinished line back to the source that began it.
func (f *logFile) claim() {
	if f.absent == nil {
		return
	}
	for _, s := range f.sources {
		if s.note == f.absent {
			f.owner, f.absent = s, nil
			return
		}
	}
}

// openLog opens a log file below a folder of ours, without following anything.
func openLog(dir int, name string, gid int) (int, error) {
	const flags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0)
	if err == unix.ENOENT {
		fd, err = unix.Openat(dir, name, flags|unix.O_CREAT|unix.O_EXCL, 0o640)
		if err == nil && gid != 0 {
			unix.Fchown(fd, -1, gid) // as far as superd may: else the group just cannot read it
		}
	}
	switch {
	case err == unix.ELOOP:
		return -1, errors.New("it is a symbolic link; superd writes to files of its own only")
	case err != nil:
		return -1, err
	}
	if err := ownFile(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// ownFile refuses what is not a file of superd's alone: a name that somebody
// prepared could make superd, perhaps root, write into a file of theirs.
func ownFile(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("it is not a regular file")
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to uid %d, superd runs as %d", st.Uid, os.Geteuid())
	case st.Nlink > 1:
		return fmt.Errorf("it has %d names (hard links); superd writes to files of its own only", st.Nlink)
	}
	return nil
}

// makeRoom closes the file that was not used for the longest time when the
// budget is used up.
func (d *device) makeRoom() {
	for len(d.opened) > 0 && 2*(len(d.opened)+1) > d.m.opt.OpenFiles {
		d.shut(d.oldest())
	}
}

// oldest is the open file that was not used for the longest time.
func (d *device) oldest() *logFile {
	oldest := d.opened[0]
	for _, f := range d.opened {
		if f.used < oldest.used {
			oldest = f
		}
	}
	return oldest
}

// shut closes f; it is opened again when there is something to write.
func (d *device) shut(f *logFile) {
	for i, x := range d.opened {
		if x == f {
			d.opened[i] = d.opened[len(d.opened)-1]
			d.opened = d.opened[:len(d.opened)-1]
			break
		}
	}
	f.close()
}

func (f *logFile) close() {
	if f.fd < 0 {
		return
	}
	f.idx.end(f.size)
	f.idx.close()
	unix.Close(f.fd)
	f.fd = -1
}

// append writes data at the end, as much as there is room for.
func (f *logFile) append(data []byte) (int, error) {
	wrote := 0
	for wrote < len(data) {
		n, err := unix.Pwrite(f.fd, data[wrote:], f.size)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = unix.EIO
		}
		if err != nil {
			return wrote, err
		}
		wrote += n
		f.size += int64(n)
	}
	return wrote, nil
}

// appendWhole writes a line of superd's own, or nothing of it.
func (f *logFile) appendWhole(line []byte, now time.Time) error {
	f.segment("", streamOwn, now)
	before := f.size
	if _, err := f.append(line); err != nil {
		if f.size > before && unix.Ftruncate(f.fd, before) == nil {
			f.size = before
		}
		return err
	}
	return nil
}

// lineEnded tells whether the file ends between two lines.
func (f *logFile) lineEnded() (bool, error) {
	if f.size == 0 {
		return true, nil
	}
	var b [1]byte
	if _, err := unix.Pread(f.fd, b[:], f.size-1); err != nil {
		return false, fmt.Errorf("cannot read the end of %s: %w", f.path(), err)
	}
	return b[0] == '\n', nil
}

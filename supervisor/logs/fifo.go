package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	streamOut = 'o'
	streamErr = 'e'

	pipeDefault = 64 << 10 // what the kernel gives while the user's budget lasts, pipe(7)
	pipeLarge   = 1 << 20  // fs.pipe-max-size unless the administrator changed it
)

// Pipes are the descriptors of one prepared run.
type Pipes struct {
	Stdout, Stderr *os.File            // the worker's ends, blocking; the same file when merged
	Read           map[string]*os.File // read ends by the name under which the keeper holds them; empty with target none
	Warnings       []string            // worth telling, nothing failed
}

// Close closes the caller's descriptors. A run's log ends when the last process
// that can write has closed it, so they must not stay open after the spawn.
func (p *Pipes) Close() {
	if p.Stdout != nil {
		p.Stdout.Close()
	}
	if p.Stderr != nil && p.Stderr != p.Stdout {
		p.Stderr.Close()
	}
	for _, f := range p.Read {
		f.Close()
	}
}

func nullPipes() (*Pipes, error) {
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	f := os.NewFile(uintptr(fd), os.DevNull)
	return &Pipes{Stdout: f, Stderr: f, Read: map[string]*os.File{}}, nil
}

// streamName is the FIFO's name in fifos/ and in the keeper.
func streamName(run string, stream byte) string {
	if stream == streamErr {
		return run + ".err"
	}
	return run + ".out"
}

// makeSource makes one FIFO of a run and enters its descriptors into p.
func (m *Manager) makeSource(r *run, stream byte, p *Pipes, uid, gid int) error {
	name := streamName(r.id, stream)
	path := filepath.Join(m.fifos, name)
	rfd, wfd, err := makeFIFO(path, uid, gid)
	if err != nil {
		return fmt.Errorf("cannot make FIFO %s: %w", path, err)
	}
	work := os.NewFile(uintptr(wfd), path)
	if stream == streamErr {
		p.Stderr = work
	} else {
		p.Stdout = work
	}
	dup, err := unix.FcntlInt(uintptr(rfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(rfd)
		unix.Unlink(path)
		return fmt.Errorf("cannot make FIFO %s: %w", path, err)
	}
	p.Read[name] = os.NewFile(uintptr(dup), path)
	s := &source{run: r, stream: stream, fd: rfd, capacity: m.growPipe(rfd)}
	if s.capacity < pipeDefault {
		p.Warnings = append(p.Warnings, fmt.Sprintf(
			"the FIFO of run %s holds %d bytes only: the pipe budget of the user that runs superd is used up (fs.pipe-user-pages-soft); the worker waits whenever it is full", r.id, s.capacity))
	}
	hook("made")
	if s.note, err = m.notes.alloc(r.id, stream); err != nil {
		p.Warnings = append(p.Warnings, fmt.Sprintf("cannot note the position of run %s: %v; lines may be written twice if superd is killed", r.id, err))
	}
	r.sources = append(r.sources, s)
	return nil
}

// makeFIFO makes a fresh FIFO and opens both its ends by descriptions of their
// own, so that O_NONBLOCK set by one user of a worker's output stays with that run.
// The read end cannot write: so EPOLLHUP tells when the last writer has gone. The
// worker's end can read: so the worker never gets SIGPIPE, whoever dies.
func makeFIFO(path string, uid, gid int) (rfd, wfd int, err error) {
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return -1, -1, err
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return -1, -1, err
	}
	rfd, err = openRead(path)
	if err == nil && !spared(rfd) {
		unix.Close(rfd)
		err = unix.EMFILE
	}
	if err != nil {
		unix.Unlink(path)
		return -1, -1, err
	}
	if uid != os.Geteuid() || gid != os.Getegid() {
		err = unix.Fchown(rfd, uid, gid)
	}
	if err == nil {
		wfd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		unix.Close(rfd)
		unix.Unlink(path)
		return -1, -1, err
	}
	return rfd, wfd, nil
}

// reserve is how many descriptors are never used for FIFOs: log files, and those who
// ask what is wrong, need some too.
const reserve = 64

// spared tells whether a new descriptor leaves the reserve alone. The kernel gives
// the lowest number that is free, so all below it are in use.
func spared(fd int) bool {
	var lim unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil || uint64(fd)+reserve < lim.Cur
}

// openRead opens a FIFO for reading without waiting for a writer. O_NONBLOCK is
// taken off again, else os.NewFile would put the descriptor into the runtime's
// own epoll; every system call of ours on it says SPLICE_F_NONBLOCK instead.
func openRead(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFIFO {
		err = errors.New("is not a FIFO")
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// growPipe gives a FIFO 1 MiB while all of them stay within the budget, and
// returns what it has. A larger buffer carries a worker over superd's absence.
func (m *Manager) growPipe(fd int) int {
	if m.pipes.Add(pipeLarge) <= m.opt.PipeBudget {
		if n, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeLarge); err == nil {
			return n
		}
	}
	m.pipes.Add(-pipeLarge)
	return m.countPipe(fd)
}

// countPipe enters a FIFO as it is into the budget.
func (m *Manager) countPipe(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		n = pipeDefault
	}
	m.pipes.Add(int64(n))
	return n
}

// findSource gets the FIFO of a run that an earlier superd read.
func (m *Manager) findSource(r *run, stream byte, held func(string) (*os.File, error)) error {
	name := streamName(r.id, stream)
	fd, err := -1, error(nil)
	if held != nil {
		var f *os.File
		if f, err = held(name); err == nil {
			fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			f.Close()
		}
	}
	if fd < 0 {
		var byName error
		fd, byName = openRead(filepath.Join(m.fifos, name))
		if byName != nil {
			return errors.Join(byName, err)
		}
	}
	s := &source{run: r, stream: stream, fd: fd, capacity: m.countPipe(fd), found: true}
	s.note = m.notes.find(r.id, stream)
	if s.note == nil {
		s.note, _ = m.notes.alloc(r.id, stream) // without one it goes on, as in Prepare
	}
	s.recall()
	r.sources = append(r.sources, s)
	return nil
}

// remove ends a source for good: descriptor, name, note and its part of the budget.
func (m *Manager) remove(s *source) {
	m.mu.Lock() // for readEnds
	s.close()
	m.mu.Unlock()
	unix.Unlink(filepath.Join(m.fifos, streamName(s.run.id, s.stream)))
	hook("removed")
	m.notes.free(s.note)
	s.note = nil
	m.pipes.Add(-int64(s.capacity))
}

// pruneFIFOs removes the FIFOs of runs that live does not know.
func pruneFIFOs(dir string, live func(string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot look for FIFOs of ended runs: %w", err)
	}
	for _, e := range entries {
		run, _, _ := strings.Cut(e.Name(), ".")
		if !live(run) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

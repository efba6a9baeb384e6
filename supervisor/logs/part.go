package logs

import (
	"errors"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const (
	openParts = 64 // files that one reader holds open, each with its index
	notKnown  = math.MaxInt64
)

var errGone = errors.New("the file is gone")

// part is one file of a log as a reader sees it: the one that is written now, or
// a rotated one, compressed or not. It stays itself when it is renamed or
// compressed, and needs no descriptor while nothing is read from it.
type part struct {
	r      *reader
	c      *chain
	num    int    // in its name, when it was looked at last; 0: of the current one
	file   uint64 // inode of what is on the disk
	ino    uint64 // of the log before compression; 0: not known
	made   int64  // its index's header, ns; 0: no index
	before int64  // made of the one before it; 0: not known
	mtime  time.Time
	packed bool
	final  bool   // nothing is written to it any more
	size   int64  // up to where it is read; of a compressed one not known before its end
	gap    string // what is missing in front of it
	damage error  // why a compressed one could not be read to its end
	failed error  // why it could not be opened again
	lost   bool   // it is told that it is gone

	held *held // nil: not open
	used uint64
	gz   *stream // of a compressed one; nil: not begun

	records  int64 // of the index, as far as they are of bytes before size
	hint     int64 // where the last segment was found
	floor    int64 // time of the last line of the parts before; valid if hasFloor
	hasFloor bool

	ended int64 // followed: end of the last line that is whole
	seen  int64 // followed: no newline between ended and here
}

// held is what a part has while it is open.
type held struct {
	fd    int
	idx   int    // -1: no index
	win   []byte // of the index
	winAt int64  // number of win's first record
}

// openPart opens the file of that number. nil: it is not there, or it is nothing
// that superd would have made.
func (r *reader) openPart(c *chain, num int) (*part, error) {
	for again := 0; ; again++ {
		p, err := r.tryPart(c, num)
		if p == nil || err != nil || p.made != 0 || again == 100 {
			return p, err
		}
		var st unix.Stat_t
		if unix.Fstatat(r.dir, p.name(), &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Ino == p.file {
			return p, nil // it has no index
		}
		p.close() // it was moved before its index was open
	}
}

func (r *reader) tryPart(c *chain, num int) (*part, error) {
	for _, packed := range []bool{false, true} {
		if packed && num == 0 {
			break
		}
		p := &part{r: r, c: c, num: num, packed: packed, final: num > 0}
		st, err := r.openFile(p)
		if err != nil {
			return nil, err
		}
		if p.held == nil {
			continue
		}
		p.file, p.mtime = st.Ino, time.Unix(st.Mtim.Unix())
		p.size = st.Size
		if packed {
			p.size = notKnown
		} else {
			p.ino = st.Ino
		}
		p.openIndex()
		return p, nil
	}
	return nil, nil
}

// openFile opens the log of p's present name; p stays closed if there is none.
func (r *reader) openFile(p *part) (st unix.Stat_t, err error) {
	r.makeRoom(r.most - 1)
	fd, err := openLook(r.dir, p.name())
	if err == unix.EMFILE || err == unix.ENFILE {
		r.makeRoom(0)
		fd, err = openLook(r.dir, p.name())
	}
	switch {
	case err == unix.ENOENT || err == unix.ELOOP || err == unix.ENXIO:
		return st, nil
	case err != nil:
		return st, &readError{"open", p, err}
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return st, &readError{"open", p, err}
	}
	if !readable(&st) {
		unix.Close(fd)
		return st, nil
	}
	p.held = &held{fd: fd, idx: -1}
	r.tick++
	p.used = r.tick
	r.open = append(r.open, p)
	return st, nil
}

// openLook opens a file below a log folder; neither a link is followed nor a FIFO waited for.
func openLook(dir int, name string) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// readable refuses what could show a reader of logs somebody else's file.
func readable(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink <= 1 }

func (p *part) name() string {
	name := p.plainName(p.num)
	if p.packed {
		name += ".gz"
	}
	return name
}

func (p *part) plainName(num int) string {
	if num == 0 {
		return p.c.name
	}
	return rotatedName(p.c.name, num)
}

// open gives p's descriptors. If the file was closed meanwhile it is looked for by
// what it is, not by its name: it may have been rotated or compressed. errGone: it
// was removed.
func (p *part) open() (*held, error) {
	p.r.tick++
	p.used = p.r.tick
	if p.held != nil || p.failed != nil {
		return p.held, p.failed
	}
	p.failed = errGone
	err := p.c.search(p.num, p.num, func(q *part) (bool, error) {
		if !p.same(q) {
			q.close()
			return false, nil
		}
		p.failed = nil
		p.adopt(q)
		return true, nil
	})
	if err != nil {
		p.failed = err
	}
	return p.held, p.failed
}

// same tells whether q, just opened, is the file that p is.
func (p *part) same(q *part) bool {
	if p.made != 0 && q.made != 0 {
		// An index that was begun anew for the same log knows of none before it.
		return p.ino == q.ino && (p.made == q.made || q.before == 0 && !q.packed)
	}
	if p.ino != 0 && q.ino != 0 { // one was just made, and has no index yet
		return p.ino == q.ino
	}
	return p.file == q.file && p.packed == q.packed
}

// adopt takes over what q, which is the same file, has open. What was known of it
// stays; the index may have grown.
func (p *part) adopt(q *part) {
	if p.packed != q.packed {
		p.dropStream()
	}
	p.held, p.num, p.file, p.packed = q.held, q.num, q.file, q.packed
	for i, x := range p.r.open {
		if x == q {
			p.r.open[i] = p
		}
	}
	q.held = nil
	if q.made != 0 {
		p.ino, p.made, p.before = q.ino, q.made, q.before
	}
	p.countRecords()
}

// close gives p's descriptors back.
func (p *part) close() {
	h := p.held
	if h == nil {
		return
	}
	p.held = nil
	unix.Close(h.fd)
	if h.idx >= 0 {
		unix.Close(h.idx)
	}
	for i, x := range p.r.open {
		if x == p {
			last := len(p.r.open) - 1
			p.r.open[i] = p.r.open[last]
			p.r.open = p.r.open[:last]
			return
		}
	}
}

// makeRoom closes the files not used for the longest time until so many are open.
func (r *reader) makeRoom(most int) {
	for len(r.open) > most {
		oldest := r.open[0]
		for _, p := range r.open {
			if p.used < oldest.used {
				oldest = p
			}
		}
		oldest.close()
	}
}

// fetch reads n bytes at off, and fewer at the end; then size is where it is.
func (p *part) fetch(buf []byte, off int64) (int, error) {
	if p.packed {
		return p.unpack(buf, off)
	}
	h, err := p.open()
	if err != nil {
		return 0, err
	}
	if p.packed { // by now
		return p.unpack(buf, off)
	}
	n, err := preadFull(h.fd, buf, off)
	p.r.logBytes += int64(n)
	if err != nil {
		return n, &readError{"read", p, err}
	}
	if n < len(buf) { // cut by somebody else
		p.size = min(p.size, off+int64(n))
	}
	return n, nil
}

// preadFull reads until buf is full or the file ends.
func preadFull(fd int, buf []byte, off int64) (int, error) {
	n := 0
	for n < len(buf) {
		k, err := unix.Pread(fd, buf[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	return n, nil
}

// readError says what could not be done with which file.
type readError struct {
	verb string
	p    *part
	err  error
}

func (e *readError) Error() string {
	return "cannot " + e.verb + " " + e.p.c.r.path(e.p.name()) + ": " + e.err.Error()
}

func (e *readError) Unwrap() error { return e.err }

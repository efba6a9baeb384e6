package logs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/config"
)

// MaxLine is the most that Line.Text can hold, in bytes. A longer line comes in
// pieces; so may one of more than half of it.
const MaxLine = 1 << 20

var (
	// ErrNoLog says that nothing was ever written there, or that it was removed.
	ErrNoLog = errors.New("there is no log")
	// ErrNoRun says that no log that is left has a line of the run.
	ErrNoRun = errors.New("no log has a line of this run")
)

// Query says which lines are wanted. Of the zero Query nothing is.
type Query struct {
	Folder  string         // below LogDir: "mailers", or "job/migrate"
	Indices []int          // nil: every worker whose log is on the disk
	Lines   int            // the last so many of all lines that fit, merged; negative: all
	Since   time.Time      // zero: no bound. By the index: exact to 100 ms or 64 KiB
	Until   time.Time      // zero: no bound
	Run     string         // the output of this run alone; empty: of all
	Grep    *regexp.Regexp // nil: all
	Follow  bool           // go on with what is written, until the context ends or Until has passed
}

// Line is one line of a log, or says that some are missing.
type Line struct {
	Index  int       // of the worker
	Stream byte      // 'o' stdout or merged, 'e' stderr, 's' superd's own words
	Run    string    // empty: not known
	Time   time.Time // of its segment; zero: not known
	Text   []byte    // without its newline; valid until emit returns
	Cut    bool      // only a piece of a line that goes on in the next Line of this worker
	Missed bool      // no line: Text says which lines are gone, and why
	File   int64     // when its file was made, ns since 1970: ascending over rotations; 0: not known
	End    int64     // offset behind it in its file, before compression
}

// Read gives emit the lines that are wanted, in batches. Lines of several workers
// are merged by time; those of one file stay in their order, and one without a
// time stays behind the one before it. A file that ends without a newline ends
// with a line, but not while it is followed: then the line comes when it is whole.
//
// emit may block as long as it likes; nobody but this call waits for it. Its error
// ends the call and is returned. Other errors wrap ErrNoLog or ErrNoRun, say which
// file could not be read, or are the context's.
func (m *Manager) Read(ctx context.Context, q Query, emit func([]Line) error) error {
	if !q.Until.IsZero() && !q.Until.After(time.Now()) {
		q.Follow = false
	}
	r := newReader(ctx, m, q, emit)
	defer r.close()
	return r.run()
}

// reader is one call of Read. It holds no lock and shares nothing with the
// goroutines that write. However many logs it reads, it holds at most openParts of
// them open, and its memory does not grow with theirs.
type reader struct {
	ctx  context.Context
	m    *Manager
	q    Query
	emit func([]Line) error

	dir     int // the folder; -1: it is not there yet
	chains  []*chain
	byOrder map[int]*chain
	open    []*part
	most    int    // of them
	tick    uint64 // counts uses of parts

	streams     []*stream
	streamTotal int // bytes of their buffers

	buf   []byte
	used  int // bytes of buf that the batch refers to
	batch []Line
	block int64 // so much of one log is read at once
	given int64 // lines so far

	watch watch // of the folder, while following

	logBytes, indexBytes int64 // read so far
}

const (
	blockTotal = 4 << 20 // of all logs together
	batchLines = 512
)

func newReader(ctx context.Context, m *Manager, q Query, emit func([]Line) error) *reader {
	return &reader{
		ctx: ctx, m: m, q: q, emit: emit, dir: -1,
		byOrder: map[int]*chain{}, most: openParts, buf: make([]byte, blockSize), block: blockSize,
	}
}

func (r *reader) close() {
	r.makeRoom(0)
	if r.dir >= 0 {
		unix.Close(r.dir)
	}
}

func (r *reader) path(name string) string {
	return filepath.Join(r.m.opt.LogDir, r.q.Folder, name)
}

func (r *reader) run() error {
	err := r.begin()
	if err == nil && r.q.Follow {
		err = r.follow()
	}
	return err
}

// begin gives what is there.
func (r *reader) begin() error {
	if err := r.enter(); err != nil {
		return err
	}
	if err := r.history(); err != nil {
		return err
	}
	if r.q.Run != "" && r.given == 0 {
		known, err := r.knowsRun()
		if err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("cannot find run %s in %s: %w", r.q.Run, r.path(""), ErrNoRun)
		}
	}
	return nil
}

// enter opens the folder and lists it. What is followed need not be there yet if
// somebody is about to write it.
func (r *reader) enter() error {
	fd, err := openReadFolder(r.m.opt.LogDir, r.q.Folder)
	if err != nil {
		return err
	}
	r.dir = fd
	if fd >= 0 {
		if _, err := r.list(); err != nil {
			return fmt.Errorf("cannot list %s: %w", r.path(""), err)
		}
	}
	if len(r.chains) == 0 && !(r.q.Follow && r.m.writes(r.q.Folder, "")) {
		return fmt.Errorf("cannot read %s: %w", r.path(""), ErrNoLog)
	}
	return nil
}

// openReadFolder opens the folder of a pool as it is. -1: it is not there, or is
// nothing that superd would write to.
func openReadFolder(base, pool string) (int, error) {
	fd, err := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for part := range strings.SplitSeq(pool, "/") {
		if err != nil {
			break
		}
		up := fd
		fd, err = -1, unix.ENOENT
		if part != "" && part != "." && part != ".." {
			fd, err = unix.Openat(up, part, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
		unix.Close(up)
	}
	switch err {
	case nil:
		return fd, nil
	case unix.ENOENT, unix.ELOOP, unix.ENOTDIR:
		return -1, nil
	}
	return -1, fmt.Errorf("cannot open log folder %s: %w", filepath.Join(base, pool), err)
}

// writes tells whether a run that lives, or that one, writes to the folder.
func (m *Manager) writes(folder, run string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if run != "" {
		r := m.runs[run]
		return r != nil && r.spec.Pool == folder
	}
	for _, r := range m.runs {
		if r.spec.Pool == folder && r.spec.Target == config.LogFile {
			return true
		}
	}
	return false
}

// knowsRun tells whether the run is in any index, or may still write.
func (r *reader) knowsRun() (bool, error) {
	if r.m.writes(r.q.Folder, r.q.Run) {
		return true, nil
	}
	for _, c := range r.chains {
		for i := 0; ; i++ {
			if i == len(c.parts) {
				if p, err := c.older(); p == nil {
					if err != nil {
						return false, err
					}
					break
				}
			}
			p := c.parts[i]
			for n := range p.records {
				if rec, ok := p.raw(n); ok && rec.Run == r.q.Run {
					return true, nil
				}
			}
			if err := r.ctx.Err(); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// history gives the lines that are wanted of those that are there.
func (r *reader) history() error {
	if r.q.Lines >= 0 {
		if err := r.tail(r.q.Lines); err != nil {
			return err
		}
	} else {
		for _, c := range r.chains {
			if err := c.begin(); err != nil {
				return err
			}
		}
	}
	return r.merge(r.chains)
}

package logs

import (
	"context"
	"errors"
	"regexp"
	"time"
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
// ends the call and is returned. Errors: ErrNoLog, ErrNoRun, the context's.
func (m *Manager) Read(ctx context.Context, q Query, emit func([]Line) error) error {
	lines, err := readAll(m.opt.LogDir, q)
	if err != nil {
		return err
	}
	if err := emit(lines); err != nil || !q.Follow {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

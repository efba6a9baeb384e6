package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// LogQuery says which lines of a log are wanted.
type LogQuery struct {
	Pool  string // a pool's name, or job/NAME
	Index *int   // one worker's alone; nil: all of the pool

	// Lines is the last so many of those that fit, "all", or "": superd's own
	// rule, which is 100, or all if anything below is given.
	Lines        string
	Since, Until time.Time // zero: no bound
	Run          string    // of one run alone
	Grep         string    // those that match this regular expression (RE2)

	Follow bool // go on with what is written, until Until if that is given

	// Position is how far was read before, or nil. What it has seen is not told
	// once more, and Logs moves it forward.
	Position *LogPosition
}

// LogCutOff ends an answer before its time, with superd alive: a reader that was
// too slow, one that may not read any longer, a disk that cannot be read.
type LogCutOff struct{ Reason string }

func (e *LogCutOff) Error() string { return e.Reason }

// Logs calls each with the lines that q asks for, in their order, until they end,
// ctx ends or each returns an error, which it returns. What each is given holds
// until it returns. Lines with Missed stand for what is missing.
//
// An answer that breaks, since superd was killed, is taken up where it broke once
// superd is there again: no line is told twice, and none is left out that is on
// the disk. superd away for longer than the client's Reach is an error. An answer
// that superd itself ends before its time is a *LogCutOff; without Follow it is
// asked for the rest as long as that gets any further.
func (c *Client) Logs(ctx context.Context, q LogQuery, each func(LogLine) error) error {
	pos := q.Position
	if pos == nil {
		pos = &LogPosition{}
	}
	for {
		a := pos.plan(&q)
		before := pos.count
		err := c.logStream(ctx, &a, pos, each)
		var off *LogCutOff
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errCut):
		case errors.As(err, &off) && !q.Follow && pos.count > before:
		case err != nil:
			return err
		default:
			pos.complete = true
			if a.follow == q.Follow {
				return nil
			}
			continue // that was the history before what is followed
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// logStream reads one answer and moves pos forward with it.
func (c *Client) logStream(ctx context.Context, a *logAsk, pos *LogPosition, each func(LogLine) error) error {
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := time.Now()
	resp, err := c.open(sctx, cancel, a.path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	pos.begin(asked, resp)
	seen := pos.frozen()
	lines := NewLogDecoder(resp.Body)
	last := ""
	for {
		var l LogLine
		switch err := lines.Next(&l); {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF) && last != "":
			return &LogCutOff{Reason: last}
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errBadLog):
			return err
		default:
			return errCut
		}
		last = ""
		if l.Missed != "" && l.Worker == "" {
			last = l.Missed // if nothing follows
			continue
		}
		if l.Missed == "" {
			if seen.has(&l) {
				continue
			}
			pos.note(&l)
		}
		if err := each(l); err != nil {
			return err
		}
	}
}

// begin notes when lines were first asked for: by superd's clock, if that is
// another one than ours.
func (p *LogPosition) begin(asked time.Time, resp *http.Response) {
	if !p.began.IsZero() {
		return
	}
	p.began = asked
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if d := at.Sub(asked); d < -10*time.Second || d > 10*time.Second {
			p.began = at
		}
	}
}

// logAsk is one request.
type logAsk struct {
	path   string
	follow bool
}

// overlap is how far before the newest line that was seen is asked again: what
// other workers wrote by then may have been on its way.
const overlap = 10 * time.Second

// plan is the request that goes on where p stands.
func (p *LogPosition) plan(q *LogQuery) logAsk {
	n := *q
	switch {
	case p.began.IsZero():
		p.limit = q.limit()
	case p.seen():
		n.Lines = "all"
		if t := p.newest.Add(-overlap); !p.newest.IsZero() && t.After(n.Since) {
			n.Since = t
		}
	case p.complete:
		// Nothing fitted, or nothing was wanted, of what there was at the time.
		n.Lines = "all"
		began := p.began
		if q.Lines != "0" {
			began = began.Add(-overlap) // whatever fits is new
		}
		if began.After(n.Since) {
			n.Since = began
		}
	case q.Follow && q.Lines != "all":
		// It broke before the first line: the last lines of then come first, and
		// however many have been written since come next.
		n.Follow = false
		if n.Until.IsZero() || n.Until.After(p.began) {
			n.Until = p.began
		}
	}
	return logAsk{path: n.path(), follow: n.Follow}
}

// DefaultLogLines is how many lines are shown when nothing else is said.
const DefaultLogLines = 100

// limit is how many lines are asked for, -1 for all that fit.
func (q *LogQuery) limit() int64 {
	if q.Lines == "" && q.Since.IsZero() && q.Until.IsZero() && q.Run == "" && q.Grep == "" {
		return DefaultLogLines
	}
	n, err := strconv.ParseInt(q.Lines, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (q *LogQuery) path() string {
	path := "/v1/logs/" + url.PathEscape(q.Pool)
	if len(q.Pool) > 4 && q.Pool[:4] == "job/" {
		path = "/v1/logs/job/" + url.PathEscape(q.Pool[4:])
	}
	if q.Index != nil {
		path += "/" + strconv.Itoa(*q.Index)
	}
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("lines", q.Lines)
	set("run", q.Run)
	set("grep", q.Grep)
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		v.Set("until", q.Until.UTC().Format(time.RFC3339Nano))
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	return path
}

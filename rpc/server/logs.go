package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

const (
	// logPiece is how much is written at a time: what a reader that is fast
	// enough takes within half of its patience.
	logPiece = 64 << 10
	// logSilence is for how long an answer may still become an error.
	logSilence = 300 * time.Millisecond
	// logAgain is how often a log that is not there yet is looked for.
	logAgain = 250 * time.Millisecond
	// lastWords is how long followers are served when superd ends: workers that
	// it has stopped said something at the end.
	lastWords = 500 * time.Millisecond
)

// Why an answer ends before its time.
var (
	errHungUp = errors.New("the reader took nothing")
	errSlow   = errors.New("the reader is too slow")
	errEnding = errors.New("superd ends")
	errRole   = errors.New("the reader's role was taken away")
)

// logAnswer is the answer to one reader of a log.
type logAnswer struct {
	s     *Server
	c     *call
	peer  *peer
	pool  *core.Pool // as it was when the answer began
	query supervisor.LogQuery
	plain bool

	mu      sync.Mutex // the header is also sent by a timer
	started bool

	buffer []byte
	names  map[int]rpc.Text // of workers
	prefix bool             // plain: lines of several workers
	last   time.Time        // of the newest line written
}

// getLogs writes the lines of a pool's or of one worker's log, a JSON object a
// line, and with follow those to come.
func (s *Server) getLogs(c *call) error {
	q, err := readLogQuery(c.r.URL.Query(), time.Now())
	if err != nil {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: %v", c.verb(), err)
	}
	q.Folder = c.pool.Name
	if text, ok := c.values["index"]; ok {
		index, err := c.index(text)
		if err != nil {
			return err
		}
		q.Indices = []int{index}
	}
	a := &logAnswer{s: s, c: c, peer: c.access.peer, pool: c.pool, query: q, names: map[int]rpc.Text{}}
	accept := c.r.Header.Get("Accept")
	a.plain = strings.Contains(accept, "text/plain") && !strings.Contains(accept, "ndjson")
	a.prefix = q.Indices == nil && max(c.pool.Count, len(c.pool.Workers)) > 1
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	go a.watch(ctx, cancel)
	silence := time.AfterFunc(logSilence, a.start)
	defer silence.Stop()
	return a.end(ctx, a.read(ctx))
}

// read asks for the lines until there are no more to come. What is followed need
// not be there yet; all of it is new then.
func (a *logAnswer) read(ctx context.Context) error {
	for {
		err := a.s.api.Logs(ctx, a.query, a.emit)
		if !errors.Is(err, supervisor.ErrNoLog) && !errors.Is(err, supervisor.ErrNoRun) {
			return err
		}
		if !a.comes(err) {
			return err
		}
		if u := a.query.Until; !a.query.Follow || !u.IsZero() && time.Now().After(u) {
			return nil
		}
		a.query.Lines = -1
		select {
		case <-time.After(logAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// comes tells whether a log, or lines of a run, may still come that are not there.
func (a *logAnswer) comes(err error) bool {
	pool := a.s.newest().Pool(a.pool.Name)
	if pool == nil || pool.Config == nil || pool.Config.Log.Target != config.LogFile {
		return false
	}
	workers := pool.Workers
	if a.query.Indices != nil {
		workers = slices.DeleteFunc(slices.Clone(workers), func(w *core.Worker) bool { return !slices.Contains(a.query.Indices, w.Index) })
		if len(workers) == 0 {
			return false
		}
	}
	if errors.Is(err, supervisor.ErrNoLog) && a.query.Run == "" {
		return true
	}
	return slices.ContainsFunc(workers, func(w *core.Worker) bool { return hasRun(w, a.query.Run) })
}

// hasRun tells whether a run is known of a worker.
func hasRun(w *core.Worker, id string) bool {
	return w.Run != nil && w.Run.ID == id || w.LastExit != nil && w.LastExit.RunID == id
}

// watch ends the answer when superd ends and when the reader's role is taken away.
func (a *logAnswer) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	const forever = 100 * 365 * 24 * time.Hour
	lost := false
	a.s.waitUntil(ctx, forever, func(snap *supervisor.Snapshot) bool {
		lost = !a.allowed(snap)
		return lost
	})
	switch {
	case lost:
		cancel(errRole)
	case ctx.Err() == nil: // superd ends
		select {
		case <-time.After(lastWords):
			cancel(errEnding)
		case <-ctx.Done():
		}
	}
}

// allowed tells whether the reader may still read.
func (a *logAnswer) allowed(snap *supervisor.Snapshot) bool {
	return a.s.accessOf(a.peer, snap).pool(snap.Pool(a.pool.Name)) >= viewer
}

// start sends the header, once.
func (a *logAnswer) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started {
		return
	}
	a.started = true
	kind := "application/x-ndjson"
	if a.plain {
		kind = "text/plain; charset=utf-8"
	}
	h := a.c.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	a.c.w.WriteHeader(http.StatusOK)
	_ = a.c.rc.Flush()
}

// emit writes a batch of lines. It may wait for the reader, but not for long.
func (a *logAnswer) emit(lines []supervisor.LogLine) error {
	if !a.allowed(a.s.newest()) {
		return errRole
	}
	a.start()
	for i := range lines {
		l := &lines[i]
		if a.plain {
			a.appendPlain(l)
		} else {
			a.appendJSON(l)
		}
		if !l.Missed && l.Time.After(a.last) {
			a.last = l.Time
		}
		if len(a.buffer) >= logPiece {
			if err := a.write(); err != nil {
				return err
			}
		}
	}
	return a.write()
}

// write sends what is in the buffer, in pieces. A reader that takes nothing of
// one within its patience is hung up on; one that needs more than half of it is
// told that it is too slow, behind a whole line.
func (a *logAnswer) write() error {
	slow := false
	for rest := a.buffer; len(rest) > 0; {
		piece := rest[:min(len(rest), logPiece)]
		begin := a.s.opts.Now().Boot
		if !a.s.push(a.c, piece) {
			return errHungUp
		}
		slow = slow || a.s.opts.Now().Boot-begin > a.s.opts.Patience/2
		rest = rest[len(piece):]
	}
	a.buffer = a.buffer[:0]
	if cap(a.buffer) > 8*logPiece {
		a.buffer = nil // a line of a megabyte is rare
	}
	if slow {
		return errSlow
	}
	return nil
}

// worker names a worker.
func (a *logAnswer) worker(index int) rpc.Text {
	name, ok := a.names[index]
	if !ok {
		name = rpc.Text(workerName(a.query.Folder, index))
		a.names[index] = name
	}
	return name
}

func (a *logAnswer) appendJSON(l *supervisor.LogLine) {
	out := rpc.LogLine{Time: rpc.At(l.Time), Worker: a.worker(l.Index)}
	if l.Missed {
		out.Missed = string(l.Text)
	} else {
		out.RunID, out.Stream, out.Line = rpc.Text(l.Run), streamName(l.Stream), rpc.LogText(l.Text)
		out.Cut, out.File, out.End = l.Cut, l.File, l.End
	}
	a.buffer = append(out.AppendJSON(a.buffer), '\n')
}

func streamName(stream byte) string {
	switch stream {
	case 'e':
		return rpc.StreamErr
	case 's':
		return rpc.StreamSelf
	}
	return rpc.StreamOut
}

// appendPlain writes the bare line, after the worker's name if there are several.
func (a *logAnswer) appendPlain(l *supervisor.LogLine) {
	if a.prefix {
		a.buffer = append(append(a.buffer, a.worker(l.Index)...), " | "...)
	}
	if l.Missed {
		a.buffer = append(a.buffer, "superd: "...)
	}
	a.buffer = append(a.buffer, l.Text...)
	if !l.Cut || a.prefix {
		a.buffer = append(a.buffer, '\n')
	}
}

// end finishes the answer: with an error as long as nothing was sent, else with a
// last word, else by hanging up, so that nobody takes it for the end of the log.
func (a *logAnswer) end(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = context.Cause(ctx)
	}
	a.mu.Lock()
	started := a.started
	if err != nil {
		a.started = true // the timer must not begin an answer that is an error
	}
	a.mu.Unlock()
	switch {
	case err == nil:
		a.start()
		return nil
	case errors.Is(err, errHungUp), errors.Is(err, errEnding), a.c.r.Context().Err() != nil:
		panic(http.ErrAbortHandler)
	case started && a.s.newest().Info.Stopping && !errors.Is(err, errSlow) && !errors.Is(err, errRole):
		panic(http.ErrAbortHandler) // the logs were closed before we were
	case !started:
		return a.refusal(err)
	}
	a.finish(a.lastWord(err))
	return nil
}

// refusal is an error in place of an answer.
func (a *logAnswer) refusal(err error) error {
	name := a.pool.Name
	switch {
	case errors.Is(err, errRole):
		return a.s.accessOf(a.peer, a.s.newest()).forbid(viewer, a.c.verb(), name)
	case errors.Is(err, supervisor.ErrNoRun):
		return rpc.Errorf(rpc.KindNotFound, "cannot %s: no log that is left has a line of run %q", a.c.verb(), clip(a.query.Run))
	case !errors.Is(err, supervisor.ErrNoLog):
		return err
	}
	if where := elsewhere(a.pool.Config); where != "" {
		return rpc.Errorf(rpc.KindConflict, "cannot %s: %s; log.target = \"file\" in [pool.%s] keeps the lines of runs that begin from then on", a.c.verb(), where, name)
	}
	if a.query.Indices != nil {
		if !slices.ContainsFunc(a.pool.Workers, func(w *core.Worker) bool { return w.Index == a.query.Indices[0] }) {
			return a.c.noWorker(a.query.Indices[0])
		}
	}
	if a.query.Run != "" {
		return rpc.Errorf(rpc.KindNotFound, "cannot %s: there is no log yet, and %s knows of no run %q", a.c.verb(), name, clip(a.query.Run))
	}
	a.start()
	return nil
}

// elsewhere says where the lines of a pool go that has no log.
func elsewhere(p *config.Pool) string {
	if p == nil {
		return ""
	}
	switch p.Log.Target {
	case config.LogNone:
		return `its lines are kept nowhere (log.target = "none")`
	case config.LogInherit:
		return `its lines go to superd's own standard output (log.target = "inherit"): look in the journal, or wherever that leads`
	}
	return ""
}

// lastWord says why an answer ends before its time, and what to do next.
func (a *logAnswer) lastWord(err error) string {
	switch {
	case errors.Is(err, errSlow):
		return "cut off: the reader took longer than " + (a.s.opts.Patience / 2).String() + " over " + strconv.Itoa(logPiece>>10) + " KiB; ask for the rest with since set to this time"
	case errors.Is(err, errRole):
		return "cut off: the role viewer for " + strconv.Quote(a.pool.Name) + " was taken away; ask root, or who runs superd, for it"
	}
	return "cut off: cannot read on: " + err.Error() + "; see to that, then ask for the rest with since set to this time"
}

// finish writes the last object of an answer that ends before its time.
func (a *logAnswer) finish(text string) {
	if a.plain {
		a.s.push(a.c, []byte("superd: "+text+"\n"))
		return
	}
	last := rpc.LogLine{Time: rpc.At(a.last), Missed: text}
	a.s.push(a.c, append(last.AppendJSON(nil), '\n'))
}

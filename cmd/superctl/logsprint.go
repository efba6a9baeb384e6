package main

import (
	"bufio"
	"cmp"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/superd/superd/rpc"
)

// logDelay is how long lines may wait for more before they are written out.
const logDelay = 20 * time.Millisecond

// So much is held back until it is known whether lines need a name.
const (
	maxHeld     = 1000
	maxHeldLine = 16 << 10 // bytes
)

// logColours are given to workers in turn.
var logColours = []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}

// logPrinter writes log lines, many at a time. It is safe for concurrent use.
type logPrinter struct {
	a        *app
	ask      *logsAsk
	stop     func(error) // ends the reading when nobody takes what is written
	safe     bool        // a terminal: it must not be steered
	prefixed bool        // lines of several workers

	mu      sync.Mutex
	w       *bufio.Writer
	waiting bool // a flush is on its way
	broken  error
	count   int
	newest  time.Time
	only    rpc.Text      // the worker of all lines so far
	held    []rpc.LogLine // lines of it that may yet need its name
	holding bool          // none was shown without
	colours map[rpc.Text]string
	stamp   time.Time // of head
	head    []byte    // the newest timestamp as it is printed
	line    []byte
	open    logPiece // what was printed last lacks its newline
}

// logPiece is whose line is not whole yet.
type logPiece struct {
	worker rpc.Text
	stream string
}

func newLogPrinter(a *app, ask *logsAsk, several bool, stop func(error)) *logPrinter {
	return &logPrinter{a: a, ask: ask, stop: stop, safe: a.tty, prefixed: several, holding: !several && !ask.noPrefix, w: bufio.NewWriterSize(a.out, 256<<10), colours: map[rpc.Text]string{}}
}

// print writes one line. The error is that of an earlier write.
func (p *logPrinter) print(l rpc.LogLine) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.Missed == "" {
		p.count++
		if l.Time.After(p.newest) {
			p.newest = l.Time.Time
		}
	}
	switch {
	case p.a.json:
		p.write(append(l.AppendJSON(p.line[:0]), '\n'))
	case l.Missed != "":
		p.flush()
		p.a.note("%s: %s", l.Worker, clean(l.Missed))
		return p.broken
	default:
		p.show(&l)
	}
	if !p.waiting && p.broken == nil {
		p.waiting = true
		time.AfterFunc(logDelay, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.waiting = false
			p.flush()
		})
	}
	return p.broken
}

// show writes a line as it is shown. The first lines of one worker are held back
// for a moment: if those of another come too, all of them need a name.
func (p *logPrinter) show(l *rpc.LogLine) {
	if p.holding && l.Worker == cmp.Or(p.only, l.Worker) && len(p.held) < maxHeld && len(l.Text()) < maxHeldLine {
		p.only = l.Worker
		p.held = append(p.held, l.Clone())
		return
	}
	// One worker was meant; but there are logs of others, from a time when the
	// pool had more.
	p.only = cmp.Or(p.only, l.Worker)
	p.prefixed = p.prefixed || l.Worker != p.only
	p.release()
	p.write(p.format(l))
}

// release shows the lines that were held back.
func (p *logPrinter) release() {
	p.holding = false
	for i := range p.held {
		p.write(p.format(&p.held[i]))
	}
	p.held = nil
}

func (p *logPrinter) write(line []byte) {
	p.line = line
	if _, err := p.w.Write(line); err != nil && p.broken == nil {
		p.broken = err
	}
}

// flush writes out what waits. Once that has failed nothing more is read.
func (p *logPrinter) flush() {
	if p.held != nil {
		p.release()
	}
	if err := p.w.Flush(); err != nil && p.broken == nil {
		p.broken = err
	}
	if p.broken != nil {
		p.stop(p.broken)
	}
}

// close writes out the rest.
func (p *logPrinter) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	if p.open != (logPiece{}) {
		_ = p.w.WriteByte('\n') // Flush has its error
	}
	p.flush()
	return p.broken
}

// format is a line as it is shown; it is good until the next one.
func (p *logPrinter) format(l *rpc.LogLine) []byte {
	b := p.line[:0]
	piece := logPiece{l.Worker, l.Stream}
	if p.open != piece || p.open == (logPiece{}) {
		if p.open != (logPiece{}) {
			b = append(b, '\n')
		}
		b = p.before(b, l)
	}
	if p.safe {
		b = appendHarmless(b, l.Text())
	} else {
		b = append(b, l.Text()...)
	}
	p.open = logPiece{}
	if l.Cut {
		p.open = piece
	} else {
		b = append(b, '\n')
	}
	return b
}

// before appends what stands before a line: the time, the worker, the stream.
func (p *logPrinter) before(b []byte, l *rpc.LogLine) []byte {
	apart := p.ask.timestamps && l.Stream == rpc.StreamErr
	if p.ask.timestamps {
		b = append(p.appendTime(b, l.Time.Time), ' ')
	}
	named := p.prefixed && !p.ask.noPrefix
	if !named && !apart {
		return b
	}
	colour := ""
	if p.a.colours() {
		colour = p.colour(l.Worker)
		b = append(append(append(b, "\x1b["...), colour...), 'm')
	}
	if named {
		b = append(b, l.Worker...)
		b = append(b, ' ')
	}
	if apart {
		b = append(b, "stderr "...)
	}
	b = append(b, '|')
	if colour != "" {
		b = append(b, "\x1b[0m"...)
	}
	return append(b, ' ')
}

// colour is the worker's own.
func (p *logPrinter) colour(worker rpc.Text) string {
	c, ok := p.colours[worker]
	if !ok {
		c = logColours[len(p.colours)%len(logColours)]
		p.colours[worker] = c
	}
	return c
}

// appendTime writes local time; lines of one segment share theirs.
func (p *logPrinter) appendTime(b []byte, t time.Time) []byte {
	const form = "2006-01-02T15:04:05.000Z07:00"
	if t.IsZero() {
		return append(b, '-')
	}
	if len(p.head) == 0 || !t.Equal(p.stamp) {
		p.stamp, p.head = t, t.Local().AppendFormat(p.head[:0], form)
	}
	return append(b, p.head...)
}

// appendHarmless appends a line so that it cannot steer a terminal: colours (SGR,
// ECMA-48) pass and are ended with the line, other control characters are shown
// as ^[ and the like, and what is not UTF-8 as U+FFFD.
func appendHarmless(b, text []byte) []byte {
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1]
	}
	coloured := false
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == 0x1b:
			if n := sgr(text[i:]); n > 0 {
				b = append(b, text[i:i+n]...)
				coloured = true
				i += n
				continue
			}
			b = append(b, '^', '[')
		case c == '\t' || c >= ' ' && c < 0x7f:
			b = append(b, c)
		case c < utf8.RuneSelf:
			b = append(b, '^', c^0x40)
		default:
			r, size := utf8.DecodeRune(text[i:])
			if r < 0xa0 { // a control character too
				r = utf8.RuneError
			}
			b = utf8.AppendRune(b, r)
			i += size
			continue
		}
		i++
	}
	if coloured {
		b = append(b, "\x1b[0m"...)
	}
	return b
}

// sgr is the length of the colour sequence that text begins with, or 0.
func sgr(text []byte) int {
	if len(text) < 3 || text[1] != '[' {
		return 0
	}
	for i := 2; i < len(text); i++ {
		switch c := text[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && c != ':' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

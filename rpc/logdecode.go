package rpc

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// errBadLog is in every error that a line of an answer itself is the cause of:
// asking once more would not help.
var errBadLog = errors.New("cannot read a log line of superd's answer")

// LogDecoder reads NDJSON log lines. It is for one goroutine.
//
// Logs are long, and reflection would take longer over them than all the rest:
// a line in the very form that AppendJSON gives it is read by hand, any other by
// encoding/json.
type LogDecoder struct {
	r    *bufio.Reader
	line []byte // a long line, put together
	text []byte // of a line that had to be unescaped

	// What many lines have in common is kept from one to the next.
	stamp  []byte
	time   Time
	worker Text
	run    Text
}

// NewLogDecoder reads from r.
func NewLogDecoder(r io.Reader) *LogDecoder {
	return &LogDecoder{r: bufio.NewReaderSize(r, 256<<10)}
}

// Next reads the next line into l, whose Line and Bytes hold until the next
// call. The error is io.EOF at the end of the stream and io.ErrUnexpectedEOF
// where the end came in the middle of a line. Empty lines are passed over.
func (d *LogDecoder) Next(l *LogLine) error {
	for {
		line, err := d.readLine()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			continue
		}
		*l = LogLine{}
		if d.fast(line, l) {
			return nil
		}
		*l = LogLine{}
		if err := json.Unmarshal(line, l); err != nil {
			return fmt.Errorf("%w: %v", errBadLog, err)
		}
		if l.Missed == "" && l.Stream == "" {
			return fmt.Errorf("%w: it has neither stream nor missed", errBadLog)
		}
		return nil
	}
}

// readLine returns one line without its end, valid until the next call.
func (d *LogDecoder) readLine() ([]byte, error) {
	part, err := d.r.ReadSlice('\n')
	if err == nil {
		return part[:len(part)-1], nil
	}
	d.line = append(d.line[:0], part...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(d.line) > MaxLogLine {
			return nil, fmt.Errorf("%w: it is longer than %d bytes", errBadLog, MaxLogLine)
		}
		part, err = d.r.ReadSlice('\n')
		d.line = append(d.line, part...)
	}
	switch {
	case err == nil:
		return d.line[:len(d.line)-1], nil
	case errors.Is(err, io.EOF) && len(d.line) > 0:
		return nil, io.ErrUnexpectedEOF
	}
	return nil, err
}

// fast reads a line in AppendJSON's form; false: it is in another.
func (d *LogDecoder) fast(b []byte, l *LogLine) bool {
	c := cut{b: b, ok: true}
	d.fastTime(&c, l)
	l.Worker = interned(&c, `,"worker":`, &d.worker)
	l.RunID = interned(&c, `,"run_id":`, &d.run)
	switch {
	case c.take(`,"stream":"stdout"`):
		l.Stream = StreamOut
	case c.take(`,"stream":"stderr"`):
		l.Stream = StreamErr
	case c.take(`,"stream":"superd"`):
		l.Stream = StreamSelf
	default:
		return false
	}
	c.want(`,"line":`)
	l.Line = d.fastText(&c)
	if c.take(`,"bytes":"`) {
		end := max(bytes.IndexByte(c.b, '"'), 0)
		raw, err := base64.StdEncoding.AppendDecode(make([]byte, 0, end), c.b[:end])
		l.Bytes, c.ok = raw, c.ok && err == nil
		c.b = c.b[end:]
		c.want(`"`)
	}
	l.Cut = c.take(`,"cut":true`)
	c.want(`,"file":`)
	l.File = c.number()
	c.want(`,"end":`)
	l.End = c.number()
	c.want(`}`)
	return c.ok && len(c.b) == 0
}

func (d *LogDecoder) fastTime(c *cut, l *LogLine) {
	c.want(`{"time":`)
	if c.take("null") {
		return
	}
	stamp := c.plain()
	if len(d.stamp) == 0 || !bytes.Equal(stamp, d.stamp) {
		t, err := time.Parse(time.RFC3339Nano, string(stamp))
		if err != nil {
			c.ok = false
			return
		}
		d.stamp, d.time = append(d.stamp[:0], stamp...), Time{t}
	}
	l.Time = d.time
}

// interned reads a short text that is mostly the same as the last one.
func interned(c *cut, name string, last *Text) Text {
	c.want(name)
	if c.take("null") {
		return ""
	}
	if s := c.plain(); string(s) != string(*last) {
		*last = Text(s)
	}
	return *last
}

// fastText reads a string and undoes its escapes.
func (d *LogDecoder) fastText(c *cut) []byte {
	c.want(`"`)
	if !c.ok {
		return nil
	}
	quote := bytes.IndexByte(c.b, '"')
	if quote < 0 {
		c.ok = false
		return nil
	}
	if escape := bytes.IndexByte(c.b[:quote], '\\'); escape < 0 {
		text := c.b[:quote]
		c.b = c.b[quote+1:]
		return text
	}
	d.text = d.text[:0]
	for {
		i := bytes.IndexAny(c.b, `"\`)
		if i < 0 || i+1 >= len(c.b) {
			c.ok = false
			return nil
		}
		d.text = append(d.text, c.b[:i]...)
		mark := c.b[i]
		c.b = c.b[i+1:]
		if mark == '"' {
			return d.text
		}
		if !d.unescape(c) {
			c.ok = false
			return nil
		}
	}
}

// unescape appends what an escape stands for; those that appendLogText does not
// write are left to encoding/json.
func (d *LogDecoder) unescape(c *cut) bool {
	e := c.b[0]
	c.b = c.b[1:]
	switch e {
	case '"', '\\':
		d.text = append(d.text, e)
	case 't':
		d.text = append(d.text, '\t')
	case 'r':
		d.text = append(d.text, '\r')
	case 'u':
		if len(c.b) < 4 || c.b[0] != '0' || c.b[1] != '0' {
			return false
		}
		n, err := strconv.ParseUint(string(c.b[2:4]), 16, 8)
		if err != nil || n >= 0x80 {
			return false
		}
		d.text = append(d.text, byte(n))
		c.b = c.b[4:]
	default:
		return false
	}
	return true
}

// cut takes one thing after another from the front of b, until something else
// is there.
type cut struct {
	b  []byte
	ok bool
}

// take takes s if it is there.
func (c *cut) take(s string) bool {
	if len(c.b) >= len(s) && string(c.b[:len(s)]) == s {
		c.b = c.b[len(s):]
		return true
	}
	return false
}

// want takes s, which must be there.
func (c *cut) want(s string) { c.ok = c.take(s) && c.ok }

// plain takes a string without escapes.
func (c *cut) plain() []byte {
	c.want(`"`)
	end := bytes.IndexAny(c.b, `"\`)
	if !c.ok || end < 0 || c.b[end] != '"' {
		c.ok = false
		return nil
	}
	s := c.b[:end]
	c.b = c.b[end+1:]
	return s
}

// number takes an integer.
func (c *cut) number() int64 {
	end := 0
	for end < len(c.b) && (c.b[end] == '-' || c.b[end] >= '0' && c.b[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(string(c.b[:end]), 10, 64)
	c.ok = c.ok && err == nil
	c.b = c.b[end:]
	return n
}

package rpc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Event is something that happened.
type Event struct {
	Seq        uint64         `json:"seq"`
	Time       Time           `json:"time"`
	Type       string         `json:"type"`
	Pool       Text           `json:"pool"`
	Worker     Text           `json:"worker"`
	RunID      Text           `json:"run_id"`
	PID        Number         `json:"pid"`
	Revision   Number         `json:"revision"`
	Deployment Text           `json:"deployment"`
	Message    string         `json:"message"`
	Data       map[string]any `json:"data"`
}

// EventsMissed is the type of the line that stands for a gap: what lay from
// data.from to data.to is no longer in memory.
const EventsMissed = "events.missed"

// MaxEventLine bounds one line of an event stream, in bytes.
const MaxEventLine = 256 << 10

// errBadEvent is in every error that a line itself is the cause of: reading it
// once more would not help.
var errBadEvent = errors.New("cannot read an event")

// EventDecoder reads NDJSON events. It is for one goroutine.
type EventDecoder struct {
	r    *bufio.Reader
	line []byte
}

// NewEventDecoder reads from r.
func NewEventDecoder(r io.Reader) *EventDecoder {
	return &EventDecoder{r: bufio.NewReaderSize(r, 16<<10)}
}

// Next returns the next event. The error is io.EOF at the end of the stream, and
// io.ErrUnexpectedEOF where the end came in the middle of a line. Empty lines
// are passed over. Whatever is wrong with a line ends the stream.
func (d *EventDecoder) Next() (Event, error) {
	for {
		line, err := d.readLine()
		if err != nil {
			return Event{}, err
		}
		if len(line) == 0 {
			continue
		}
		var ev Event
		if err := json.Unmarshal(line, &ev); err != nil {
			return Event{}, fmt.Errorf("%w: %v", errBadEvent, err)
		}
		if ev.Type == "" {
			return Event{}, fmt.Errorf("%w: it has no type", errBadEvent)
		}
		return ev, nil
	}
}

// readLine returns one line without its end, valid until the next call.
func (d *EventDecoder) readLine() ([]byte, error) {
	d.line = d.line[:0]
	for {
		part, err := d.r.ReadSlice('\n')
		if len(d.line)+len(part) > MaxEventLine {
			return nil, fmt.Errorf("%w: its line is longer than %d bytes", errBadEvent, MaxEventLine)
		}
		d.line = append(d.line, part...)
		switch {
		case err == nil:
			line := d.line[:len(d.line)-1]
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(d.line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

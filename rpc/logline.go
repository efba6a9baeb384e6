package rpc

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The streams of a log line.
const (
	StreamOut  = "stdout" // stderr too, where it is merged
	StreamErr  = "stderr"
	StreamSelf = "superd" // a line of superd's own, as about what a full disk dropped
)

// LogLine is one line of a worker's log. With Missed it is none, but stands where
// something is missing and says what and why; it has Time and Worker alone then,
// and the one that ends an answer before its time has no Worker either.
type LogLine struct {
	Time   Time   `json:"time"` // to 100 ms; null: not known
	Worker Text   `json:"worker"`
	RunID  Text   `json:"run_id"` // null: not known, or superd's own
	Stream string `json:"stream"`
	// Line has no newline. What is not valid UTF-8 is U+FFFD on the wire, and
	// Bytes is the line as it is; superd itself leaves Bytes empty.
	Line  LogText `json:"line"`
	Bytes []byte  `json:"bytes,omitempty"`
	Cut   bool    `json:"cut,omitempty"` // the next one goes on with the same line
	// File and End are where the line lies: the making of its file, in
	// nanoseconds since 1970, and the offset behind it. They ascend over the
	// rotations of one log.
	File   int64  `json:"file"`
	End    int64  `json:"end"`
	Missed string `json:"missed,omitempty"`
}

// MaxLogLine bounds one line of an answer, in bytes: superd cuts lines at 1 MiB,
// of which JSON may make six times as much, and base64 comes beside it.
const MaxLogLine = 16 << 20

// LogText is a string on the wire, with U+FFFD for what is not valid UTF-8.
type LogText []byte

// MarshalJSON writes a string.
func (t LogText) MarshalJSON() ([]byte, error) { return appendLogText(nil, t), nil }

// UnmarshalJSON reads a string.
func (t *LogText) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*t = LogText(s)
	return nil
}

// Text is the line byte for byte as it is in the log, without its newline.
func (l *LogLine) Text() []byte {
	if l.Bytes != nil {
		return l.Bytes
	}
	return l.Line
}

// Clone is a line that stays when the original does not.
func (l *LogLine) Clone() LogLine {
	c := *l
	c.Line, c.Bytes = slices.Clone(l.Line), slices.Clone(l.Bytes)
	return c
}

// AppendJSON appends the line as it is on the wire, without a newline.
func (l *LogLine) AppendJSON(b []byte) []byte {
	b = appendTime(append(b, `{"time":`...), l.Time)
	b = appendText(append(b, `,"worker":`...), l.Worker)
	if l.Missed != "" {
		b = appendLogText(append(b, `,"missed":`...), []byte(l.Missed))
		return append(b, '}')
	}
	b = appendText(append(b, `,"run_id":`...), l.RunID)
	b = appendString(append(b, `,"stream":`...), l.Stream)
	b = appendLogText(append(b, `,"line":`...), l.Line)
	if raw := l.Bytes; raw != nil || !utf8.Valid(l.Line) {
		if raw == nil {
			raw = l.Line
		}
		b = append(b, `,"bytes":"`...)
		b = base64.StdEncoding.AppendEncode(b, raw)
		b = append(b, '"')
	}
	if l.Cut {
		b = append(b, `,"cut":true`...)
	}
	b = strconv.AppendInt(append(b, `,"file":`...), l.File, 10)
	b = strconv.AppendInt(append(b, `,"end":`...), l.End, 10)
	return append(b, '}')
}

// MarshalJSON is AppendJSON.
func (l LogLine) MarshalJSON() ([]byte, error) { return l.AppendJSON(nil), nil }

const hexDigits = "0123456789abcdef"

// appendLogText appends a JSON string. Logs are full of quotes and short of
// anything else that must be escaped.
func appendLogText(b, text []byte) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, text[start:i]...)
				b = utf8.AppendRune(b, utf8.RuneError)
				start = i + 1
			}
			i += size
			continue
		}
		b = append(b, text[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\t':
			b = append(b, '\\', 't')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	b = append(b, text[start:]...)
	return append(b, '"')
}

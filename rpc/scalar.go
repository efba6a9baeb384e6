package rpc

import (
	"encoding/json"
	"strconv"
	"time"
)

// Text is a string that is null on the wire when it is empty.
type Text string

// MarshalJSON writes null for the empty text.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// Number is an integer that is null on the wire when it is zero, for pids and
// revisions, which are never zero.
type Number int

// MarshalJSON writes null for zero.
func (n Number) MarshalJSON() ([]byte, error) {
	if n == 0 {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, int64(n), 10), nil
}

// Time is an instant of the wall clock: RFC 3339 with nanoseconds in UTC on the
// wire, null when it is zero.
type Time struct{ time.Time }

// At wraps t.
func At(t time.Time) Time { return Time{t} }

// MarshalJSON writes null for the zero time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	b := make([]byte, 0, len(time.RFC3339Nano)+2)
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"'), nil
}

// UnmarshalJSON reads what MarshalJSON writes, in any zone.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	return json.Unmarshal(b, &t.Time)
}

// Seconds is a duration in seconds, a number on the wire.
type Seconds float64

// SecondsOf turns a duration into seconds.
func SecondsOf(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Duration turns seconds into a duration. What is too long for one becomes the longest.
func (s Seconds) Duration() time.Duration {
	const longest = time.Duration(1<<63 - 1)
	if float64(s) >= longest.Seconds() {
		return longest
	}
	return time.Duration(float64(s) * float64(time.Second))
}

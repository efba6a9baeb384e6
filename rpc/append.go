package rpc

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// This file writes the status by hand: of a thousand workers it is most of a
// megabyte, and reflection would take longer over it than all the rest of the
// answer. A test holds it equal to what encoding/json makes of the same types.

// workerSize is about what a worker takes on the wire, in bytes.
const workerSize = 1024

// AppendJSON appends the status as encoding/json would write it.
func (s *Status) AppendJSON(b []byte) []byte {
	workers := 1
	for i := range s.Pools {
		workers += len(s.Pools[i].Workers)
	}
	b = slices.Grow(b, workers*workerSize)
	b = append(b, `{"superd":`...)
	b = appendAny(b, &s.Superd)
	b = append(b, `,"pools":`...)
	if s.Pools == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '[')
		for i := range s.Pools {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.Pools[i].AppendJSON(b)
		}
		b = append(b, ']')
	}
	b = append(b, `,"jobs":`...)
	b = appendAny(b, s.Jobs)
	return append(b, '}')
}

// AppendJSON appends the pool as encoding/json would write it.
func (p *Pool) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"name":`...), p.Name)
	b = appendAny(append(b, `,"groups":`...), p.Groups)
	b = appendString(append(b, `,"desired":`...), p.Desired)
	b = appendInt(append(b, `,"count":`...), p.Count)
	b = appendInt(append(b, `,"running":`...), p.Running)
	b = appendInt(append(b, `,"healthy":`...), p.Healthy)
	b = appendNumber(append(b, `,"revision":`...), p.Revision)
	b = appendNumber(append(b, `,"stable_revision":`...), p.StableRevision)
	b = appendPointer(append(b, `,"deployment":`...), p.Deployment)
	b = append(b, `,"workers":`...)
	if p.Workers == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '[')
		for i := range p.Workers {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.Workers[i].AppendJSON(b)
		}
		b = append(b, ']')
	}
	b = appendAny(append(b, `,"draining":`...), p.Draining)
	b = appendAny(append(b, `,"waits_for":`...), p.WaitsFor)
	b = appendBool(append(b, `,"removed":`...), p.Removed)
	return append(b, '}')
}

// AppendJSON appends the worker as encoding/json would write it.
func (w *Worker) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"name":`...), w.Name)
	b = appendInt(append(b, `,"index":`...), w.Index)
	b = appendString(append(b, `,"state":`...), w.State)
	b = appendTime(append(b, `,"since":`...), w.Since)
	b = appendString(append(b, `,"desired":`...), w.Desired)
	b = appendBool(append(b, `,"ready":`...), w.Ready)
	b = appendBool(append(b, `,"healthy":`...), w.Healthy)
	b = appendNumber(append(b, `,"pid":`...), w.PID)
	b = appendText(append(b, `,"run_id":`...), w.RunID)
	b = appendNumber(append(b, `,"revision":`...), w.Revision)
	b = appendBool(append(b, `,"outdated":`...), w.Outdated)
	b = appendText(append(b, `,"release":`...), w.Release)
	b = appendTime(append(b, `,"started_at":`...), w.StartedAt)
	b = appendFloat(append(b, `,"uptime":`...), float64(w.Uptime))
	b = appendInt(append(b, `,"restarts":`...), w.Restarts)
	b = appendInt(append(b, `,"window":{"used":`...), w.Window.Used)
	b = appendInt(append(b, `,"attempts":`...), w.Window.Attempts)
	b = appendFloat(append(b, `,"interval":`...), float64(w.Window.Interval))
	b = appendTime(append(b, `},"next_start_at":`...), w.NextStartAt)
	b = appendPointer(append(b, `,"stopping":`...), w.Stopping)
	b = appendText(append(b, `,"status_text":`...), w.StatusText)
	b = appendPointer(append(b, `,"busy":`...), w.Busy)
	b = append(b, `,"memory_bytes":`...)
	if w.MemoryBytes == nil {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, *w.MemoryBytes, 10)
	}
	b = append(b, `,"cpu":`...)
	if w.CPU == nil {
		b = append(b, "null"...)
	} else {
		b = appendFloat(b, *w.CPU)
	}
	b = appendPointer(append(b, `,"next_run":`...), w.NextRun)
	b = w.LastExit.appendJSON(append(b, `,"last_exit":`...))
	b = appendText(append(b, `,"operation":`...), w.Operation)
	return append(b, '}')
}

func (e *Exit) appendJSON(b []byte) []byte {
	if e == nil {
		return append(b, "null"...)
	}
	b = appendTime(append(b, `{"at":`...), e.At)
	b = append(b, `,"code":`...)
	if e.Code == nil {
		b = append(b, "null"...)
	} else {
		b = appendInt(b, *e.Code)
	}
	b = appendText(append(b, `,"signal":`...), e.Signal)
	b = appendString(append(b, `,"reason":`...), e.Reason)
	b = appendText(append(b, `,"run_id":`...), e.RunID)
	b = appendNumber(append(b, `,"pid":`...), e.PID)
	b = appendBool(append(b, `,"core":`...), e.Core)
	b = appendBool(append(b, `,"success":`...), e.Success)
	b = appendFloat(append(b, `,"uptime":`...), float64(e.Uptime))
	return append(b, '}')
}

func appendInt(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

func appendBool(b []byte, v bool) []byte { return strconv.AppendBool(b, v) }

func appendNumber(b []byte, n Number) []byte {
	if n == 0 {
		return append(b, "null"...)
	}
	return appendInt(b, int(n))
}

func appendText(b []byte, t Text) []byte {
	if t == "" {
		return append(b, "null"...)
	}
	return appendString(b, string(t))
}

func appendTime(b []byte, t Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendFloat writes ordinary values as encoding/json does, and leaves the rest to it.
func appendFloat(b []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return appendAny(b, f)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

// appendString writes plain ASCII itself, and leaves to encoding/json what has
// to be escaped.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&', c == 0x7f:
			return appendAny(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendPointer is appendAny for what is mostly nil.
func appendPointer[T any](b []byte, v *T) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	return appendAny(b, v)
}

// appendAny is for what is rare. All that is given to it can be encoded.
func appendAny(b []byte, v any) []byte {
	j, err := json.Marshal(v)
	if err != nil {
		panic("rpc: " + err.Error())
	}
	return append(b, j...)
}

package server

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor"
)

var logParameters = []string{"follow", "lines", "since", "until", "run", "grep"}

// readLogQuery reads what a reader of a log asks for. Nothing said, that is the
// last rpc.DefaultLogLines lines; with a time, a run or a pattern it is all that fit.
func readLogQuery(v url.Values, now time.Time) (supervisor.LogQuery, error) {
	q := supervisor.LogQuery{Run: v.Get("run")}
	var err error
	if q.Follow, err = flag(v, "follow"); err != nil {
		return q, err
	}
	if q.Since, err = instant(v, "since", now); err != nil {
		return q, err
	}
	if q.Until, err = instant(v, "until", now); err != nil {
		return q, err
	}
	if !q.Until.IsZero() && q.Until.Before(q.Since) {
		return q, errors.New("until is before since: nothing can fit")
	}
	if text := v.Get("grep"); text != "" {
		if q.Grep, err = regexp.Compile(text); err != nil {
			return q, fmt.Errorf("grep=%q is not a regular expression (RE2): %v", clip(text), err)
		}
	}
	switch text := v.Get("lines"); {
	case text == "all":
		q.Lines = -1
	case text != "":
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return q, fmt.Errorf("lines=%q is neither a number nor \"all\"", clip(text))
		}
		q.Lines = int(n)
	case q.Since.IsZero() && q.Until.IsZero() && q.Run == "" && q.Grep == nil:
		q.Lines = rpc.DefaultLogLines
	default:
		q.Lines = -1
	}
	return q, nil
}

// instant reads a time, or how long ago it was.
func instant(v url.Values, name string, now time.Time) (time.Time, error) {
	text := v.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := signals.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s=%q is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 10m, which is that long ago", name, clip(text))
	}
	return now.Add(-d), nil
}

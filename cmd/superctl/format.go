package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/superd/superd/rpc"
)

// span is a duration for people: its two largest units, "-" below zero.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "K", "M", "G", "T"}
	v := float64(n)
	i := 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	if v >= 10 || i == 0 {
		return fmt.Sprintf("%.0f%s", v, units[i])
	}
	return fmt.Sprintf("%.1f%s", v, units[i])
}

func number(n rpc.Number) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(int(n))
}

// clean keeps what programs and files say from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

// exitText is how a run ended, and how long ago.
func exitText(e *rpc.Exit, now time.Time) string {
	if e == nil {
		return "-"
	}
	reason := clean(e.Reason)
	if reason == "" {
		reason = "unknown"
	}
	return reason + ", " + span(max(0, now.Sub(e.At.Time))) + " ago"
}

// stateColour is how a worker's state looks.
func stateColour(state string) string {
	switch state {
	case "running":
		return green
	case "failed", "delayed":
		return red
	case "starting", "stopping", "backoff":
		return yellow
	}
	return plain
}

// plural is "1 worker", "2 workers".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}

package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// maxLine is what Nagios reads of a plugin in one go, in bytes; Nagios 3 and
// several agents cut there, through the middle of a number.
const maxLine = 4096

// maxMessage leaves performance data their place.
const maxMessage = 1500

// line is the whole output: the message, and performance data after a |.
func (h *health) line() string {
	line := h.Message
	perf := h.perfdata(true)
	if len(line)+len(perf) > maxLine {
		perf = h.perfdata(false)
	}
	if perf != "" {
		line += " | " + perf
	}
	return line
}

// message is for people: the state, what is wrong, how many are healthy.
func (h *health) message() string {
	var parts []string
	left := maxMessage
	for i, p := range h.Problems {
		text := printable(p.Text)
		if left -= len(text) + 2; left < 0 && i > 0 {
			parts = append(parts, fmt.Sprintf("and %d more", len(h.Problems)-i))
			break
		}
		parts = append(parts, cutBytes(text, maxMessage))
	}
	if h.Superd != nil {
		parts = append(parts, h.summary())
		for i, n := range h.notes {
			n = printable(n)
			if left -= len(n) + 2; left < 0 {
				parts = append(parts, fmt.Sprintf("and %d more", len(h.notes)-i))
				break
			}
			parts = append(parts, n)
		}
	}
	return "SUPERD " + h.State.String() + " - " + strings.Join(parts, "; ")
}

// summary is "3 pools, 12/12 healthy".
func (h *health) summary() string {
	if len(h.Pools) == 0 {
		return "no pools"
	}
	sum := h.sum()
	text := plural(len(h.Pools), "pool")
	if len(h.Pools) == 1 {
		text = h.Pools[0].Name
	}
	text += fmt.Sprintf(", %d/%d healthy", sum.Healthy, sum.Wanted)
	if sum.Completed > 0 {
		text += fmt.Sprintf(", %d completed", sum.Completed)
	}
	return printable(text)
}

// sum counts over all pools.
func (h *health) sum() poolHealth {
	var s poolHealth
	for _, p := range h.Pools {
		s.Wanted += p.Wanted
		s.Running += p.Running
		s.Healthy += p.Healthy
		s.Backoff += p.Backoff
		s.Delayed += p.Delayed
		s.Failed += p.Failed
		s.Completed += p.Completed
	}
	return s
}

// perfdata are 'label'=value[UOM];warn;crit;min;max with blanks between.
func (h *health) perfdata(each bool) string {
	if h.Superd == nil {
		return ""
	}
	var list []string
	add := func(label string, value int, most string) {
		list = append(list, strings.TrimRight(fmt.Sprintf("%s=%d;;;0;%s", perfLabel(label), value, most), ";"))
	}
	sum := h.sum()
	most := strconv.Itoa(sum.Wanted)
	add("running", sum.Running, most)
	add("healthy", sum.Healthy, most)
	add("backoff", sum.Backoff, most)
	add("delayed", sum.Delayed, most)
	add("failed", sum.Failed, most)
	list = append(list, fmt.Sprintf("time=%.6fs;;;0", h.took.Seconds()))
	if each && len(h.Pools) > 1 {
		for _, p := range h.Pools {
			add(p.Name+"::running", p.Running, strconv.Itoa(p.Wanted))
			add(p.Name+"::healthy", p.Healthy, strconv.Itoa(p.Wanted))
		}
	}
	return strings.Join(list, " ")
}

// perfLabel quotes a label where it has to be: = and ' may not be in one.
func perfLabel(label string) string {
	label = strings.NewReplacer("=", "_", "'", "_").Replace(printable(label))
	if strings.ContainsAny(label, " ;") {
		return "'" + label + "'"
	}
	return label
}

// printable leaves nothing in a text that would end the line or the message.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r == '|' || !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
}

// cutBytes shortens a text to n bytes, between two characters.
func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}

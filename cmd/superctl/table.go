package main

import (
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// table is rows under headings, fitted to a width.
type table struct {
	columns []column
	rows    [][]cell
}

// column is one heading. Where the width does not suffice, columns with the
// highest drop go first; those with drop 0 stay.
type column struct {
	name  string
	right bool // numbers
	drop  int
}

// cell is a text and how to colour it.
type cell struct {
	text   string
	colour string
}

// The colours of cells, as SGR parameters (ECMA-48).
const (
	plain  = ""
	green  = "32"
	yellow = "33"
	red    = "31"
	dim    = "2"
)

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// minLast is what the last column keeps of its text before others are dropped.
const minLast = 20

// write prints the table within width columns, 0 for no limit. The last column
// is cut where dropping others is not enough.
func (t *table) write(w io.Writer, width int, colour bool) {
	show := make([]bool, len(t.columns))
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		show[i], widths[i] = true, utf8.RuneCountInString(c.name)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	t.hideEmpty(show)
	last := t.fit(show, widths, width)
	var b strings.Builder
	head := make([]cell, len(t.columns))
	for i, c := range t.columns {
		head[i] = cell{c.name, dim}
	}
	t.line(&b, head, show, widths, last, colour)
	for _, row := range t.rows {
		t.line(&b, row, show, widths, last, colour)
	}
	_, _ = io.WriteString(w, b.String())
}

// hideEmpty drops columns that may go and have nothing to show.
func (t *table) hideEmpty(show []bool) {
	for i, c := range t.columns {
		if c.drop == 0 {
			continue
		}
		empty := true
		for _, row := range t.rows {
			empty = empty && (row[i].text == "" || row[i].text == "-")
		}
		show[i] = !empty
	}
}

// fit hides columns until the rest fits, and narrows the last one shown, whose
// index it returns.
func (t *table) fit(show []bool, widths []int, width int) int {
	for {
		total, last := 0, 0
		for i := range t.columns {
			if show[i] {
				total += widths[i] + 2
				last = i
			}
		}
		total -= 2
		over := total - width
		if width <= 0 || over <= 0 {
			return last
		}
		if widths[last]-over >= minLast {
			widths[last] -= over
			return last
		}
		worst := -1
		for i, c := range t.columns {
			if show[i] && c.drop > 0 && (worst < 0 || c.drop >= t.columns[worst].drop) {
				worst = i
			}
		}
		if worst < 0 {
			widths[last] = max(1, widths[last]-over)
			return last
		}
		show[worst] = false
	}
}

func (t *table) line(b *strings.Builder, row []cell, show []bool, widths []int, last int, colour bool) {
	for last > 0 && (row[last].text == "" || !show[last]) {
		last-- // nothing follows: no blanks either
	}
	for i, c := range row[:last+1] {
		if !show[i] {
			continue
		}
		text := cut(c.text, widths[i])
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
		if t.columns[i].right {
			b.WriteString(pad)
		}
		b.WriteString(paint(text, c.colour, colour))
		if i == last {
			break
		}
		if !t.columns[i].right {
			b.WriteString(pad)
		}
		b.WriteString("  ")
	}
	b.WriteByte('\n')
}

func paint(text, colour string, on bool) string {
	if !on || colour == plain || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// cut shortens text to n columns, and shows that it did.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	r := []rune(text)
	if n <= 1 {
		return string(r[:n])
	}
	return string(r[:n-1]) + "…"
}

// terminal tells whether w is one, and how wide it is; COLUMNS has the say.
func terminal(w io.Writer, env func(string) string) (tty bool, width int) {
	if f := file(w); f != nil && term.IsTerminal(int(f.Fd())) {
		tty = env("TERM") != "dumb"
		width, _, _ = term.GetSize(int(f.Fd()))
	}
	if n, err := strconv.Atoi(env("COLUMNS")); err == nil && n > 0 {
		width = n
	}
	return tty, width
}

// colours tells whether to colour: https://no-color.org.
func (a *app) colours() bool { return a.tty && a.env("NO_COLOR") == "" }

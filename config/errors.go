package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong, or worth a word, with a configuration.
type Problem struct {
	File string
	Line int // from 1; 0: the file as a whole
	Col  int // from 1, in bytes as compilers count; 0 with Line 0
	Key  string
	// Message says what was found, and after a semicolon what is allowed.
	Message string
}

// String is FILE:LINE:COL: KEY: MESSAGE, without the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Errors is everything that was found wrong with a configuration, ordered by
// file and place; there is at least one problem in it.
type Errors struct {
	List []Problem
}

// Error has one problem on each line.
func (e *Errors) Error() string {
	lines := make([]string, len(e.List))
	for i, p := range e.List {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// reporter gathers problems. The zero value is ready.
type reporter struct {
	errors   []Problem
	warnings []Problem
	seen     map[Problem]bool
	// partial means that parts of the text could not be read: what seems to be
	// missing may well be there, and is not reported.
	partial bool
}

// at reports a problem of n's value.
func (r *reporter) at(n *node, format string, args ...any) {
	r.add(n.at, n.name, format, args...)
}

// add reports a problem once: [defaults] is looked at for each pool anew.
func (r *reporter) add(at place, key, format string, args ...any) {
	p := Problem{File: at.file, Line: at.line, Col: at.col, Key: key, Message: oneLine(fmt.Sprintf(format, args...))}
	if r.seen == nil {
		r.seen = make(map[Problem]bool)
	}
	if !r.seen[p] {
		r.seen[p] = true
		r.errors = append(r.errors, p)
	}
}

func (r *reporter) warn(n *node, format string, args ...any) {
	p := Problem{File: n.at.file, Line: n.at.line, Col: n.at.col, Key: n.name, Message: oneLine(fmt.Sprintf(format, args...))}
	if !slices.Contains(r.warnings, p) {
		r.warnings = append(r.warnings, p)
	}
}

// sortProblems orders by file, in the order in which they were read, and place.
func sortProblems(list []Problem, files []string) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		if a.File != b.File {
			return slices.Index(files, a.File) - slices.Index(files, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
}

// oneLine keeps each problem on a line of its own, whatever a file's name or a
// key holds.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

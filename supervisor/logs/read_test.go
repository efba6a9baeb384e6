package logs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// readLines collects what Read gives.
func (l *lab) readLines(q Query) []Line {
	l.t.Helper()
	lines, err := collect(l.m, q)
	if err != nil {
		l.t.Fatal(err)
	}
	return lines
}

func collect(m *Manager, q Query) (all []Line, err error) {
	err = m.Read(context.Background(), q, into(&all))
	return all, err
}

// into is an emit that keeps the lines.
func into(all *[]Line) func([]Line) error {
	return func(batch []Line) error {
		for _, line := range batch {
			line.Text = append([]byte{}, line.Text...)
			*all = append(*all, line)
		}
		return nil
	}
}

// texts are lines as a person would see them.
func texts(lines []Line) string {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%d%c %s\n", line.Index, line.Stream, line.Text)
	}
	return b.String()
}

func TestReadNothing(t *testing.T) {
	l := newLab(t, nil)
	for _, folder := range []string{"a", "job/x", "", "..", "a/../b", "/", "a/"} {
		if _, err := collect(l.m, Query{Folder: folder, Lines: -1}); !errors.Is(err, ErrNoLog) {
			t.Errorf("folder %q: %v", folder, err)
		}
	}
	p := l.prepare("run1", spec("a", 0))
	write(t, p.Stdout, "one\n")
	l.end("run1", p)
	if _, err := collect(l.m, Query{Folder: "a", Indices: []int{1}, Lines: -1}); !errors.Is(err, ErrNoLog) {
		t.Errorf("index 1: %v", err)
	}
	if _, err := collect(l.m, Query{Folder: "a", Run: "run2", Lines: -1}); !errors.Is(err, ErrNoRun) {
		t.Errorf("run2: %v", err)
	}
}

// TestReadMerged: lines of two workers and of both streams come by time.
func TestReadMerged(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.SeparateStderr = true
	p0, p1 := l.prepare("run0", sp), l.prepare("run1", spec("a", 1))
	var want strings.Builder
	for i := range 4 {
		for who, f := range map[string]interface{ WriteString(string) (int, error) }{"0o": p0.Stdout, "0e": p0.Stderr, "1o": p1.Stdout} {
			before := len(l.readSome("a"))
			text := fmt.Sprintf("%s %d", who, i)
			if _, err := f.WriteString(text + "\n"); err != nil {
				t.Fatal(err)
			}
			eventually(t, 30*time.Second, func() bool { return len(l.readSome("a")) > before }, "not written")
			fmt.Fprintf(&want, "%s %s\n", who, text)
			time.Sleep(segmentTime) // so that the next line is in a segment of its own
		}
	}
	all := l.readLines(Query{Folder: "a", Lines: -1})
	if got := texts(all); got != want.String() {
		t.Errorf("got\n%s, want\n%s", got, want.String())
	}
	last := l.readLines(Query{Folder: "a", Lines: 5})
	if got := texts(last); got != texts(all[7:]) {
		t.Errorf("the last 5 are\n%s", got)
	}
	if n := len(l.readLines(Query{Folder: "a", Lines: 0})); n != 0 {
		t.Errorf("%d lines where none are wanted", n)
	}
	mid := all[6].Time
	for _, line := range l.readLines(Query{Folder: "a", Lines: -1, Since: mid}) {
		if line.Time.Before(mid) {
			t.Errorf("since: %s", line.Text)
		}
	}
	if n := len(l.readLines(Query{Folder: "a", Lines: -1, Until: mid})); n != 7 {
		t.Errorf("until: %d lines", n)
	}
	if got := texts(l.readLines(Query{Folder: "a", Lines: -1, Run: "run1"})); strings.Count(got, "1o 1o ") != 4 || strings.Count(got, "\n") != 4 {
		t.Errorf("run1: %s", got)
	}
	l.end("run0", p0)
	l.end("run1", p1)
}

// readSome are the lines of a folder that may be empty still.
func (l *lab) readSome(folder string) []Line {
	l.t.Helper()
	lines, err := collect(l.m, Query{Folder: folder, Lines: -1})
	if err != nil && !errors.Is(err, ErrNoLog) {
		l.t.Fatal(err)
	}
	return lines
}

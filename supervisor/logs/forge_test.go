package logs

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// forge makes a log as superd would have left it, at times of its own.
type forge struct {
	dir     string
	name    string
	text    []byte
	records []byte
	last    Record
	wall    time.Time
	ino     int
}

// segment writes text as one segment.
func (g *forge) segment(run string, stream byte, text string) {
	g.last = Record{Offset: int64(len(g.text)), Length: int64(len(text)), Wall: g.wall, Run: run, Stream: stream}
	g.records = append(g.records, make([]byte, recordSize)...)
	g.last.encode(g.records[len(g.records)-recordSize:])
	g.text = append(g.text, text...)
}

// open leaves the last segment's length open, as superd does until the next begins.
func (g *forge) open() {
	if len(g.records) > 0 && int64(len(g.text)) == g.last.Offset+g.last.Length {
		g.last.Length = 0
		g.last.encode(g.records[len(g.records)-recordSize:])
	}
}

// begun has the index begun anew: what is there is of unknown origin.
func (g *forge) begun() {
	g.records = nil
	if len(g.text) > 0 {
		g.records = make([]byte, recordSize)
		g.last = Record{Length: int64(len(g.text)), Stream: streamOwn}
		g.last.encode(g.records)
	}
}

func (g *forge) foreign(text string) { g.text = append(g.text, text...) }

// save writes the file and its index, under the number.
func (g *forge) save(t interface{ Fatal(...any) }, num int, packed, index bool) {
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(g.dir, g.name)
	if num > 0 {
		path = rotatedName(path, num)
	}
	g.ino++
	h := Header{Inode: uint64(g.ino), Made: g.wall}
	file := path
	if packed {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(g.text)
		z.Close()
		file += ".gz"
		check(os.WriteFile(file, b.Bytes(), 0o640))
	} else {
		check(os.WriteFile(file, g.text, 0o640))
	}
	check(os.Chtimes(file, g.wall, g.wall))
	fi, err := os.Stat(file)
	check(err)
	if packed {
		h.Packed = inode(fi)
	} else {
		h.Inode = inode(fi)
	}
	if index {
		check(os.WriteFile(path+".idx", append(h.encode(), g.records...), 0o640))
	}
	g.text, g.records = nil, nil
}

// drawLog forges one log with all its files.
func drawLog(rt *rapid.T, g *forge, long bool) {
	files := rapid.IntRange(1, 4).Draw(rt, "files")
	step := rapid.SampledFrom([]int{0, 1, 20, 300})
	runs := rapid.SampledFrom([]string{"r1", "r2", "r3"})
	word := rapid.SampledFrom([]string{"", "a", "error b", "cc\r", strings.Repeat("long ", 40)})
	ends := rapid.SampledFrom([]string{"\n", "\n", "\n", "\n", "\n\n", ""})
	for num := files - 1; num >= 0; num-- {
		n := rapid.IntRange(0, 12).Draw(rt, "segments")
		for i := range n {
			g.wall = g.wall.Add(time.Duration(step.Draw(rt, "ms")) * time.Millisecond)
			var b strings.Builder
			for range rapid.IntRange(1, 4).Draw(rt, "lines") {
				fmt.Fprintf(&b, "%d/%d %s%s", num, i, word.Draw(rt, "word"), ends.Draw(rt, "end"))
			}
			text := b.String()
			if long && rapid.IntRange(0, 29).Draw(rt, "long") == 0 {
				text = strings.Repeat("x", rapid.SampledFrom([]int{70 << 10, MaxLine/2 - 1, MaxLine / 2, 600 << 10, MaxLine, 5 * MaxLine / 3}).Draw(rt, "size")) + text
			}
			switch rapid.IntRange(0, 14).Draw(rt, "kind") {
			case 0:
				g.foreign(text)
			case 1:
				g.segment("", streamOwn, "\nsuperd: some bytes dropped here\n")
			case 2:
				g.begun()
			case 3:
				g.segment(runs.Draw(rt, "run"), streamOut, text)
				g.open()
			default:
				g.segment(runs.Draw(rt, "run"), streamOut, text)
			}
		}
		packed := num > 0 && rapid.IntRange(0, 2).Draw(rt, "packed") == 0
		g.save(rt, num, packed, rapid.IntRange(0, 7).Draw(rt, "index") != 0)
	}
}

func drawQuery(rt *rapid.T, from, to time.Time) Query {
	q := Query{Folder: "a", Lines: rapid.SampledFrom([]int{-1, -1, 0, 1, 2, 5, 17, 1000}).Draw(rt, "n")}
	at := rapid.Custom(func(rt *rapid.T) time.Time {
		return from.Add(time.Duration(rapid.Int64Range(-10, to.Sub(from).Milliseconds()+10).Draw(rt, "at")) * time.Millisecond)
	})
	if rapid.Bool().Draw(rt, "one") {
		q.Indices = []int{rapid.IntRange(0, 2).Draw(rt, "index")}
	}
	if rapid.IntRange(0, 2).Draw(rt, "bounds") == 0 {
		q.Since = at.Draw(rt, "since")
	}
	if rapid.IntRange(0, 2).Draw(rt, "bounds") == 0 {
		q.Until = at.Draw(rt, "until")
	}
	if rapid.IntRange(0, 2).Draw(rt, "runs") == 0 {
		q.Run = rapid.SampledFrom([]string{"r1", "r2", "r4"}).Draw(rt, "run")
	}
	if rapid.IntRange(0, 3).Draw(rt, "greps") == 0 {
		q.Grep = regexp.MustCompile(rapid.SampledFrom([]string{"error", "^0/", "$^", "1/.*a"}).Draw(rt, "grep"))
	}
	return q
}

// TestReadAsDumb: whatever lies on the disk and is asked for, Read gives what
// reading everything gives.
func TestReadAsDumb(t *testing.T) {
	for name, long := range map[string]bool{"short lines": false, "long lines": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { compareWithDumb(rt, t.TempDir(), long) })
		})
	}
}

func compareWithDumb(rt *rapid.T, dir string, long bool) {
	defer os.RemoveAll(dir)
	folder := filepath.Join(dir, "a")
	if err := os.Mkdir(folder, 0o750); err != nil {
		rt.Fatal(err)
	}
	from := time.Unix(1_700_000_000, 0)
	to := from
	for i, name := range []string{"0.log", "0.err.log", "1.log", "2.log"} {
		if i > 0 && rapid.Bool().Draw(rt, "without "+name) {
			continue
		}
		g := &forge{dir: folder, name: name, wall: from}
		drawLog(rt, g, long && i == 0)
		if g.wall.After(to) {
			to = g.wall
		}
	}
	m := &Manager{opt: Options{LogDir: dir}}
	for range 8 {
		q := drawQuery(rt, from, to)
		want, wantErr := readAll(dir, q)
		var got []Line
		r := newReader(context.Background(), m, q, into(&got))
		r.most = rapid.SampledFrom([]int{1, 2, openParts}).Draw(rt, "descriptors")
		err := r.run()
		r.close()
		if cmp.Or(wantErr, err) != nil {
			if !errors.Is(err, wantErr) {
				rt.Fatalf("%+v: error %v, want %v", q, err, wantErr)
			}
			continue
		}
		if !slices.EqualFunc(got, want, sameLine) {
			rt.Fatalf("%+v:\ngot\n%s\nwant\n%s", q, show(got), show(want))
		}
	}
}

func sameLine(a, b Line) bool {
	same := bytes.Equal(a.Text, b.Text) && a.Time.Equal(b.Time)
	a.Text, b.Text, a.Time, b.Time = nil, nil, time.Time{}, time.Time{}
	return same && fmt.Sprint(a) == fmt.Sprint(b)
}

func show(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		text := l.Text
		if len(text) > 60 {
			text = fmt.Appendf(nil, "%s… (%d)", text[:30], len(text))
		}
		fmt.Fprintf(&b, "%d%c %-4s %-12s %d+%d %v%v %q\n", l.Index, l.Stream, l.Run, l.Time.Format("05.000000"), l.File, l.End, l.Cut, l.Missed, text)
	}
	return b.String()
}

package logs

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

var dumbName = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.err)?\.log(\.([1-9][0-9]*)(\.gz)?)?$`)

// dumbLine is a line with the place where it is merged.
type dumbLine struct {
	Line
	key   int64 // time by which it is merged, ns; 0: not known
	young int64 // time by which it is young enough or not
	order int
}

// readAll is Read without any cleverness: it reads everything.
func readAll(logDir string, q Query) ([]Line, error) {
	folder := filepath.Join(logDir, q.Folder)
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	rotated := map[string][]int{}
	for _, e := range entries {
		m := dumbName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		index, _ := strconv.Atoi(m[1])
		if q.Indices != nil && !slices.Contains(q.Indices, index) {
			continue
		}
		n, _ := strconv.Atoi(m[4])
		name := m[1] + m[2] + ".log"
		if !slices.Contains(rotated[name], n) {
			rotated[name] = append(rotated[name], n)
		}
	}
	if len(rotated) == 0 {
		return nil, ErrNoLog
	}
	var all []dumbLine
	foundRun := false
	for name, numbers := range rotated {
		slices.SortFunc(numbers, func(a, b int) int { return b - a })
		m := dumbName.FindStringSubmatch(name)
		index, _ := strconv.Atoi(m[1])
		stream, order := byte(streamOut), 2*index
		if m[2] != "" {
			stream, order = streamErr, 2*index+1
		}
		key := int64(0)
		for _, n := range numbers {
			path := filepath.Join(folder, name)
			if n > 0 {
				path = rotatedName(path, n)
			}
			lines, runs, err := dumbFile(path, n > 0, stream, &key)
			if err != nil {
				return nil, err
			}
			foundRun = foundRun || slices.Contains(runs, q.Run)
			for _, l := range lines {
				l.Index, l.order = index, order
				if q.Run != "" && l.Run != q.Run || q.Grep != nil && !q.Grep.Match(l.Text) ||
					!q.Since.IsZero() && l.young < q.Since.UnixNano() ||
					!q.Until.IsZero() && l.key > q.Until.UnixNano() {
					continue
				}
				all = append(all, l)
			}
		}
	}
	if q.Run != "" && !foundRun {
		return nil, ErrNoRun
	}
	slices.SortStableFunc(all, func(a, b dumbLine) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.order, b.order))
	})
	if q.Lines >= 0 && len(all) > q.Lines {
		all = all[len(all)-q.Lines:]
	}
	lines := make([]Line, len(all))
	for i := range all {
		lines[i] = all[i].Line
	}
	return lines, nil
}

// dumbFile reads one file whole; key is the last known time, in ns.
func dumbFile(path string, rotated bool, stream byte, key *int64) ([]dumbLine, []string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		var f *os.File
		if f, err = os.Open(path + ".gz"); err != nil {
			return nil, nil, err
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, nil, err
		}
		if text, err = io.ReadAll(z); err != nil {
			return nil, nil, err
		}
	} else if err != nil {
		return nil, nil, err
	}
	h, records, err := ReadIndex(path + ".idx")
	made := int64(0)
	if err != nil {
		records = nil
	} else {
		made = h.Made.UnixNano()
	}
	first := modified(path).UnixNano() // of a file without any time
	last := *key
	for _, r := range slices.Backward(records) {
		if !r.Wall.IsZero() {
			first, last = r.Wall.UnixNano(), max(last, r.Wall.UnixNano())
		}
	}
	timeless := last == *key
	var runs []string
	for _, r := range records {
		runs = append(runs, r.Run)
	}
	var lines []dumbLine
	for at := 0; at < len(text); {
		const grid = MaxLine / 2
		limit := (at+grid-1)/grid*grid + grid
		end, cut := len(text), rotated
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end, cut = at+i+1, false
		}
		if end > limit {
			end, cut = limit, true
		}
		l := dumbLine{Line: Line{Stream: stream, Text: bytes.TrimSuffix(text[at:end], []byte("\n")), Cut: cut, File: made, End: int64(end)}}
		for i, r := range records {
			stop := int64(len(text))
			if i+1 < len(records) {
				stop = records[i+1].Offset
			}
			if r.Length > 0 {
				stop = min(stop, r.Offset+r.Length)
			}
			if int64(at) < r.Offset {
				break
			}
			if !r.Wall.IsZero() {
				*key = r.Wall.UnixNano()
				if int64(at) < stop {
					l.Run, l.Stream, l.Time = r.Run, r.Stream, r.Wall
				}
			}
		}
		l.key, l.young = *key, *key
		if l.key == 0 || timeless {
			l.young = first
		}
		lines = append(lines, l)
		at = end
	}
	*key = last
	return lines, runs, nil
}

// modified is when the log was written last.
func modified(path string) time.Time {
	fi, err := os.Stat(path)
	if err != nil {
		fi, err = os.Stat(path + ".gz")
	}
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

package logs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestIndexTrickle: a chatty trickle does not make an index as large as the log.
func TestIndexTrickle(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	began := time.Now()
	c := reexec(t, "writer", "LOGS_NAME=run1", "LOGS_LINES=400", "LOGS_PAUSE=1ms")
	c.Stdout = p.Stdout
	in, err := c.StdinPipe()
	must(t, err)
	must(t, c.Start())
	must(t, c.Wait())
	in.Close()
	took := time.Since(began)
	l.end("run1", p)
	_, records, err := ReadIndex(filepath.Join(l.log(), "a/0.log.idx"))
	must(t, err)
	if most := int(took/segmentTime) + 2; len(records) > most || len(records) < 2 {
		t.Errorf("%d records in %v", len(records), took)
	}
	if n := covered(records); n != int64(len(l.read("a/0.log"))) {
		t.Errorf("the index covers %d bytes", n)
	}
	for i, r := range records {
		if r.Run != "run1" || r.Stream != streamOut || r.Wall.Before(began.Add(-time.Second)) || r.Wall.After(time.Now()) || r.Boot == 0 {
			t.Errorf("record %+v", r)
		}
		if i > 0 && (r.Wall.Before(records[i-1].Wall) || r.Offset <= records[i-1].Offset) {
			t.Errorf("record %d is out of order", i)
		}
	}
}

// TestIndexMismatch: an index of another file, or none at all, is begun anew.
func TestIndexMismatch(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":        os.Remove,
		"garbage":     func(p string) error { return os.WriteFile(p, []byte("garbage"), 0o640) },
		"other inode": func(p string) error { h := Header{Inode: 1}; return os.WriteFile(p, h.encode(), 0o640) },
		"half a record": func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return os.WriteFile(p, b[:len(b)-20], 0o640)
		},
		"beyond the end": func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			r := Record{Offset: 1 << 40, Stream: streamOut, Run: "x"}
			b = append(b, make([]byte, recordSize)...)
			r.encode(b[len(b)-recordSize:])
			return os.WriteFile(p, b, 0o640)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			p := l.prepare("run1", spec("a", 0))
			write(t, p.Stdout, "one\n")
			l.end("run1", p)
			path := filepath.Join(l.log(), "a/0.log.idx")
			must(t, spoil(path))
			p = l.prepare("run2", spec("a", 0))
			write(t, p.Stdout, "two\n")
			l.end("run2", p)
			if got := l.read("a/0.log"); got != "one\ntwo\n" {
				t.Errorf("the log has %q", got)
			}
			_, records, err := ReadIndex(path)
			must(t, err)
			last := records[len(records)-1]
			if last.Run != "run2" || last.Offset != 4 || last.Length != 4 {
				t.Errorf("records %+v", records)
			}
		})
	}
}

func TestRecordRoundTrip(t *testing.T) {
	r := Record{Offset: 1 << 41, Length: 70000, Wall: time.Unix(1700000000, 5), Boot: 99 * time.Hour, Run: strings.Repeat("v", 32), Stream: streamErr}
	var b [recordSize]byte
	r.encode(b[:])
	if got, err := DecodeRecord(b[:]); err != nil || got != r {
		t.Errorf("%+v, %v; want %+v", got, err, r)
	}
	h := Header{Inode: 1, Packed: 2, Made: time.Unix(3, 4), Before: time.Unix(5, 6)}
	if got, err := DecodeHeader(h.encode()); err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecodeIndex(f *testing.F) {
	h := Header{Inode: 7, Made: time.Unix(1, 0)}
	var b [recordSize]byte
	(&Record{Offset: 5, Run: "run1", Stream: streamOut, Wall: time.Unix(1, 0)}).encode(b[:])
	f.Add(h.encode())
	f.Add(b[:])
	f.Add([]byte("short"))
	f.Add(bytes.Repeat([]byte{0xff}, recordSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		DecodeHeader(data)
		r, err := DecodeRecord(data)
		if err != nil {
			return
		}
		if r.Offset < 0 || r.Length < 0 || len(r.Run) > 32 {
			t.Fatalf("decoded %+v", r)
		}
		var again [recordSize]byte
		r.encode(again[:])
		if back, err := DecodeRecord(again[:]); err != nil || back != r {
			t.Fatalf("%+v became %+v, %v", r, back, err)
		}
	})
}

// FuzzNotes: whatever lies in notes/, it is either notes or set aside.
func FuzzNotes(f *testing.F) {
	f.Add([]byte("short"))
	f.Add(make([]byte, noteSize*noteSlots))
	dir := f.TempDir()
	t, err := openNotes(dir)
	must(f, err)
	n, err := t.alloc("run1", streamOut)
	must(f, err)
	n.begin(1, 0, 2, 3, 4)
	t.close()
	good, err := os.ReadFile(filepath.Join(dir, "000"))
	must(f, err)
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "000")
		must(t, os.WriteFile(path, data, 0o600))
		table, err := openNotes(dir)
		must(t, err)
		defer table.close()
		if _, err := os.Stat(path + ".broken"); err == nil && checkNotes(data) == nil {
			t.Fatal("good notes were set aside")
		}
		for key, n := range table.used {
			if !validRun.MatchString(key.run) || !n.valid() {
				t.Fatalf("took %q for a note", key.run)
			}
		}
		table.settle(1, 2, 3)
		if n, err := table.alloc("another", streamErr); err != nil || table.find("another", streamErr) != n {
			t.Fatalf("no note in such a table: %v", err)
		}
	})
}

// TestManyNotes: the table grows, is found again and gives slots back.
func TestManyNotes(t *testing.T) {
	dir := t.TempDir()
	table, err := openNotes(dir)
	must(t, err)
	name := func(i int) string {
		return "r" + strings.Repeat("0", i%20) + string(rune('a'+i%26)) + strings.Repeat("z", i/520)
	}
	runs := map[string]bool{}
	for i := range 1200 {
		runs[name(i)] = true
	}
	for run := range runs {
		n, err := table.alloc(run, streamOut)
		must(t, err)
		n.begin(1, 0, 2, 3, 4)
	}
	table.close()
	table, err = openNotes(dir)
	must(t, err)
	defer table.close()
	if len(table.used) != len(runs) {
		t.Fatalf("%d notes of %d", len(table.used), len(runs))
	}
	for run := range runs {
		n := table.find(run, streamOut)
		if n == nil || n.phase != phaseWriting || n.start != 3 || n.length != 4 {
			t.Fatalf("note of %s: %+v", run, n)
		}
		table.free(n)
	}
	if len(table.used) != 0 {
		t.Errorf("%d notes are left", len(table.used))
	}
}

package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func openJournal(t testing.TB, d *Dir) (*Journal, []string) {
	t.Helper()
	j, entries, err := d.Journal("exits")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	texts := []string{}
	for _, e := range entries {
		texts = append(texts, string(e))
	}
	return j, texts
}

func wantEntries(t testing.TB, d *Dir, want ...string) *Journal {
	t.Helper()
	j, got := openJournal(t, d)
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("%q; want %q (%v)", got, want, d.Damage())
	}
	return j
}

func keep(t testing.TB, j *Journal, entries ...string) {
	t.Helper()
	for _, e := range entries {
		if err := j.Append([]byte(e)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournalKeepsWhatIsNotSettled(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "records"))
	j := wantEntries(t, d)
	keep(t, j, "a", "b", "c")
	j.Settle(2)
	j = wantEntries(t, d, "a", "b", "c") // until the last one is settled
	keep(t, j, "d")
	j.Settle(3)
	j = wantEntries(t, d, "a", "b", "c", "d")
	j.Settle(4)
	j = wantEntries(t, d)
	keep(t, j, "e")
	j = wantEntries(t, d, "e") // and none of those that lay behind it
	j.Settle(1)
	keep(t, j, strings.Repeat("f", 13)) // as long as what was there, so that they would fit on
	wantEntries(t, d, strings.Repeat("f", 13))
	var none *Journal
	if none.Settle(1); none.Append(nil) != nil || none.Lost() || none.Close() != nil || none.Move(d) != nil {
		t.Error("no journal is not quiet")
	}
}

// TestJournalCutOff: whatever instant superd dies at, what was appended before is
// there, and nothing else.
func TestJournalCutOff(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "records"))
	path := filepath.Join(d.Path(), "exits"+journalSuffix)
	j := wantEntries(t, d)
	keep(t, j, "old one", "old two", "old three")
	j.Settle(3)
	keep(t, j, "first!!")
	before := readFile(t, path)
	keep(t, j, "second!")
	after := readFile(t, path)
	first, last := difference(before, after)
	for cut := first; cut < last; cut++ {
		writeFile(t, path, append(bytes.Clone(after[:cut]), before[cut:]...))
		j := wantEntries(t, d, "first!!")
		keep(t, j, "next")
		wantEntries(t, d, "first!!", "next")
	}
	// When it is emptied.
	writeFile(t, path, after)
	j = wantEntries(t, d, "first!!", "second!")
	j.Settle(2)
	empty := readFile(t, path)
	first, last = difference(after, empty)
	for cut := first; cut <= last; cut++ {
		writeFile(t, path, append(bytes.Clone(empty[:cut]), after[cut:]...))
		j, got := openJournal(t, d)
		if len(got) != 0 && len(got) != 2 {
			t.Errorf("cut at %d: %q", cut, got)
		}
		keep(t, j, "next")
		wantEntries(t, d, append(got, "next")...)
	}
}

func TestJournalGrows(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	dir := smallDisk(t, 4<<20)
	d := openDir(t, filepath.Join(dir, "records"))
	j := wantEntries(t, d)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i, strings.Repeat("x", 30<<10)))
	}
	keep(t, j, want...)
	j = wantEntries(t, d, want...)
	// What has room has it although the disk is full; what has not is refused.
	release := fill(t, dir)
	n := 0
	for ; j.Append([]byte(want[0])) == nil; n++ {
		want = append(want, want[0])
	}
	if n == 0 {
		t.Error("there was no room beforehand")
	}
	release()
	j = wantEntries(t, d, want...)
	keep(t, j, "z")
	j.Settle(len(want) + 1)
	j = wantEntries(t, d)
	if st, err := os.Stat(filepath.Join(d.Path(), "exits"+journalSuffix)); err != nil || st.Size() != journalRoom {
		t.Errorf("%v, %v", st.Size(), err)
	}
	for _, bad := range []int{0, maxEntry + 1} {
		if j.Append(make([]byte, bad)) == nil {
			t.Errorf("an entry of %d bytes was taken", bad)
		}
	}
}

func TestJournalSetsAside(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "records"))
	path := filepath.Join(d.Path(), "exits"+journalSuffix)
	j := wantEntries(t, d)
	keep(t, j, "a")
	whole := readFile(t, path)
	later := bytes.Clone(whole)
	copy(later, encodeJournalHeader())
	later[16] = 9
	for name, content := range map[string][]byte{"empty": nil, "short": whole[:20], "foreign": bytes.Repeat([]byte("x"), 100), "later": later} {
		os.Remove(path)
		writeFile(t, path, content)
		n := len(d.Damage())
		j = wantEntries(t, d)
		if len(d.Damage()) != n+1 {
			t.Errorf("%s: %q", name, d.Damage())
		}
		keep(t, j, "b")
		wantEntries(t, d, "b")
	}
	os.Remove(path)
	if err := os.Symlink("/etc/passwd", path); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, d)
}

// TestJournalMoves: somebody deletes the folder while superd lives.
func TestJournalMoves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	d := openDir(t, path)
	j := wantEntries(t, d)
	keep(t, j, "a", "b")
	if j.Lost() {
		t.Error("it is lost")
	}
	os.RemoveAll(path)
	if !j.Lost() {
		t.Error("it is not lost")
	}
	keep(t, j, "c")
	d = openDir(t, path)
	if err := j.Move(d); err != nil || j.Lost() {
		t.Fatal(err)
	}
	keep(t, j, "d")
	wantEntries(t, d, "a", "b", "c", "d")
	j.Settle(4)
	wantEntries(t, d)
}

// TestJournalModel compares a journal with a list through appending, settling and
// being opened again.
func TestJournalModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		base, err := os.MkdirTemp("", "journal")
		must(rt, err)
		defer os.RemoveAll(base)
		d, err := OpenDir(base + "/records")
		must(rt, err)
		defer d.Close()
		var held []string
		open := 0
		j, _, err := d.Journal("exits")
		must(rt, err)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				text := rapid.StringN(1, 40, 40).Draw(rt, "text")
				must(rt, j.Append([]byte(text)))
				held, open = append(held, text), open+1
			},
			"settle": func(rt *rapid.T) {
				n := rapid.IntRange(0, open).Draw(rt, "n")
				j.Settle(n)
				if open -= n; open == 0 && n > 0 {
					held = nil
				}
			},
			"open": func(rt *rapid.T) {
				j.Close()
				var entries [][]byte
				j, entries, err = d.Journal("exits")
				must(rt, err)
				if got := string(bytes.Join(entries, []byte("|"))); got != strings.Join(held, "|") {
					rt.Fatalf("%q, want %q", got, held)
				}
				open = len(held)
			},
		})
		j.Close()
	})
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func openDir(t testing.TB, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func openTable(t testing.TB, d *Dir, slots, size int) *Table {
	t.Helper()
	table, err := d.Table("t", slots, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func wantSlot(t testing.TB, table *Table, slot int, want string) {
	t.Helper()
	got, ok, err := table.Get(slot)
	if err != nil || !ok || string(got) != want {
		t.Fatalf("slot %d: %q, %v, %v; want %q", slot, got, ok, err, want)
	}
}

func wantEmpty(t testing.TB, table *Table, slot int) {
	t.Helper()
	if got, ok, err := table.Get(slot); ok || err != nil {
		t.Fatalf("slot %d: %q, %v, %v; want nothing", slot, got, ok, err)
	}
}

func put(t testing.TB, table *Table, slot int, data string) {
	t.Helper()
	if err := table.Put(slot, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func TestTableKeepsAcrossOpening(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	table := openTable(t, d, 3, 16)
	put(t, table, 0, "one")
	put(t, table, 0, "two")
	put(t, table, 1, "")
	put(t, table, 2, "gone")
	if err := table.Clear(2); err != nil {
		t.Fatal(err)
	}
	check := func(table *Table) {
		t.Helper()
		wantSlot(t, table, 0, "two")
		wantSlot(t, table, 1, "")
		wantEmpty(t, table, 2)
	}
	check(table)
	table.Close()
	table = openTable(t, openDir(t, path), 0, 0)
	if table.Slots() != 3 || table.Size() != 16 {
		t.Fatalf("%d slots of %d bytes; a table never becomes smaller", table.Slots(), table.Size())
	}
	check(table)
	put(t, table, 0, "three")
	wantSlot(t, table, 0, "three")

	table = openTable(t, openDir(t, path), 8, 40)
	if table.Slots() != 8 || table.Size() != 40 {
		t.Fatalf("%d slots of %d bytes", table.Slots(), table.Size())
	}
	wantSlot(t, table, 0, "three")
	wantSlot(t, table, 1, "")
	wantEmpty(t, table, 2)
	put(t, table, 7, strings.Repeat("x", 40))
	wantSlot(t, table, 7, strings.Repeat("x", 40))
}

func TestTableFromNothing(t *testing.T) {
	d := openDir(t, t.TempDir())
	table := openTable(t, d, 0, 0)
	if table.Slots() != 1 || table.Size() != 1 {
		t.Errorf("%d slots of %d bytes; want the smallest", table.Slots(), table.Size())
	}
	if err := table.Grow(2, 8); err != nil {
		t.Fatal(err)
	}
	put(t, table, 1, "grown")
	wantSlot(t, table, 1, "grown")
}

func TestTableRefuses(t *testing.T) {
	d := openDir(t, t.TempDir())
	table := openTable(t, d, 2, 4)
	for name, err := range map[string]error{
		"slot -1":  table.Put(-1, nil),
		"slot 2":   table.Put(2, nil),
		"5 bytes":  table.Put(0, []byte("12345")),
		"clear 2":  table.Clear(2),
		"get of 2": func() error { _, _, err := table.Get(2); return err }(),
	} {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v; want ErrTooLarge", name, err)
		}
	}
	for _, name := range []string{"", ".x", "a/b", "..", "a b", strings.Repeat("x", 129)} {
		if _, err := d.Table(name, 1, 1); err == nil {
			t.Errorf("table name %q was accepted", name)
		}
		if err := d.PutFile(name, nil); err == nil {
			t.Errorf("record name %q was accepted", name)
		}
	}
	for _, g := range [][2]int{{maxSlots + 1, 1}, {1, maxSize + 1}, {maxSlots, maxSize}} {
		if _, err := d.Table("g", g[0], g[1]); err == nil {
			t.Errorf("%d slots of %d bytes were accepted", g[0], g[1])
		}
	}
	if err := table.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := table.Put(0, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("put after remove: %v", err)
	}
	if err := table.Grow(9, 9); !errors.Is(err, ErrClosed) {
		t.Errorf("grow after remove: %v", err)
	}
	if names, _ := d.Tables(); len(names) != 0 {
		t.Errorf("tables left: %v", names)
	}
}

// TestTableCrashInPut breaks off a Put after every number of bytes, and also lets
// the rest of them be garbage: Get must give what was there before, and once the
// last byte is written what is new; the next Put must then work.
func TestTableCrashInPut(t *testing.T) {
	for _, puts := range []int{0, 1, 2, 3} {
		path := t.TempDir()
		d := openDir(t, path)
		table := openTable(t, d, 2, 24)
		put(t, table, 1, "the neighbour")
		for i := range puts {
			put(t, table, 0, fmt.Sprint("value ", i))
		}
		file := filepath.Join(path, "t.table")
		before := readFile(t, file)
		put(t, table, 0, "the newest value")
		after := readFile(t, file)
		table.Close()
		first, last := difference(before, after)
		for cut := first; cut <= last; cut++ {
			for _, garbage := range []bool{false, true} {
				torn := slices.Concat(after[:cut], before[cut:])
				if garbage {
					for i := cut; i < last; i++ {
						torn[i] ^= 0x5a
					}
				}
				writeFile(t, file, torn)
				table := openTable(t, d, 2, 24)
				wantSlot(t, table, 1, "the neighbour")
				switch {
				case bytes.Equal(torn, after):
					wantSlot(t, table, 0, "the newest value")
				case puts == 0:
					wantEmpty(t, table, 0)
				default:
					wantSlot(t, table, 0, fmt.Sprint("value ", puts-1))
				}
				put(t, table, 0, "afterwards")
				wantSlot(t, table, 0, "afterwards")
				put(t, table, 0, "and again")
				wantSlot(t, table, 0, "and again")
				table.Close()
			}
		}
	}
}

// TestTableDamage flips every bit of a slot's two copies: one damaged copy is
// made good by the other, two damaged ones are an error and no wrong data.
func TestTableDamage(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	table := openTable(t, d, 1, 8)
	put(t, table, 0, "old")
	put(t, table, 0, "new")
	table.Close()
	file := filepath.Join(path, "t.table")
	whole := readFile(t, file)
	half := copyHeader + 8
	for i := range half * 8 {
		for which, want := range []string{"new", "old"} { // the first copy has the older value
			bad := slices.Clone(whole)
			bad[tableHeader+which*half+i/8] ^= 1 << (i % 8)
			writeFile(t, file, bad)
			table := openTable(t, d, 1, 8)
			if i/8 < copyHeader+3 {
				wantSlot(t, table, 0, want)
			} else {
				wantSlot(t, table, 0, "new") // beyond the data nothing is read
			}
			table.Close()
		}
	}
	bad := slices.Clone(whole)
	bad[tableHeader+copyHeader] ^= 1
	bad[tableHeader+half+copyHeader] ^= 1
	writeFile(t, file, bad)
	table = openTable(t, d, 1, 8)
	if got, ok, err := table.Get(0); !errors.Is(err, ErrDamaged) || ok {
		t.Fatalf("%q, %v, %v; want ErrDamaged", got, ok, err)
	}
	put(t, table, 0, "mended")
	wantSlot(t, table, 0, "mended")
	if len(d.Damage()) != 0 {
		t.Errorf("damage: %v; a slot is no reason to set the file aside", d.Damage())
	}
}

// TestTableSetsAside: a file that is no table any more is kept under another name
// and does not stop anything.
func TestTableSetsAside(t *testing.T) {
	d := openDir(t, t.TempDir())
	table := openTable(t, d, 2, 8)
	put(t, table, 0, "x")
	table.Close()
	file := filepath.Join(d.Path(), "t.table")
	whole := readFile(t, file)
	cases := map[string]func(){
		"empty":     func() { writeFile(t, file, nil) },
		"short":     func() { writeFile(t, file, whole[:len(whole)-1]) },
		"text":      func() { writeFile(t, file, bytes.Repeat([]byte("hello "), 100)) },
		"folder":    func() { os.Mkdir(file, 0o700) },
		"symlink":   func() { os.Symlink("/etc/passwd", file) },
		"other":     func() { b := slices.Clone(whole); b[16] = 9; writeFile(t, file, b) },
		"bad sum":   func() { b := slices.Clone(whole); b[20] ^= 1; writeFile(t, file, b) },
		"half head": func() { writeFile(t, file, whole[:30]) },
	}
	n := 0
	for name, damage := range cases {
		os.RemoveAll(file)
		os.RemoveAll(file + ".broken")
		damage()
		n++
		table, err := d.Table("t", 2, 8)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantEmpty(t, table, 0)
		put(t, table, 0, "y")
		table.Close()
		if got := d.Damage(); len(got) != n || !strings.Contains(got[n-1], "set aside") {
			t.Errorf("%s: damage %q", name, got)
		}
		if _, err := os.Lstat(file + ".broken"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTableCrashInGrow: the new file is complete before it has the name, so the
// only traces of a crash are an unfinished file, or none.
func TestTableCrashInGrow(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	table := openTable(t, d, 2, 8)
	put(t, table, 1, "kept")
	unfinished := filepath.Join(path, "t.table.new")
	writeFile(t, unfinished, []byte("superd table"))
	if err := table.Grow(4, 8); err != nil {
		t.Fatal(err)
	}
	wantSlot(t, table, 1, "kept")
	writeFile(t, unfinished, []byte("superd table"))
	openDir(t, path)
	if _, err := os.Stat(unfinished); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished file is still there: %v", err)
	}
	wantSlot(t, openTable(t, d, 1, 1), 1, "kept")
}

// TestRecords is a model test: whatever is done, in whatever order, with
// reopening at any point, tables and records behave as maps do.
func TestRecords(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		path, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		m := &model{slots: map[int]string{}, files: map[string]string{}}
		m.open(rt, path, 1, 4)
		defer func() { m.table.Close(); m.dir.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				slot := rapid.IntRange(0, m.table.Slots()-1).Draw(rt, "slot")
				data := string(rapid.SliceOfN(rapid.Byte(), 0, m.table.Size()).Draw(rt, "data"))
				must(rt, m.table.Put(slot, []byte(data)))
				m.slots[slot] = data
			},
			"clear": func(rt *rapid.T) {
				slot := rapid.IntRange(0, m.table.Slots()-1).Draw(rt, "slot")
				must(rt, m.table.Clear(slot))
				delete(m.slots, slot)
			},
			"grow": func(rt *rapid.T) {
				must(rt, m.table.Grow(rapid.IntRange(1, 12).Draw(rt, "slots"), rapid.IntRange(1, 40).Draw(rt, "size")))
			},
			"file": func(rt *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c.new"}).Draw(rt, "name")
				data := string(rapid.SliceOfN(rapid.Byte(), 0, 1500).Draw(rt, "data"))
				must(rt, m.dir.PutFile(name, []byte(data)))
				m.files[name] = data
			},
			"remove": func(rt *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c.d"}).Draw(rt, "name")
				must(rt, m.dir.RemoveFile(name))
				delete(m.files, name)
			},
			"crash": func(rt *rapid.T) {
				m.table.Close()
				m.dir.Close()
				m.open(rt, path, 1, 1)
			},
			"": m.check,
		})
	})
}

type model struct {
	dir   *Dir
	table *Table
	slots map[int]string
	files map[string]string
}

func (m *model) open(rt *rapid.T, path string, slots, size int) {
	var err error
	m.dir, err = OpenDir(path)
	must(rt, err)
	m.table, err = m.dir.Table("t", slots, size)
	must(rt, err)
}

func (m *model) check(rt *rapid.T) {
	for slot := range m.table.Slots() {
		got, ok, err := m.table.Get(slot)
		want, has := m.slots[slot]
		if err != nil || ok != has || string(got) != want {
			rt.Fatalf("slot %d: %q, %v, %v; want %q, %v", slot, got, ok, err, want, has)
		}
	}
	names, err := m.dir.Files()
	must(rt, err)
	if len(names) != len(m.files) {
		rt.Fatalf("records %v; want %v", names, m.files)
	}
	for name, want := range m.files {
		got, ok, err := m.dir.GetFile(name)
		if err != nil || !ok || string(got) != want {
			rt.Fatalf("record %s: %q, %v, %v; want %q", name, got, ok, err, want)
		}
	}
	if _, ok, err := m.dir.GetFile("nobody"); ok || err != nil {
		rt.Fatalf("a record that is not there: %v, %v", ok, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	d := openDir(t, t.TempDir())
	table := openTable(t, d, 4, 32)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			name, slot := fmt.Sprint("r", g), g%4
			for i := range 50 {
				data := []byte(fmt.Sprint("goroutine ", g, " round ", i))
				if err := errors.Join(table.Put(slot, data), d.PutFile(name, data)); err != nil {
					t.Error(err)
				}
				if got, ok, err := d.GetFile(name); !ok || err != nil || !bytes.Equal(got, data) {
					t.Errorf("%q, %v, %v", got, ok, err)
				}
				if got, ok, err := table.Get(slot); !ok || err != nil || !bytes.HasPrefix(got, []byte("goroutine ")) {
					t.Errorf("%q, %v, %v", got, ok, err)
				}
				if i == 25 {
					if err := table.Grow(4+g, 32+g); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestOpenDir(t *testing.T) {
	base := t.TempDir()
	link := filepath.Join(base, "link")
	os.Symlink(base, link)
	for _, path := range []string{link, filepath.Join(base, "no", "parent")} {
		if d, err := OpenDir(path); err == nil {
			d.Close()
			t.Errorf("%s was accepted", path)
		}
	}
	path := filepath.Join(base, "records")
	d := openDir(t, path)
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", st.Mode())
	}
	if d.Lost() {
		t.Error("lost at once")
	}
	os.Rename(path, path+".old")
	if !d.Lost() {
		t.Error("not lost although its name is gone")
	}
	os.Mkdir(path, 0o700)
	if !d.Lost() {
		t.Error("not lost although its name is another folder's")
	}
	if os.Geteuid() == 0 {
		foreign := filepath.Join(base, "foreign")
		os.Mkdir(foreign, 0o700)
		os.Chown(foreign, 65534, 65534)
		if d, err := OpenDir(foreign); err == nil {
			d.Close()
			t.Error("another user's folder was accepted")
		}
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path, 0); !errors.Is(err, ErrLocked) {
		t.Fatalf("second: %v", err)
	}
	if _, err := Lock(path, 30*time.Millisecond); !errors.Is(err, ErrLocked) {
		t.Fatalf("second, waiting: %v", err)
	}
	got := make(chan error)
	go func() {
		f, err := Lock(path, 30*time.Second)
		if err == nil {
			f.Close()
		}
		got <- err
	}()
	first.Close()
	if err := <-got; err != nil {
		t.Fatalf("after it was released: %v", err)
	}
	link := path + ".link"
	os.Symlink(path, link)
	if f, err := Lock(link, 0); err == nil {
		f.Close()
		t.Error("a symlink was followed")
	}
}

// TestLockOfRemovedFile: whoever waits for a file that is removed meanwhile must
// not end up with a lock that nobody else can see.
func TestLockOfRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *os.File)
	go func() {
		f, err := Lock(path, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		got <- f
	}()
	os.Remove(path)
	first.Close()
	second := <-got
	defer second.Close()
	if !SameFile(path, second) {
		t.Error("the lock is on a file that has no name")
	}
	if _, err := Lock(path, 0); !errors.Is(err, ErrLocked) {
		t.Errorf("third: %v", err)
	}
}

func FuzzDecodeCopy(f *testing.F) {
	buf := make([]byte, copyHeader+8)
	f.Add(bytes.Clone(encodeCopy(buf, 3, recordCopy{sequence: 7, data: []byte("data")})), 3)
	f.Add(bytes.Clone(encodeCopy(buf, 0, recordCopy{sequence: 1, cleared: true})), 0)
	f.Add(make([]byte, copyHeader), 0)
	f.Fuzz(func(t *testing.T, b []byte, slot int) {
		slot &= maxSlots - 1
		c, err := decodeCopy(b, slot)
		if err != nil {
			return
		}
		again := encodeCopy(make([]byte, copyHeader+len(c.data)), slot, c)
		if !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x was taken for %+v, which is %x", b, c, again)
		}
		if _, which, err := newest(append(bytes.Clone(again), make([]byte, len(again))...), slot); which != 0 || err != nil {
			t.Errorf("newest of it and nothing: %d, %v", which, err)
		}
	})
}

func FuzzTableFile(f *testing.F) {
	d := openDir(f, f.TempDir())
	table := openTable(f, d, 2, 8)
	put(f, table, 0, "a")
	put(f, table, 0, "b")
	put(f, table, 1, "c")
	f.Add(readFile(f, filepath.Join(d.Path(), "t.table")))
	f.Add([]byte(tableMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if slots, size, err := decodeTableHeader(b); err == nil && tableLength(slots, size) > 1<<16 {
			return // a large table is legal, and slow to make
		}
		d := openDir(t, t.TempDir())
		writeFile(t, filepath.Join(d.Path(), "t.table"), b)
		table := openTable(t, d, 1, 1)
		for slot := range table.Slots() {
			table.Get(slot)
			put(t, table, slot, "z")
			wantSlot(t, table, slot, "z")
		}
	})
}

func must(rt *rapid.T, err error) {
	rt.Helper()
	if err != nil {
		rt.Fatal(err)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// difference is the range of bytes in which a and b differ.
func difference(a, b []byte) (first, last int) {
	first = len(a)
	for i := range a {
		if a[i] != b[i] {
			first, last = min(first, i), i+1
		}
	}
	return first, last
}

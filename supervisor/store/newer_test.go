package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// filesIn reads all files of a folder.
func filesIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = data
	}
	return files
}

// TestNewerState: a state of a newer superd's is refused, and nothing in its folder
// is another one than before.
func TestNewerState(t *testing.T) {
	dir := t.TempDir()
	stateVersion = "2"
	s := openState(t, dir)
	s.Put("pool", "mailers", []byte("as version 2 has it"))
	s.Close()
	stateVersion = "1"
	before := filesIn(t, dir)
	for range maxStarts + 2 {
		s, err := OpenState(dir)
		if !errors.Is(err, ErrNewer) || s != nil {
			t.Fatalf("it is opened: %v", err)
		}
	}
	after := filesIn(t, dir)
	if len(after) != len(before) {
		t.Errorf("the folder has %d files, and had %d", len(after), len(before))
	}
	for name, data := range before {
		if !bytes.Equal(after[name], data) {
			t.Errorf("%s has changed", name)
		}
	}
	stateVersion = "2"
	defer func() { stateVersion = "1" }()
	s = openState(t, dir)
	wantValue(t, s, "pool", "mailers", "as version 2 has it")
	s.Close()
}

// TestNewerRecords: of each kind of file in the folder of records it is seen that a
// newer superd has written it, before the folder is opened.
func TestNewerRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "records")
	if err := CheckVersions(dir); err != nil {
		t.Error(err)
	}
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	table, err := d.Table("pool", 2, 100)
	if err != nil {
		t.Fatal(err)
	}
	table.Close()
	if err := d.PutFile("superd", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	j, _, err := d.Journal("exits")
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	d.Close()
	if err := CheckVersions(dir); err != nil {
		t.Errorf("own files: %v", err)
	}
	files := filesIn(t, dir)
	if len(files) != 3 {
		t.Fatalf("there are %d files", len(files))
	}
	for name, data := range files {
		summed := tableSummed
		if string(data[:16]) == journalMagic {
			summed = journalSummed
		}
		path, newer := filepath.Join(dir, name), slices.Clone(data)
		binary.LittleEndian.PutUint32(newer[16:], 2)
		if err := os.WriteFile(path, newer, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckVersions(dir); err != nil {
			t.Errorf("%s is damaged, not newer: %v", name, err)
		}
		binary.LittleEndian.PutUint32(newer[summed:], crc32.Checksum(newer[:summed], castagnoli))
		if err := os.WriteFile(path, newer, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckVersions(dir); !errors.Is(err, ErrNewer) {
			t.Errorf("%s of version 2: %v", name, err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

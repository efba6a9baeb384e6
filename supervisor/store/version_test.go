package store

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestStateOfVersion1 reads a file that the first superd has written: whatever the
// format becomes, what is in such files must not be lost.
func TestStateOfVersion1(t *testing.T) {
	dir := unpackState(t, "testdata/state-1.db.gz")
	s := openState(t, dir)
	wantDegraded(t, s, "")
	wantValue(t, s, "pool", "mailers", `{"Name":"mailers","Desired":"down"}`)
	wantValue(t, s, "superd", "seq", "41000")
	// It can be written on, and read again.
	s.Put("superd", "seq", []byte("42000"))
	s.Close()
	s = openState(t, dir)
	wantDegraded(t, s, "")
	wantValue(t, s, "pool", "mailers", `{"Name":"mailers","Desired":"down"}`)
	wantValue(t, s, "superd", "seq", "42000")
	// It has no histories, and takes some.
	wantHistory(t, s, "mailers")
	s.Append("mailers", Entry{ID: "r1", Data: []byte("{}")})
	s.Close()
	s = openState(t, dir)
	wantDegraded(t, s, "")
	wantHistory(t, s, "mailers", "{}")
}

// TestHistoriesOfVersion1 reads a file of the first superd that had histories.
func TestHistoriesOfVersion1(t *testing.T) {
	dir := unpackState(t, "testdata/state-1-history.db.gz")
	s := openState(t, dir)
	wantDegraded(t, s, "")
	wantValue(t, s, "superd", "seq", "41000")
	wantHistory(t, s, "mailers", `{"run":"r1","code":1}`, `{"run":"r2","signal":"KILL"}`)
	s.Append("mailers", Entry{ID: "r3", Data: []byte("{}")})
	s.Close()
	s = openState(t, dir)
	wantHistory(t, s, "mailers", `{"run":"r1","code":1}`, `{"run":"r2","signal":"KILL"}`, "{}")
}

// unpackState puts a state file into a folder of its own.
func unpackState(t *testing.T, name string) string {
	t.Helper()
	packed, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, stateFile), data)
	return dir
}

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
	packed, err := os.Open("testdata/state-1.db.gz")
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
	if err := os.WriteFile(filepath.Join(dir, stateFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
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
}

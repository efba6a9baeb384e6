package store

import (
	"testing"
)

// TestStateCopy: a copy is a state of its own.
func TestStateCopy(t *testing.T) {
	s := openState(t, t.TempDir())
	s.Put("b", "kept", []byte("old"))
	flush(t, s)
	s.Put("b", "kept", []byte("new")) // on disk or not
	s.Put("c", "other", nil)
	s.Put("b", "gone", nil)
	s.Delete("b", "gone")
	dir := t.TempDir() + "/copy"
	if err := s.Copy(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Copy(dir); err == nil {
		t.Error("it is there already")
	}
	c := openState(t, dir)
	wantDegraded(t, c, "")
	wantValue(t, c, "b", "kept", "new")
	wantValue(t, c, "c", "other", "")
	if _, ok := c.Get("b", "gone"); ok {
		t.Error("what was deleted is in the copy")
	}
	c.Put("b", "kept", []byte("the copy's"))
	flush(t, c)
	wantValue(t, s, "b", "kept", "new")
}

func TestCopyFolder(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()+"/copy"
	d, err := OpenDir(from + "/records")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.PutFile("file", []byte("data")); err != nil {
		t.Fatal(err)
	}
	table, err := d.Table("table", 3, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := table.Put(2, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if err := CopyFolder(from+"/records", to); err != nil {
		t.Fatal(err)
	}
	c, err := OpenDir(to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if data, ok, err := c.GetFile("file"); string(data) != "data" || !ok || err != nil {
		t.Errorf("%q %v %v", data, ok, err)
	}
	copied, err := c.Table("table", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if data, ok, err := copied.Get(2); string(data) != "two" || !ok || err != nil {
		t.Errorf("%q %v %v", data, ok, err)
	}
	if err := CopyFolder(from+"/nowhere", t.TempDir()+"/copy"); err == nil {
		t.Error("there is nothing to copy")
	}
}

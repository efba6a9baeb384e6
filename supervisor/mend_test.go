package supervisor

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestDoors: whoever accepts from a door goes on when the socket behind it is
// replaced, and ends when it is closed.
func TestDoors(t *testing.T) {
	dir := t.TempDir()
	bind := func(name string) *net.UnixListener {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return l.(*net.UnixListener)
	}
	var d doors
	first := bind("a")
	one := d.open(first)
	served := make(chan error)
	go func() {
		for {
			conn, err := one.Accept()
			if err != nil {
				served <- err
				return
			}
			conn.Write([]byte("x"))
			conn.Close()
		}
	}()
	call := func(name string) {
		t.Helper()
		conn, err := net.Dial("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		if data, err := io.ReadAll(conn); err != nil || string(data) != "x" {
			t.Fatalf("socket %s answers %q, %v", name, data, err)
		}
	}
	call("a")
	for _, name := range []string{"b", "c"} {
		next := bind(name)
		if err := d.replace(next); err != nil {
			t.Fatal(err)
		}
		next.SetUnlinkOnClose(false)
		next.Close() // the door has a descriptor of its own
		call(name)
	}
	one.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ends with %v", err)
	}
	if err := d.replace(bind("d")); err != nil {
		t.Error(err)
	}
}

// TestVigil: one call for all that is deleted at a time, and none for what is made
// and written.
func TestVigil(t *testing.T) {
	v, err := newVigil()
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	dir := filepath.Join(t.TempDir(), "run")
	called := make(chan struct{}, 100)
	watch := func() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := v.watch(dir, func() { called <- struct{}{} }); err != nil {
			t.Fatal(err)
		}
	}
	wait := func(what string) {
		t.Helper()
		select {
		case <-called:
		case <-time.After(30 * time.Second):
			t.Fatal("not noticed: " + what)
		}
	}
	touch := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	watch()
	touch("a")
	touch("b.new")
	os.Rename(filepath.Join(dir, "b.new"), filepath.Join(dir, "c.new"))
	os.Remove(filepath.Join(dir, "a"))
	wait("a file")
	if len(called) > 0 {
		t.Error("called for what was made")
	}
	os.RemoveAll(dir)
	wait("the folder")
	watch() // the new one
	touch("a")
	os.Remove(filepath.Join(dir, "a"))
	wait("a file in the new folder")
	os.Rename(dir, dir+"-away")
	wait("the folder was moved")
	if err := v.watch(dir, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

package store

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2) from linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// TestHangingStateFolder freezes the disk of the state folder: whoever writes to
// it hangs, beyond the reach of any signal. Nobody but the writer may.
func TestHangingStateFolder(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	defer func(load, close time.Duration) { loadPatience, closePatience = load, close }(loadPatience, closePatience)
	loadPatience, closePatience = 100*time.Millisecond, 100*time.Millisecond

	base := t.TempDir()
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "disk")
	os.Mkdir(dir, 0o700)
	for _, args := range [][]string{
		{"truncate", "-s", "16M", image},
		{"mke2fs", "-q", "-t", "ext4", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("cannot mount a disk to freeze here: %v: %v\n%s", args, err, out)
		}
	}
	disk, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	freeze := func(request uint) {
		if err := unix.IoctlSetInt(int(disk.Fd()), request, 0); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		disk.Close()
		unix.Unmount(dir, unix.MNT_DETACH)
	})

	state := filepath.Join(dir, "state")
	s := openState(t, state)
	s.Put("b", "old", []byte("v"))
	flush(t, s)

	freeze(fiFreeze)
	frozen := true
	defer func() {
		if frozen {
			freeze(fiThaw)
		}
	}()
	s.Put("b", "new", []byte("v")) // returns although the writer hangs
	s.Put("b", "newer", []byte("v"))
	wantValue(t, s, "b", "new", "v")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush: %v", err)
	}
	if err := s.Close(); err == nil {
		t.Error("close did not say that something is lost")
	}

	// A superd that starts on such a disk comes up without it.
	fresh, err := OpenState(filepath.Join(dir, "another"))
	if err != nil {
		t.Fatal(err)
	}
	wantDegraded(t, fresh, "does not answer")
	fresh.Put("b", "k", []byte("v"))
	wantValue(t, fresh, "b", "k", "v")

	freeze(fiThaw)
	frozen = false
	flush(t, fresh)
	wantDegraded(t, fresh, "")
	fresh.Close()
	<-s.ended
	s = openState(t, state)
	for _, key := range []string{"old", "new", "newer"} {
		wantValue(t, s, "b", key, "v")
	}
	s.Close()
}

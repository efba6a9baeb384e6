package logs

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPause: nothing is written while the writers stand still, and nothing is lost.
func TestPause(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run", spec("pool", 0))
	write(t, p.Stdout, "before\n")
	eventually(t, 20*time.Second, func() bool { return l.read("pool/0.log") == "before\n" }, "not written")
	resume, err := l.m.Pause(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.Stdout, "meanwhile\n")
	// Whoever stands still takes nothing: what is posted behind it waits as well.
	passed := make(chan struct{})
	for _, d := range l.m.disks {
		d.post(func() { close(passed) })
	}
	select {
	case <-passed:
		t.Error("a writer does not stand still")
	case <-time.After(20 * time.Millisecond):
	}
	if got := l.read("pool/0.log"); got != "before\n" {
		t.Errorf("the log has %q", got)
	}
	resume()
	resume() // once more is nothing
	l.end("run", p)
	l.drained("run")
	if got := l.read("pool/0.log"); got != "before\nmeanwhile\n" {
		t.Errorf("the log has %q", got)
	}
}

// TestPauseGivesUp: a writer that hangs is not waited for, and the others go on.
func TestPauseGivesUp(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run", spec("pool", 0))
	write(t, p.Stdout, "before\n")
	eventually(t, 20*time.Second, func() bool { return l.read("pool/0.log") == "before\n" }, "not written")
	hang := make(chan struct{})
	for _, d := range l.m.disks {
		d.post(func() { <-hang })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.m.Pause(ctx); err == nil || !strings.Contains(err.Error(), "a disk does not answer") {
		t.Errorf("got %v", err)
	}
	close(hang)
	write(t, p.Stdout, "after\n")
	l.end("run", p)
	l.drained("run")
	if got := l.read("pool/0.log"); got != "before\nafter\n" {
		t.Errorf("the log has %q", got)
	}
}

func TestCheckNotes(t *testing.T) {
	l := newLab(t, nil)
	l.prepare("run", spec("pool", 0)).Close()
	if err := CheckNotes(l.run()); err != nil {
		t.Error(err)
	}
	files, _ := filepath.Glob(l.run() + "/notes/*")
	if len(files) == 0 {
		t.Fatal("there are no notes")
	}
	data, err := os.ReadFile(files[0])
	must(t, err)
	binary.NativeEndian.PutUint32(data[4:], noteVersion+1)
	other := t.TempDir()
	must(t, os.Mkdir(other+"/notes", 0o700))
	must(t, os.WriteFile(other+"/notes/000", data, 0o600))
	if err := CheckNotes(other); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "cannot go on from") {
		t.Errorf("notes of another version: %v", err)
	}
}

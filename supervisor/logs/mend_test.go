package logs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// mendOften deletes what superd has in its runtime folder, again and again.
func mendOften(m *Manager, dir string) {
	for range 20 {
		os.RemoveAll(filepath.Join(dir, "notes"))
		os.RemoveAll(filepath.Join(dir, "fifos"))
		if made, err := m.Mend(); err != nil || !slices.Equal(made, []string{"fifos", "notes"}) {
			panic(fmt.Sprint(made, " were made: ", err))
		}
	}
}

// TestMendUnderLoad: fifos/ and notes/ are deleted while lines flow, and superd is
// killed after that. No line may be lost, torn or doubled.
func TestMendUnderLoad(t *testing.T) {
	o := newOutlive(t)
	sp := spec("mailers", 0)
	sp.MaxSize = 0
	o.worker("run0", sp, "LOGS_BUFFER=0")
	for range 15 {
		m := o.manager(false, "LOGS_MEND=1")
		time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond) // the instant of the kill, not a wait
		m.Process.Kill()
		m.Wait()
	}
	want := o.finish()
	checkLines(t, []byte(o.l.read("mailers/0.log")), want)
}

// TestMend: what is there is left alone; what is gone is made again, and runs that
// are prepared afterwards find their place.
func TestMend(t *testing.T) {
	l := newLab(t, nil)
	if made, err := l.m.Mend(); err != nil || len(made) > 0 {
		t.Errorf("made %v, %v", made, err)
	}
	p := l.prepare("run1", spec("a", 0))
	must(t, os.RemoveAll(l.run()))
	if _, err := l.m.Mend(); err == nil {
		t.Error("no error, and no folder to mend it in")
	}
	must(t, os.Mkdir(l.run(), 0o755))
	if made, err := l.m.Mend(); err != nil || len(made) != 2 {
		t.Errorf("made %v, %v", made, err)
	}
	write(t, p.Stdout, "one\n")
	eventually(t, 30*time.Second, func() bool { return l.read("a/0.log") == "one\n" }, "not written")
	q := l.prepare("run2", spec("a", 1))
	write(t, q.Stdout, "two\n")
	eventually(t, 30*time.Second, func() bool { return l.read("a/1.log") == "two\n" }, "not written")
	p.Close()
	q.Close()
	// The notes have come along.
	l.m.Ended("run2")
	l.drained("run2")
	l.close()
	notes, err := openNotes(filepath.Join(l.run(), "notes"))
	must(t, err)
	defer notes.close()
	if n := notes.find("run1", streamOut); n == nil || n.bytes != 4 {
		t.Errorf("the note of run1 is %+v", n)
	}
}

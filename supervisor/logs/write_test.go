package logs

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/config"
)

// TestByteExact: what is printed is what is in the file, whatever the bytes.
func TestByteExact(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("mailers", 3)
	sp.MaxSize = 0
	p := l.prepare("run1", sp)
	data := make([]byte, 5<<20+17)
	rand.Read(data)
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 70000)
		if _, err := p.Stdout.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	eventually(t, 10*time.Second, func() bool { st, _ := l.m.Stats("run1"); return st.Bytes == int64(len(data)) }, "not all bytes are counted")
	p.Close()
	l.m.Ended("run1")
	l.drained("run1")
	if got := l.read("mailers/3.log"); got != string(data) {
		t.Errorf("the log has %d bytes, other ones than the %d that were printed", len(got), len(data))
	}
	if left, _ := os.ReadDir(filepath.Join(l.run(), "fifos")); len(left) != 0 {
		t.Errorf("left in fifos: %v", left)
	}
	if _, known := l.m.Stats("run1"); known {
		t.Error("a drained run is still known")
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(l.log(), "mailers"), &st); err != nil || st.Mode&0o777 != 0o750 {
		t.Errorf("log folder: mode %o, %v", st.Mode, err)
	}
	if err := unix.Stat(filepath.Join(l.log(), "mailers/3.log"), &st); err != nil || st.Mode&0o777 != 0o640 {
		t.Errorf("log: mode %o, %v", st.Mode, err)
	}
}

// TestSpliceRefused: a file system that cannot splice is written by copying.
func TestSpliceRefused(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	write(t, p.Stdout, "one\n")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "one\n" }, "nothing written")
	// Splice refuses a file that is open for appending, as some file systems
	// refuse all of theirs.
	l.inDevice("a", func(d *device) {
		f := d.files["a/0.log"]
		if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, unix.O_APPEND); err != nil {
			t.Error(err)
		}
	})
	write(t, p.Stdout, "two\n")
	write(t, p.Stdout, "three\n")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "one\ntwo\nthree\n" }, "not written by copying")
	l.inDevice("a", func(d *device) {
		if !d.files["a/0.log"].noSplice {
			t.Error("splice was not refused")
		}
	})
	p.Close()
}

// inDevice runs f in the goroutine of a pool's device and waits for it.
func (l *lab) inDevice(pool string, f func(*device)) {
	l.t.Helper()
	done := make(chan struct{})
	l.m.mu.Lock()
	l.m.locate(pool, func(k sink) {
		k.post(func() {
			f(k.(*device))
			close(done)
		})
	})
	l.m.mu.Unlock()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		l.t.Fatal("the device does not answer")
	}
}

func TestStderr(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.SeparateStderr = true
	p := l.prepare("run1", sp)
	write(t, p.Stdout, "out\n")
	write(t, p.Stderr, "err\n")
	merged := l.prepare("run2", spec("a", 1))
	if merged.Stdout != merged.Stderr {
		t.Error("merged streams have two FIFOs")
	}
	write(t, merged.Stdout, "out\n")
	write(t, merged.Stderr, "err\n")
	p.Close()
	merged.Close()
	l.m.Ended("run1")
	l.m.Ended("run2")
	l.drained("run1", "run2")
	for name, want := range map[string]string{"a/0.log": "out\n", "a/0.err.log": "err\n", "a/1.log": "out\nerr\n"} {
		if got := l.read(name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
}

// TestFIFO: what the worker gets and what the keeper gets.
func TestFIFO(t *testing.T) {
	l := newLab(t, func(o *Options) { o.PipeBudget = 2 << 20 })
	var sizes []int
	for i := range 4 {
		run := fmt.Sprintf("run%d", i)
		p, err := l.m.Prepare(run, spec("a", i), os.Getuid(), os.Getgid())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r := p.Read[run+".out"]
		if r == nil || len(p.Read) != 1 {
			t.Fatalf("read ends: %v", p.Read)
		}
		n, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, n)
		flags := func(f *os.File) int { n, _ := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); return n }
		if m := flags(p.Stdout); m&unix.O_ACCMODE != unix.O_RDWR || m&unix.O_NONBLOCK != 0 {
			t.Errorf("worker's end has flags %o", m)
		}
		if m := flags(r); m&unix.O_ACCMODE != unix.O_RDONLY {
			t.Errorf("read end has flags %o", m)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(l.run(), "fifos", run+".out"), &st); err != nil || st.Mode&0o7777 != 0o600 {
			t.Errorf("FIFO: mode %o, %v", st.Mode, err)
		}
	}
	if sizes[0] < sizes[3] || sizes[3] != pipeDefault {
		t.Errorf("sizes of FIFOs with a budget of 2 MiB: %v", sizes)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(l.run(), "fifos"), &st); err != nil || st.Mode&0o777 != 0o700 {
		t.Errorf("fifos: mode %o, %v", st.Mode, err)
	}
	for i := range 4 {
		l.m.Ended(fmt.Sprintf("run%d", i)) // never attached
	}
	l.drained("run0", "run1", "run2", "run3")
	if n := l.m.pipes.Load(); n != 0 {
		t.Errorf("%d bytes of the budget are still taken", n)
	}
	if _, err := l.m.Prepare("../x", spec("a", 0), 0, 0); err == nil {
		t.Error("a run ID with a path was accepted")
	}
}

// TestWorkersUser: another user can reopen its /dev/stdout.
func TestWorkersUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give a FIFO to another user")
	}
	l := newLab(t, nil)
	p, err := l.m.Prepare("run1", spec("a", 0), 65534, 65534)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(p.Stdout.Fd()), &st); err != nil || st.Uid != 65534 || st.Gid != 65534 {
		t.Errorf("FIFO belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
}

func TestNone(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.Target = config.LogNone
	p := l.prepare("run1", sp)
	defer p.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(p.Stdout.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Errorf("stdout has mode %o, %v", st.Mode, err)
	}
	if err := l.m.Recover("run1", sp, nil); err != nil {
		t.Error(err)
	}
	l.m.Ended("run1")
	l.drained("run1")
}

// TestLeftover: a process that outlives its run goes on writing, and only when
// it has gone is the run drained.
func TestLeftover(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	write(t, p.Stdout, "one\n")
	l.m.Ended("run1")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "one\n" }, "not written")
	write(t, p.Stdout, "two\n")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "one\ntwo\n" }, "not written after the end")
	if n := l.told(Drained, ""); len(n) != 0 {
		t.Error("drained while somebody can write")
	}
	p.Close()
	l.drained("run1")
}

// TestOverlap: two runs of one slot change turns between lines.
func TestOverlap(t *testing.T) {
	l := newLab(t, nil)
	a, b := l.prepare("run1", spec("a", 0)), l.prepare("run2", spec("a", 0))
	write(t, a.Stdout, "first ha")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "first ha" }, "not written")
	write(t, b.Stdout, "second\n")
	l.inDevice("a", func(*device) {})
	write(t, a.Stdout, "lf\n")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "first half\nsecond\n" }, "wrong order")
	// A line that does not end is ended after a while.
	write(t, a.Stdout, "silent")
	eventually(t, 5*time.Second, func() bool { return strings.HasSuffix(l.read("a/0.log"), "silent") }, "not written")
	write(t, b.Stdout, "third\n")
	eventually(t, 5*time.Second, func() bool { return strings.HasSuffix(l.read("a/0.log"), "second\nsilent\nthird\n") }, "the line was not ended")
	a.Close()
	b.Close()
	l.m.Ended("run1")
	l.m.Ended("run2")
	l.drained("run1", "run2")
	_, records, err := ReadIndex(filepath.Join(l.log(), "a/0.log.idx"))
	if err != nil {
		t.Fatal(err)
	}
	text := l.read("a/0.log")
	perRun := map[string]string{}
	for i, r := range records {
		end := r.Offset + r.Length
		if r.Length == 0 {
			t.Errorf("record %d has no length", i)
		}
		perRun[r.Run] += text[r.Offset:end]
	}
	want := map[string]string{"run1": "first half\nsilent", "run2": "second\nthird\n", "": "\n"}
	for run, text := range want {
		if perRun[run] != text {
			t.Errorf("run %q by the index: %q, want %q", run, perRun[run], text)
		}
	}
}

// TestNextRun: a run that ended within a line leaves the next one its own line.
func TestNextRun(t *testing.T) {
	l := newLab(t, nil)
	for _, run := range []string{"run1", "run2"} {
		p := l.prepare(run, spec("a", 0))
		write(t, p.Stdout, "Killed")
		p.Close()
		l.m.Ended(run)
		l.drained(run)
	}
	if got := l.read("a/0.log"); got != "Killed\nKilled" {
		t.Errorf("the log has %q", got)
	}
}

// TestOverlappingWriters: two processes that never rest share a file.
func TestOverlappingWriters(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.MaxSize, sp.Keep = 300<<10, 1000
	want := map[string]int{}
	for i := range 3 {
		run := fmt.Sprintf("run%d", i)
		p := l.prepare(run, sp)
		c := reexec(t, "writer", "LOGS_NAME="+run, "LOGS_LINES=20000", fmt.Sprintf("LOGS_BUFFER=%d", i*3000))
		c.Stdout = p.Stdout
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer c.Wait()
		p.Close()
		want[run] = 20000
		l.m.Ended(run)
	}
	l.drained("run0", "run1", "run2")
	checkLines(t, l.whole("a/0.log", 1000), want)
}

func TestPrune(t *testing.T) {
	l := newLab(t, nil)
	for _, run := range []string{"dead", "live"} {
		p, err := l.m.Prepare(run, spec("a", 0), os.Getuid(), os.Getgid())
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	l.close()
	l.open(nil)
	if err := l.m.Prune(func(run string) bool { return run == "live" }); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(l.run(), "fifos"))
	if err != nil || len(left) != 1 || left[0].Name() != "live.out" {
		t.Errorf("left: %v, %v", left, err)
	}
	if len(l.m.notes.used) != 1 || l.m.notes.find("live", streamOut) == nil {
		t.Errorf("notes left: %v", l.m.notes.used)
	}
}

// TestRecoverByName: without a keeper the FIFO's name is enough.
func TestRecoverByName(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	write(t, p.Stdout, "one\n")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "one\n" }, "not written")
	l.close()
	write(t, p.Stdout, "two\n")
	l.open(nil)
	if err := l.m.Recover("run1", spec("a", 0), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "one\ntwo\n" }, "not gone on")
	p.Close()
	l.m.Ended("run1")
	l.drained("run1")
	if err := l.m.Recover("lost", spec("a", 0), nil); err == nil {
		t.Error("a run without FIFO was recovered")
	}
}

// TestManyRuns: neither goroutines nor open files grow with the runs, but for one
// read end each.
func TestManyRuns(t *testing.T) {
	l := newLab(t, func(o *Options) { o.OpenFiles = 32 })
	count := func() (fds, tasks int) {
		f, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		s, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(f), len(s)
	}
	var pipes []*Pipes
	grow := func(from, to int) {
		for i := from; i < to; i++ {
			p := l.prepare(fmt.Sprintf("run%d", i), spec("a", i))
			write(t, p.Stdout, "line\n")
			pipes = append(pipes, p)
		}
		eventually(t, 20*time.Second, func() bool { return l.read(fmt.Sprintf("a/%d.log", to-1)) == "line\n" }, "not written")
		l.inDevice("a", func(d *device) {})
	}
	grow(0, 20)
	fds, _ := count()
	routines := goroutines()
	grow(20, 300)
	more, _ := count()
	if n := goroutines(); n > routines {
		t.Errorf("%d goroutines with 20 runs, %d with 300", routines, n)
	}
	// Each run: the read end here and the worker's end that this test keeps.
	if more-fds > 280*2+2 {
		t.Errorf("%d descriptors with 20 runs, %d with 300", fds, more)
	}
	for i, p := range pipes {
		write(t, p.Stdout, "last\n")
		p.Close()
		l.m.Ended(fmt.Sprintf("run%d", i))
	}
	for i := range pipes {
		l.drained(fmt.Sprintf("run%d", i))
		if got := l.read(fmt.Sprintf("a/%d.log", i)); got != "line\nlast\n" {
			t.Fatalf("a/%d.log has %q", i, got)
		}
	}
	l.inDevice("a", func(d *device) {
		if len(d.files)+len(d.opened)+len(d.sources)+len(d.folders)+len(d.waits) != 0 {
			t.Errorf("the device still has %d files, %d open, %d sources, %d folders", len(d.files), len(d.opened), len(d.sources), len(d.folders))
		}
	})
	left, _ := count()
	if left > fds-20*2+2 {
		t.Errorf("%d descriptors with 20 runs, %d with none", fds, left)
	}
}

package logs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// private runs the test again in a mount namespace of its own and reports what
// came of it; true: this is that process.
func private(t *testing.T) bool {
	t.Helper()
	if os.Getenv("LOGS_NS") != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a file system")
	}
	args := []string{"-m", "--propagation", "private", "/proc/self/exe", "-test.run", "^" + t.Name() + "$", "-test.v"}
	self, err := os.Executable()
	must(t, err)
	args[3] = self
	c := exec.Command("unshare", args...)
	c.Env = append(os.Environ(), "LOGS_NS=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if s := string(out); strings.Contains(s, "--- SKIP") {
		t.Skip(s)
	}
	return false
}

// tmpfs mounts a small file system.
func tmpfs(t *testing.T, dir, size string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestDiskFull: the worker never waits, whole lines are dropped, the log says how
// many, and goes on when there is room.
func TestDiskFull(t *testing.T) {
	if !private(t) {
		return
	}
	l := newLab(t, nil)
	tmpfs(t, l.log(), "600k")
	must(t, os.WriteFile(filepath.Join(l.log(), "ballast"), make([]byte, 400<<10), 0o600))
	sp := spec("a", 0)
	sp.MaxSize = 0
	p := l.prepare("run1", sp)
	line := strings.Repeat("z", 776) + "\n"
	const lines = 20_000
	for i := 0; i < lines; i += 5 { // pieces that end anywhere
		text := strings.Repeat(line, 5)
		write(t, p.Stdout, text[:1234])
		write(t, p.Stdout, text[1234:])
	}
	eventually(t, 5*time.Second, func() bool { return len(l.told(Dropped, "run1")) > 0 }, "dropping was not told")
	if n := l.told(Dropped, "run1")[0]; n.Err == nil || !strings.Contains(n.Err.Error(), "no space left") {
		t.Errorf("told %+v", n)
	}
	if st, _ := l.m.Stats("run1"); st.Dropped == 0 {
		t.Errorf("counted %+v", st)
	}
	must(t, unix.Mount("", l.log(), "", unix.MS_REMOUNT, "size=20m"))
	write(t, p.Stdout, "end\n")
	eventually(t, 10*time.Second, func() bool { return strings.HasSuffix(l.read("a/0.log"), "end\n") }, "it does not go on")
	text := l.read("a/0.log")
	checkDropped(t, text, line, lines)
	all := l.told(Dropped, "run1")
	if last := all[len(all)-1]; last.Bytes == 0 || last.Lines*int64(len(line)) != last.Bytes {
		t.Errorf("told %+v", last)
	}
	l.end("run1", p)
	_, records, err := ReadIndex(filepath.Join(l.log(), "a/0.log.idx"))
	must(t, err)
	own := ""
	for _, r := range records {
		if r.Run == "" {
			own += text[r.Offset : r.Offset+r.Length]
		}
	}
	if !strings.HasPrefix(own, "superd: ") || !strings.Contains(own, "no space left on device") {
		t.Errorf("superd's own by the index: %.200q", own)
	}
}

// TestDiskFullShort: what fits into the FIFO meanwhile is not lost.
func TestDiskFullShort(t *testing.T) {
	if !private(t) {
		return
	}
	for _, block := range []bool{false, true} {
		l := newLab(t, nil)
		tmpfs(t, l.log(), "64k")
		sp := spec("a", 0)
		sp.BlockOnFull = block
		p := l.prepare("run1", sp)
		text := numbered(0, 5000)
		write(t, p.Stdout, text)
		eventually(t, 5*time.Second, func() bool { return len(l.read("a/0.log")) > 20_000 }, "not written")
		l.inDevice("a", func(d *device) {
			if d.files["a/0.log"].trouble == nil {
				t.Error("the disk is not full")
			}
		})
		must(t, unix.Mount("", l.log(), "", unix.MS_REMOUNT, "size=20m"))
		eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == text }, "it is not all there")
		l.end("run1", p)
		if n := len(l.told(Dropped, "")); n != 0 {
			t.Errorf("%d times dropping was told", n)
		}
		if n := len(l.told(Stalled, "")); block && n != 2 {
			t.Errorf("%d times stalling was told", n)
		}
	}
}

// TestDiskFullBlocks: with on_full = "block" the worker waits and nothing is lost.
func TestDiskFullBlocks(t *testing.T) {
	if !private(t) {
		return
	}
	l := newLab(t, nil)
	tmpfs(t, l.log(), "64k")
	sp := spec("a", 0)
	sp.BlockOnFull = true
	sp.MaxSize = 0
	p := l.prepare("run1", sp)
	text := numbered(0, 100_000)
	done := make(chan error, 1)
	go func() {
		_, err := p.Stdout.WriteString(text)
		done <- err
	}()
	eventually(t, 5*time.Second, func() bool { return len(l.told(Stalled, "")) == 1 }, "stalling was not told")
	select {
	case <-done:
		t.Error("the worker did not wait")
	default:
	}
	must(t, unix.Mount("", l.log(), "", unix.MS_REMOUNT, "size=20m"))
	must(t, <-done)
	l.end("run1", p)
	if l.read("a/0.log") != text {
		t.Error("the log is not what was printed")
	}
}

// TestKilledOnFullDisk: superd is killed while lines are dropped; what is in the
// log is whole lines all the same, and none is lost without being told of.
func TestKilledOnFullDisk(t *testing.T) {
	if !private(t) {
		return
	}
	o := newOutlive(t)
	tmpfs(t, o.l.log(), "300k")
	sp := spec("mailers", 0)
	sp.MaxSize = 0
	o.worker("run1", sp, "LOGS_BUFFER=4096", "LOGS_LINES=200000")
	for range 6 {
		m := o.manager(false)
		time.Sleep(15 * time.Millisecond) // the instant of the kill
		m.Process.Kill()
		m.Wait()
	}
	must(t, unix.Mount("", o.l.log(), "", unix.MS_REMOUNT, "size=200m"))
	want := o.finish()["run1"]
	next, told, word := 0, 0, false
	for line := range strings.Lines(o.l.read("mailers/0.log")) {
		var bytes, n int
		if k, _ := fmt.Sscanf(line, "superd: %d bytes dropped here, %d lines: ", &bytes, &n); k == 2 {
			told += n
			word = true
			continue
		}
		var name, pad string
		fmt.Sscanf(line, "%s %d %s", &name, &n, &pad)
		if name != "run1" || n < next || pad != strings.Repeat("x", n%97) {
			t.Fatalf("torn or doubled after %d: %q", next-1, line)
		}
		if n > next && !word {
			t.Fatalf("lines %d to %d are lost without a word", next, n-1)
		}
		next, word = n+1, false
	}
	if next != want {
		t.Errorf("the last line is %d of %d", next-1, want)
	}
	if told == 0 {
		t.Error("nothing was dropped")
	}
}

// TestHungDisk: a disk that does not answer stalls its own logs and nothing else.
func TestHungDisk(t *testing.T) {
	if !private(t) {
		return
	}
	l := newLab(t, nil)
	img, hung := filepath.Join(l.dir, "img"), filepath.Join(l.log(), "hung")
	must(t, os.MkdirAll(hung, 0o755))
	for _, c := range [][]string{{"truncate", "-s", "64M", img}, {"mke2fs", "-q", img}, {"mount", "-o", "loop", img, hung}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("cannot make a disk to hang: %v: %s", err, out)
		}
	}
	defer unix.Unmount(hung, 0)
	bad, good := l.prepare("bad", spec("hung", 0)), l.prepare("good", spec("fine", 0))
	write(t, bad.Stdout, "before\n")
	write(t, good.Stdout, "before\n")
	eventually(t, 5*time.Second, func() bool { return l.read("hung/0.log")+l.read("fine/0.log") == "before\nbefore\n" }, "not written")

	freeze, err := os.Open(hung)
	must(t, err)
	defer freeze.Close()
	const fifreeze, fithaw = 0xC0045877, 0xC0045878
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, freeze.Fd(), fifreeze, 0); e != 0 {
		t.Skipf("cannot freeze a disk: %v", e)
	}
	frozen := true
	thaw := func() {
		if frozen {
			unix.Syscall(unix.SYS_IOCTL, freeze.Fd(), fithaw, 0)
			frozen = false
		}
	}
	defer thaw()
	write(t, bad.Stdout, "while it hangs\n")
	eventually(t, 5*time.Second, func() bool { return len(l.told(Stalled, "")) == 1 }, "stalling was not told")
	if n := l.told(Stalled, "")[0]; n.Pool != "hung" || n.Err == nil {
		t.Errorf("told %+v", n)
	}
	// Everything that the loop may ask for answers, for that disk too.
	began := time.Now()
	more := l.prepare("more", spec("hung", 1))
	write(t, more.Stdout, "more\n")
	more.Close()
	l.m.Ended("more")
	l.m.Reconfigure("hung", spec("hung", 0).Log)
	l.m.Stats("bad")
	write(t, bad.Stdout, strings.Repeat("w", 100_000)+"\n") // the FIFO takes it
	bad.Close()
	l.m.Ended("bad")
	write(t, good.Stdout, "meanwhile\n")
	l.end("good", good)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to go on beside a hung disk", took)
	}
	if got := l.read("fine/0.log"); got != "before\nmeanwhile\n" {
		t.Errorf("the other disk's log has %q", got)
	}
	if len(l.told(Drained, "bad")) != 0 {
		t.Error("drained without a disk")
	}
	thaw()
	l.drained("bad", "more")
	if got := l.read("hung/0.log"); got != "before\nwhile it hangs\n"+strings.Repeat("w", 100_000)+"\n" {
		t.Errorf("the log has %d bytes", len(got))
	}
	if got := l.read("hung/1.log"); got != "more\n" {
		t.Errorf("the log has %q", got)
	}
	if all := l.told(Stalled, ""); len(all) < 2 || all[1].For < stallTime || all[1].Err != nil {
		t.Errorf("the end of the stall was not told: %+v", all)
	}
	l.inDevice("hung", func(d *device) {
		for _, f := range d.opened {
			t.Errorf("%s is still open", f.path())
		}
	})
}

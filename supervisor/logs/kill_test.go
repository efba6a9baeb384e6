package logs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// outlive is a set of workers that run while superd is killed again and again.
// The test process itself is the keeper: it holds the read ends.
type outlive struct {
	t      *testing.T
	l      *lab
	job    job
	files  []*os.File
	counts map[string]string
	stops  []io.Closer
	cmds   []*exec.Cmd
}

func newOutlive(t *testing.T) *outlive {
	l := newLab(t, nil)
	return &outlive{t: t, l: l, job: job{Dir: l.dir, Runs: map[string]Spec{}}, counts: map[string]string{}}
}

// worker starts a writer with the given environment.
func (o *outlive) worker(run string, sp Spec, env ...string) {
	t := o.t
	p, err := o.l.m.Prepare(run, sp, os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	o.job.Runs[run] = sp
	for name, f := range p.Read {
		o.job.Held = append(o.job.Held, name)
		o.files = append(o.files, f)
	}
	count := filepath.Join(o.l.dir, run)
	c := reexec(t, "writer", append(env, "LOGS_NAME="+run, "LOGS_COUNT="+count)...)
	c.Stdout = p.Stdout
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p.Stdout.Close()
	o.counts[run] = count
	o.stops = append(o.stops, in)
	o.cmds = append(o.cmds, c)
}

// manager starts superd and waits until it has recovered.
func (o *outlive) manager(end bool, env ...string) *exec.Cmd {
	o.job.End = end
	text, err := json.Marshal(o.job)
	if err != nil {
		o.t.Fatal(err)
	}
	c := reexec(o.t, "manager", append(env, "LOGS_JOB="+string(text))...)
	c.ExtraFiles = o.files
	out, err := c.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		o.t.Fatal(err)
	}
	if !end {
		bufio.NewReader(out).ReadString('\n')
	}
	return c
}

// finish ends the workers and has a last superd drain them; it returns how many
// lines each printed.
func (o *outlive) finish() map[string]int {
	for i, in := range o.stops {
		in.Close()
		c := o.cmds[i]
		done := make(chan error, 1)
		go func() { done <- c.Wait() }()
		var m *exec.Cmd
		for waiting := true; waiting; {
			select {
			case err := <-done:
				if err != nil {
					o.t.Fatalf("a worker ended with %v", err)
				}
				waiting = false
			case <-time.After(50 * time.Millisecond): // its FIFO is full: somebody must read
				if m == nil {
					m = o.manager(false)
				}
			}
		}
		if m != nil {
			m.Process.Kill()
			m.Wait()
		}
	}
	c := o.manager(true)
	if err := c.Wait(); err != nil {
		o.t.Fatalf("the last superd: %v", err)
	}
	want := map[string]int{}
	for run, path := range o.counts {
		b, err := os.ReadFile(path)
		if err != nil {
			o.t.Fatal(err)
		}
		if want[run], err = strconv.Atoi(string(b)); err != nil {
			o.t.Fatal(err)
		}
	}
	for _, f := range o.files {
		f.Close()
	}
	return want
}

// TestKilled kills superd at random instants under writers that never rest: no
// line may be lost, torn or doubled, whatever superd was about.
func TestKilled(t *testing.T) {
	const kills = 60
	cases := []struct {
		name    string
		workers int
		buffer  string
		change  func(*Spec)
	}{
		{"bulk", 1, "4096", func(*Spec) {}},
		{"lines", 1, "0", func(*Spec) {}},
		{"rotation", 1, "4096", func(s *Spec) { s.MaxSize, s.Keep = 200<<10, 10000 }},
		{"overlapping", 2, "3000", func(s *Spec) { s.MaxSize, s.Keep = 1<<20, 10000 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := newOutlive(t)
			sp := spec("mailers", 0)
			sp.MaxSize = 0
			c.change(&sp)
			for i := range c.workers {
				o.worker(fmt.Sprintf("run%d", i), sp, "LOGS_BUFFER="+c.buffer)
			}
			for range kills {
				m := o.manager(false)
				time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond) // the instant of the kill, not a wait
				m.Process.Kill()
				m.Wait()
			}
			want := o.finish()
			text := o.l.whole("mailers/0.log", min(sp.Keep, 5000))
			checkLines(t, text, want)
			t.Logf("%d kills, %d bytes, %v lines", kills, len(text), want)
		})
	}
}

// TestLastWords: what a worker prints and dies of while there is no superd.
func TestLastWords(t *testing.T) {
	o := newOutlive(t)
	o.worker("run1", spec("mailers", 0), "LOGS_LINES=100", "LOGS_BUFFER=4096")
	if err := o.cmds[0].Wait(); err != nil {
		t.Fatal(err)
	}
	o.cmds, o.stops = nil, nil
	checkLines(t, func() []byte { o.finish(); return []byte(o.l.read("mailers/0.log")) }(), map[string]int{"run1": 100})
	if left, _ := os.ReadDir(filepath.Join(o.l.run(), "fifos")); len(left) > 0 {
		t.Errorf("FIFOs are left: %v", left)
	}
}

// TestKilledAt kills superd at each step of a batch: before it is in the file,
// before it has left the FIFO, and after.
func TestKilledAt(t *testing.T) {
	for _, point := range []string{"writing", "spliced", "written", "consumed", "finished"} {
		t.Run(point, func(t *testing.T) {
			o := newOutlive(t)
			t.Parallel()
			o.worker("run1", spec("mailers", 0), "LOGS_LINES=3000", "LOGS_BUFFER=4096")
			killed := 0
			for i := range 3 {
				m := o.manager(false, "LOGS_KILL="+point, "LOGS_KILL_AFTER="+strconv.Itoa(i))
				state := make(chan error, 1)
				go func() { state <- m.Wait() }()
				select {
				case err := <-state:
					if err == nil || !strings.Contains(err.Error(), "killed") {
						t.Fatalf("superd ended with %v", err)
					}
					killed++
				case <-time.After(300 * time.Millisecond): // there were not that many batches
					m.Process.Kill()
					<-state
				}
			}
			if killed == 0 {
				t.Error("superd was never killed at that point")
			}
			checkLines(t, func() []byte { o.finish(); return []byte(o.l.read("mailers/0.log")) }(), map[string]int{"run1": 3000})
		})
	}
}

// TestKilledEqualLines: a worker prints the same line again and again, and superd
// is killed around each. With the waste pipe held by the keeper it is known which
// of the equal lines is in the log.
func TestKilledEqualLines(t *testing.T) {
	o := newOutlive(t)
	p, err := o.l.m.Prepare("run1", spec("mailers", 0), os.Getuid(), os.Getgid())
	must(t, err)
	waste, err := newWaste()
	must(t, err)
	o.job.Runs["run1"] = spec("mailers", 0)
	o.job.Held = []string{"run1.out", "waste"}
	o.files = []*os.File{p.Read["run1.out"], os.NewFile(uintptr(waste), "waste")}
	write(t, p.Stdout, "tick\n")
	lines := 1
	for range 4 {
		for _, point := range []string{"writing", "spliced", "written", "consumed", "finished"} {
			m := o.manager(false, "LOGS_KILL="+point)
			if err := m.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("superd ended with %v", err)
			}
			write(t, p.Stdout, "tick\n")
			lines++
		}
	}
	p.Stdout.Close()
	o.finish()
	if got := o.l.read("mailers/0.log"); got != strings.Repeat("tick\n", lines) {
		t.Errorf("%d lines are in the log, %d were printed", strings.Count(got, "\n"), lines)
	}
}

// TestRehold: another keeper gets everything that has to outlive superd.
func TestRehold(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.SeparateStderr = true
	p := l.prepare("run1", sp)
	write(t, p.Stdout, "one\n")
	eventually(t, 5*time.Second, func() bool { return l.read("a/0.log") == "one\n" }, "not written")
	held := map[string]*os.File{}
	must(t, l.m.Rehold(func(name string, f *os.File) error {
		fd, err := syscall.Dup(int(f.Fd()))
		held[strings.TrimRight(name, "0123456789abcdef")] = os.NewFile(uintptr(fd), name)
		return err
	}))
	if len(held) != 3 || held["run1.out"] == nil || held["run1.err"] == nil || held["logs.waste."] == nil {
		t.Fatalf("held: %v", held)
	}
	l.close()
	write(t, p.Stdout, "last words\n")
	p.Close()
	l.open(func(o *Options) {
		o.Fetch = func(name string) (*os.File, error) { return held[strings.TrimRight(name, "0123456789abcdef")], nil }
		o.Hold = func(string, *os.File) error { t.Error("held already"); return nil }
	})
	must(t, l.m.Recover("run1", sp, func(name string) (*os.File, error) { return held[name], nil }))
	l.m.Ended("run1")
	l.drained("run1")
	if got := l.read("a/0.log"); got != "one\nlast words\n" {
		t.Errorf("the log has %q", got)
	}
}

// TestHoldMissing: a keeper that was given a part of everything gets the rest.
func TestHoldMissing(t *testing.T) {
	l := newLab(t, nil)
	sp := spec("a", 0)
	sp.SeparateStderr = true
	l.prepare("run1", sp)
	got := map[string]string{}
	must(t, l.m.HoldMissing([]string{"run1.out"}, func(name string, f *os.File) error {
		got[name] = f.Name()
		return nil
	}))
	if len(got) != 1 || got["run1.err"] == "" {
		t.Errorf("held in addition: %v", got)
	}
}

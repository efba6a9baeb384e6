package supervisor

import (
	"bufio"
	"io"
	"os/exec"
	"regexp"
	"testing"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/proc"
)

// titled is a process whose title can be set.
type titled struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startTitled(t *testing.T) *titled {
	t.Helper()
	p := &titled{t: t, cmd: exec.Command("perl", "-e", `$|=1; while(<STDIN>){chomp; $0=$_; print "done\n"}`)}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Skipf("perl is not installed (sudo apt-get install -y perl-base): %v", err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		p.cmd.Wait()
	})
	return p
}

func (p *titled) set(title string) {
	p.t.Helper()
	io.WriteString(p.in, title+"\n")
	if _, err := p.out.ReadString('\n'); err != nil {
		p.t.Fatal(err)
	}
}

// TestTitles: what a title says is seen, and a change of it is dated by the last
// look at the old one, so that it is never taken for newer than it is.
func TestTitles(t *testing.T) {
	p := startTitled(t)
	p.set("job [1 of 2 busy]")
	if text, err := proc.Title(p.cmd.Process.Pid); err != nil || text != "job [1 of 2 busy]" {
		t.Fatalf("the title is %q, %v", text, err)
	}
	runs := []liveRun{{"run1", p.cmd.Process.Pid, `\[([1-9] of \d busy)\]`}, {"gone", 1 << 30, "x"}}
	var seen titles
	look := func() core.Observed {
		t.Helper()
		seen.look(runs, 0)
		all := seen.observations(runs)
		if len(all) != 1 || all[0].Run != "run1" {
			t.Fatalf("observed %+v", all)
		}
		return all[0]
	}
	if o := look(); o.Work != core.AtWork || !o.Changed.IsZero() {
		t.Errorf("at first %+v", o)
	}
	if w := seen.work(runs)["run1"]; !w.Busy || w.Text != "1 of 2 busy" {
		t.Errorf("its work is %+v", w)
	}
	between := now()
	look()
	after := now()
	p.set("job [0 of 2 busy]")
	o := look()
	if o.Work != core.Idle || o.Changed.Boot < between.Boot || o.Changed.Boot > after.Boot {
		t.Errorf("changed after %v and before %v: %+v", between.Boot, after.Boot, o)
	}
	if again := look(); again.Changed != o.Changed {
		t.Errorf("unchanged, it is dated %v, before %v", again.Changed.Boot, o.Changed.Boot)
	}
	seen.forget("run1")
	if all := seen.observations(runs); len(all) != 0 {
		t.Errorf("forgotten, %+v is observed", all)
	}
}

// TestWorkIn: the first group says what a run does, or all that matched.
func TestWorkIn(t *testing.T) {
	for _, c := range []struct {
		pattern, title string
		want           Work
	}{
		{"busy", "x busy y", Work{true, "busy"}},
		{`x (\d+)`, "x 12 y", Work{true, "12"}},
		{"busy", "idle", Work{}},
	} {
		if got := workIn(regexp.MustCompile(c.pattern), c.title); got != c.want {
			t.Errorf("%q in %q is %+v, want %+v", c.pattern, c.title, got, c.want)
		}
	}
}

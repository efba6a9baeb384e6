package logs

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/config"
)

func inheritSpec(pool string, index int) Spec {
	sp := spec(pool, index)
	sp.Target = config.LogInherit
	return sp
}

// TestInherit: each line has its worker before it; lines are never mixed.
func TestInherit(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	l := newLab(t, func(o *Options) { o.Inherit = w })
	defer w.Close()
	a, b := l.prepare("run1", inheritSpec("mailers", 0)), l.prepare("run2", inheritSpec("mailers", 1))
	write(t, a.Stdout, "one\ntw")
	write(t, b.Stdout, "other\n")
	write(t, a.Stdout, "o\n")
	write(t, b.Stdout, "no line end")
	b.Close()
	l.m.Ended("run2")
	l.drained("run2")
	write(t, a.Stdout, "last\n")
	a.Close()
	l.m.Ended("run1")
	got := map[string]string{}
	lines := bufio.NewReader(r)
	for range 5 {
		line, err := lines.ReadString('\n')
		must(t, err)
		worker, text, found := strings.Cut(line, " | ")
		if !found {
			t.Fatalf("line without worker: %q", line)
		}
		got[worker] += text
	}
	l.drained("run1")
	want := map[string]string{"mailers/0": "one\ntwo\nlast\n", "mailers/1": "other\nno line end\n"}
	for k, text := range want {
		if got[k] != text {
			t.Errorf("%s: %q, want %q", k, got[k], text)
		}
	}
}

// TestInheritStuck: a reader of superd's output that stands still stops nothing
// else, and misses nothing.
func TestInheritStuck(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	l := newLab(t, func(o *Options) { o.Inherit = w })
	stuck, file := l.prepare("run1", inheritSpec("a", 0)), l.prepare("run2", spec("a", 1))
	const lines = 10_000
	for i := range lines {
		write(t, stuck.Stdout, fmt.Sprintf("line %d\n", i))
	}
	stuck.Close()
	l.m.Ended("run1")
	write(t, file.Stdout, "meanwhile\n")
	l.end("run2", file)
	if got := l.read("a/1.log"); got != "meanwhile\n" {
		t.Errorf("the log has %q", got)
	}
	if len(l.told(Drained, "run1")) != 0 {
		t.Fatal("drained though nobody has read it")
	}
	in := bufio.NewScanner(r)
	for i := range lines {
		if !in.Scan() || in.Text() != fmt.Sprintf("a/0 | line %d", i) {
			t.Fatalf("line %d is %q", i, in.Text())
		}
	}
	l.drained("run1")
	w.Close()
}

// TestInheritGone: nobody reads superd's output any more: told once, and the
// workers go on.
func TestInheritGone(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	l := newLab(t, func(o *Options) { o.Inherit = w })
	defer w.Close()
	r.Close()
	p := l.prepare("run1", inheritSpec("a", 0))
	for range 3000 {
		write(t, p.Stdout, strings.Repeat("q", 999)+"\n")
	}
	eventually(t, 5*time.Second, func() bool { st, _ := l.m.Stats("run1"); return st.Dropped == 3_000_000 }, "not dropped")
	l.end("run1", p)
	if n := l.told(Dropped, "run1"); len(n) != 1 || n[0].Err == nil {
		t.Errorf("told %+v", n)
	}
}

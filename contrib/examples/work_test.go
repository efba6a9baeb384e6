package examples_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// python is Debian's own, which has Debian's modules; another may come first in PATH.
const python = "/usr/bin/python3"

// need skips the test where a program is missing. In CI, where .ci/packages has
// run, that is a failure: a test that never runs proves nothing.
func need(t *testing.T, packages string, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, packages, err)
		}
	}
}

// needPython is need for modules of Debian's Python.
func needPython(t *testing.T, packages, modules string) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import "+modules).CombinedOutput(); err != nil {
		missing(t, packages, fmt.Errorf("%s cannot import %s: %w\n%s", python, modules, err, out))
	}
}

func missing(t *testing.T, packages string, err error) {
	t.Helper()
	why := fmt.Sprintf("%v: sudo apt-get install -y %s", err, packages)
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// install copies an example's files to a private folder, as one would to /srv.
func install(t *testing.T, example string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "superd-"+example+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ledger is the file to which the example programs write "begin NAME BY" before
// each piece of work (a job, a request) and "end NAME BY" after it.
type ledger struct {
	t    *testing.T
	file string
}

func newLedger(t *testing.T, dir string) ledger {
	return ledger{t, filepath.Join(dir, "ledger")}
}

// entry is who began and who ended a piece of work.
type entry struct{ begun, ended []string }

func (l ledger) read() map[string]entry {
	entries := map[string]entry{}
	text, err := os.ReadFile(l.file)
	if err != nil && !os.IsNotExist(err) {
		l.t.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		what, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name, by, _ := strings.Cut(rest, " ")
		e := entries[name]
		switch what {
		case "begin":
			e.begun = append(e.begun, by)
		case "end":
			e.ended = append(e.ended, by)
		default:
			l.t.Errorf("the ledger has a line %q", line)
		}
		entries[name] = e
	}
	return entries
}

func (l ledger) begun(name string) bool { return len(l.read()[name].begun) > 0 }
func (l ledger) ended(name string) bool { return len(l.read()[name].ended) > 0 }

// by is the worker ("sidekiq/0") that began the work first.
func (l ledger) by(name string) string {
	begun := l.read()[name].begun
	if len(begun) == 0 {
		return ""
	}
	worker, _, _ := strings.Cut(begun[0], " ")
	return worker
}

// uncut holds that the work was begun once and ended once, by the same process.
func (l ledger) uncut(name string) {
	l.t.Helper()
	e := l.read()[name]
	if len(e.begun) != 1 || len(e.ended) != 1 || e.begun[0] != e.ended[0] {
		l.t.Errorf("%s was begun by %q and ended by %q", name, e.begun, e.ended)
	}
}

// producer puts jobs into a queue: a process that takes lines "NAME SECONDS" and
// answers each with the name when the queue has the job.
type producer struct {
	t      *testing.T
	ledger ledger
	mu     sync.Mutex
	input  io.WriteCloser
	output *bufio.Reader
	added  []string

	// atLeastOnce: the program promises no more than that. What it has done it may
	// do again, when it could not say so before it ended.
	atLeastOnce bool
}

func newProducer(t *testing.T, l ledger, dir string, env []string, argv ...string) *producer {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the producer of jobs: %v", err)
		}
	})
	return &producer{t: t, ledger: l, input: input, output: bufio.NewReader(output)}
}

// add returns when the queue has the job. It may be called from any goroutine.
func (p *producer) add(name string, seconds float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintf(p.input, "%s %g\n", name, seconds); err != nil {
		p.t.Errorf("cannot add job %s: %v", name, err)
		return
	}
	if line, err := p.output.ReadString('\n'); err != nil || line != name+"\n" {
		p.t.Errorf("cannot add job %s: %q, %v", name, line, err)
		return
	}
	p.added = append(p.added, name)
}

// stream adds short jobs until its result is called.
func (p *producer) stream() (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; !p.t.Failed(); n++ {
			select {
			case <-stop:
				return
			case <-time.After(150 * time.Millisecond):
				p.add(fmt.Sprintf("short-%d", n), 0.05)
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(stop)
		<-done
	})
}

// settled waits until every job is done, and holds that each was begun once and
// ended once; those named were interrupted, and begun again.
func (p *producer) settled(interrupted ...string) {
	p.t.Helper()
	var entries map[string]entry
	undone := func() []string {
		entries = p.ledger.read()
		return slices.DeleteFunc(slices.Clone(p.added), func(name string) bool { return len(entries[name].ended) > 0 })
	}
	for end := time.Now().Add(90 * time.Second); len(undone()) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("of %d jobs these are not done in a minute and a half: %q", len(p.added), undone())
		}
	}
	again := 0
	for _, name := range p.added {
		e, begun := entries[name], 1
		if slices.Contains(interrupted, name) {
			begun = 2
		}
		switch {
		case len(e.begun) == begun && len(e.ended) == 1 && e.begun[begun-1] == e.ended[0]:
		case p.atLeastOnce && len(e.begun) > begun && len(e.ended) > 1:
			again++
		default:
			p.t.Errorf("job %s was begun by %q (not %d times) and ended by %q", name, e.begun, begun, e.ended)
		}
	}
	if len(entries) != len(p.added) {
		p.t.Errorf("%d jobs were added, %d were seen", len(p.added), len(entries))
	}
	p.t.Logf("%d jobs are done, %d of them more than once", len(p.added), again)
}

// started starts a pool and waits until its first deployment is done.
func (h *host) started(name string) {
	h.t.Helper()
	h.must("start", name)
	eventually(h.t, name+" is healthy", func() bool {
		p := h.pool(name)
		return p.Healthy == p.Count
	})
}

// restart restarts a pool, and holds that every worker is another process then.
func (h *host) restart(name string) {
	h.t.Helper()
	before := h.pool(name).pids()
	h.must("restart", "--timeout", "3m", name)
	for worker, pid := range h.pool(name).pids() {
		if pid == before[worker] || pid == 0 {
			h.t.Errorf("%s has pid %d after a restart, before %d", worker, pid, before[worker])
		}
	}
}

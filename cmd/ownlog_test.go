package cmd_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// crashing is a configuration that makes superd's own log grow by thousands of
// lines in seconds, beside a pool that behaves.
const crashing = `
[pool.good]
command = "sleep 1000"
update.min_healthy_time = "100ms"
[pool.bad]
command = "false"
count = 5
restart = { delay = "5ms", attempts = 10000, interval = "1m" }
`

// fullPipe is a pipe that takes nothing more.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	// Another description of it, so that the one superd gets blocks, as usual.
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", w.Fd()), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for chunk := bytes.Repeat([]byte("full\n"), 1000); len(chunk) > 0; {
		if n, err := unix.Write(fd, chunk); err != nil || n < len(chunk) {
			chunk = chunk[:len(chunk)/2] // a part may still fit
		}
	}
	return r, w
}

// reading collects what comes from a file.
type reading struct {
	mu   sync.Mutex
	text bytes.Buffer
	over chan struct{}
}

func readAll(f *os.File) *reading {
	r := &reading{over: make(chan struct{})}
	go func() { io.Copy(r, f); close(r.over) }()
	return r
}

func (r *reading) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *reading) has(s string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.text.Bytes(), []byte(s))
}

// TestNobodyReadsTheLog: superd's output is a full pipe, and then one that nobody
// can ever read again. superd answers, obeys and ends as ever; whoever reads hears
// how much is missing.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	r, w := fullPipe(t)
	d := newDaemon(t, crashing)
	d.begin(w, w)
	w.Close()
	d.running("good/0")
	d.until("status says that lines are lost", func() bool { return strings.Contains(d.degraded(), "superd's own log loses lines") })
	d.must("stop", "good")
	d.must("start", "good")
	log := readAll(r)
	d.until("the reader is told how many lines are missing", func() bool { return log.has(" lines of superd's own log were dropped: ") })
	d.must("stop", "bad")
	d.until("status says that all is well", func() bool { return d.degraded() == "" })
	d.must("start", "good")
	d.until("the log goes on", func() bool { return log.has("bad") && log.has("pool.stopped") })
	d.cmd.Process.Signal(syscall.SIGTERM)
	if st := d.exits(); st.ExitCode() != 0 {
		t.Errorf("superd: %s", st)
	}
	<-log.over // nobody else has the pipe: neither the keeper nor a worker
	for line := range strings.Lines(log.text.String()) {
		if !strings.HasPrefix(line, "{") && !strings.HasPrefix(line, "f") && !strings.HasPrefix(line, "full") {
			t.Errorf("torn: %q", line)
		}
	}
}

// TestLogAtTheEnd: what superd cannot get rid of does not keep it from ending.
func TestLogAtTheEnd(t *testing.T) {
	t.Parallel()
	_, w := fullPipe(t)
	d := newDaemon(t, crashing)
	d.begin(w, w)
	d.running("good/0")
	d.cmd.Process.Signal(syscall.SIGTERM)
	if st := d.exits(); st.ExitCode() != 0 {
		t.Errorf("superd: %s", st)
	}
	// Nor what it says of a configuration that it refuses.
	d = newDaemon(t, "[pool.x]\ncomand = 1\n")
	d.begin(w, w)
	if st := d.exits(); st.ExitCode() != 2 {
		t.Errorf("superd: %s", st)
	}
}

// TestReaderOfTheLogGoes: a broken pipe ends nothing.
func TestReaderOfTheLogGoes(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, crashing)
	d.begin(w, w)
	w.Close()
	d.running("good/0")
	r.Close()
	d.until("status says that lines are lost", func() bool { return strings.Contains(d.degraded(), "broken pipe") })
	d.must("stop", "good")
	d.must("start", "good")
	d.cmd.Process.Signal(syscall.SIGTERM)
	if st := d.exits(); st.ExitCode() != 0 {
		t.Errorf("superd: %s", st)
	}
}

// TestPanicIsHeard: what kills superd reaches standard error, and looks like no
// exit code that superd gives by itself. Where nobody reads, superd dies all the
// same.
func TestPanicIsHeard(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		d := newDaemon(t, "[pool.good]\ncommand = \"sleep 1000\"\n")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if full {
			r, w = fullPipe(t)
		}
		d.begin(w, w)
		w.Close()
		d.running("good/0")
		// No other keeper can be started: its socket cannot be removed.
		socket := d.dir + "/run/keeper.sock"
		if err := os.Remove(socket); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(socket+"/x", 0o755); err != nil {
			t.Fatal(err)
		}
		h := host{dir: d.dir}
		for _, pid := range h.processes() {
			if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(line, []byte("\x00keep\x00")) {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		st := d.exits().Sys().(syscall.WaitStatus)
		if !st.Signaled() || st.Signal() != syscall.SIGABRT {
			t.Errorf("superd ended with %v", d.cmd.ProcessState)
		}
		if !full {
			if text, _ := io.ReadAll(r); !strings.Contains(string(text), "panic: cannot start another keeper") {
				t.Errorf("it said %q", text)
			}
		}
	}
}

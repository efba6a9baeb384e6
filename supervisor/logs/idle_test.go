package logs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// idle starts a superd with n silent runs and returns its pid.
func idle(t testing.TB, n int) int {
	t.Helper()
	dir := t.TempDir()
	c := reexec(t, "idle", "LOGS_DIR="+dir, "LOGS_RUNS="+strconv.Itoa(n))
	c.Stderr = nil
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StderrPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		in.Close()
		c.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return c.Process.Pid
}

// switches counts how often the threads of a process gave up a processor: every
// system call that waits, and every wake-up.
func switches(t testing.TB, pid int) (n int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	must(t, err)
	for _, path := range tasks {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(line, ":"); name == "voluntary_ctxt_switches" {
				k, _ := strconv.Atoi(strings.TrimSpace(value))
				n += k
			}
		}
	}
	return n
}

// TestIdle: with nothing to write there is no system call at all.
func TestIdle(t *testing.T) {
	pid := idle(t, 50)
	eventually(t, 30*time.Second, func() bool {
		before := switches(t, pid)
		time.Sleep(2 * time.Second) // the span that is looked at
		return switches(t, pid) == before
	}, "an idle superd keeps waking up")
}

// TestMemory: what a run costs.
func TestMemory(t *testing.T) {
	pss := func(n int) int {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", idle(t, n)))
		must(t, err)
		for line := range strings.Lines(string(b)) {
			var kb int
			if k, _ := fmt.Sscanf(line, "Pss: %d kB", &kb); k == 1 {
				return kb << 10
			}
		}
		t.Fatal("no Pss")
		return 0
	}
	few, many := pss(10), pss(1010)
	t.Logf("%d bytes for each run", (many-few)/1000)
	if each := (many - few) / 1000; each > 4096 && !race {
		t.Errorf("each run costs %d bytes", each)
	}
}

package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// count VARIABLE threads|files superd|keeper counts what a process has.
func count(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	pid := h.process.Pid
	if args[2] == "keeper" {
		pid = h.keeperPID(ts)
	}
	dir := map[string]string{"threads": "task", "files": "fd"}[args[1]]
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(len(entries)))
}

// comedown threads|files superd|keeper A [SLACK] waits for a number to be no more
// than another and the slack: what is of no use any more is given up in its turn.
func comedown(ts *testscript.TestScript, neg bool, args []string) {
	limit := 0
	for _, arg := range args[2:] {
		n, err := strconv.Atoi(arg)
		ts.Check(err)
		limit += n
	}
	eventually(ts, fmt.Sprintf("at most %d %s of %s", limit, args[0], args[1]), func() bool {
		count(ts, false, []string{"NOW", args[0], args[1]})
		now, err := strconv.Atoi(ts.Getenv("NOW"))
		ts.Check(err)
		return now <= limit
	})
}

// atmost A B [SLACK] wants a number not to exceed another by more than the slack.
func atmost(ts *testscript.TestScript, neg bool, args []string) {
	n := make([]int, 3)
	for i, arg := range args {
		var err error
		n[i], err = strconv.Atoi(arg)
		ts.Check(err)
	}
	if n[0] > n[1]+n[2] {
		ts.Fatalf("%d is more than %d and %d", n[0], n[1], n[2])
	}
}

// idle SECONDS wants superd and its keeper to come to make no system call for so long.
func idle(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	seconds, err := strconv.Atoi(args[0])
	ts.Check(err)
	out := filepath.Join(h.dir, "strace.out")
	trace := exec.Command("strace", "-f", "-qq", "-o", out, "-p", strconv.Itoa(h.process.Pid), "-p", strconv.Itoa(h.keeperPID(ts)))
	ts.Check(trace.Start())
	defer func() {
		trace.Process.Signal(syscall.SIGINT)
		trace.Wait()
	}()
	size := func() int64 {
		fi, err := os.Stat(out)
		if err != nil {
			return -1
		}
		return fi.Size()
	}
	// What was begun before, the status above, the calls that attaching interrupts
	// and timers that fire once (a healthy worker's failures are forgotten, the heap
	// is given back), comes to rest; whatever comes again and again never does.
	last, since := size(), time.Now()
	for start := time.Now(); last < 0 || time.Since(since) < time.Duration(seconds)*time.Second; time.Sleep(50 * time.Millisecond) {
		if now := size(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(start) > patience+time.Duration(3*seconds)*time.Second {
			data, _ := os.ReadFile(out)
			ts.Fatalf("superd and its keeper do not come to rest:\n%s", tail(string(data), 60))
		}
	}
}

// tail is the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

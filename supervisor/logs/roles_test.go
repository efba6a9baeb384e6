package logs

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/superd/superd/config"
)

// A process told so kills itself at a named instant, after letting it pass
// LOGS_KILL_AFTER times.
func init() {
	point := os.Getenv("LOGS_KILL")
	if point == "" {
		return
	}
	left, _ := strconv.Atoi(os.Getenv("LOGS_KILL_AFTER"))
	hook = func(at string) {
		if at != point {
			return
		}
		if left == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		left--
	}
}

// playIdle is a superd with many runs that print nothing any more.
func playIdle() {
	m, err := New(Options{RuntimeDir: os.Getenv("LOGS_DIR"), LogDir: os.Getenv("LOGS_DIR") + "/log"})
	if err != nil {
		panic(err)
	}
	n, _ := strconv.Atoi(os.Getenv("LOGS_RUNS"))
	var pipes []*Pipes
	for i := range n {
		run, sp := "run"+strconv.Itoa(i), spec("a", i)
		if i%10 == 9 {
			sp.Target = config.LogInherit
		}
		p, err := m.Prepare(run, sp, os.Getuid(), os.Getgid())
		if err != nil {
			panic(err)
		}
		if err := m.Attach(run, sp, p); err != nil {
			panic(err)
		}
		p.Stdout.WriteString("line\n")
		pipes = append(pipes, p)
	}
	for i := range n {
		for run := "run" + strconv.Itoa(i); ; time.Sleep(time.Millisecond) {
			if st, _ := m.Stats(run); st.Bytes == 5 {
				break
			}
		}
	}
	debug.FreeOSMemory()
	os.Stderr.WriteString("ready\n")
	var b [1]byte
	syscall.Read(0, b[:])
	runtime.KeepAlive(pipes)
}

// goroutines counts those of this package that are not tests.
func goroutines() int {
	buf := make([]byte, 1<<20)
	n := 0
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "supervisor/logs") && !strings.Contains(g, "_test.go") {
			n++
		}
	}
	return n
}

func inode(fi os.FileInfo) uint64 { return fi.Sys().(*syscall.Stat_t).Ino }

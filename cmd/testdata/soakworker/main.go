// soakworker is a worker of the soak. It is told its kind and its slot, a file
// that it locks and keeps mapped: a second process in the slot cannot have the
// lock, and says so. Beside the slot it takes notes, which nobody of superd's ever
// sees: when it was started, which signals came, and how many lines it has printed.
//
//	soakworker KIND SLOT
package main

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// slot is what a worker's file has, all through its runs.
type slot struct {
	run     [32]byte // that has the lock
	printed int64    // lines of that run, counted after they were written
	last    int64    // when the run was last seen at work, ns since boot
	late    int64    // by how much the run was ever woken too late, ns
	starts  int64    // of all runs
}

type worker struct {
	*slot
	path    string
	lock    *os.File
	notes   *os.File
	run     string
	random  *rand.Rand
	signals chan os.Signal
}

func main() {
	w := &worker{path: os.Args[2], run: os.Getenv("SUPERD_RUN_ID"), signals: make(chan os.Signal, 16)}
	signal.Notify(w.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	w.begin()
	switch os.Args[1] {
	case "chatty":
		w.chatty()
	case "flaky":
		w.print(2)
		w.rest(time.Duration(w.random.IntN(60)) * time.Millisecond)
		if w.random.IntN(3) == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		os.Exit(1)
	case "brief": // its last words are nearly all that it says
		w.rest(time.Duration(200+w.random.IntN(1500)) * time.Millisecond)
		w.print(1 + w.random.IntN(30))
		if w.random.IntN(2) == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	case "slow":
		w.slow()
	case "forking":
		w.forking(nil)
	case "boxed": // its children leave its session: only its cgroup has them all
		w.forking(&syscall.SysProcAttr{Setsid: true})
	case "once":
		w.print(1)
	case "broken":
		w.print(1)
		os.Exit(3)
	default:
		w.print(1)
		for sig := range w.signals {
			w.note("signal", sig)
			w.print(1)
			if sig != syscall.SIGUSR1 {
				return
			}
		}
	}
}

// begin takes the slot and notes how far the run before had come.
func (w *worker) begin() {
	var err error
	w.lock, err = os.OpenFile(w.path, os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	w.notes, err = os.OpenFile(w.path+".notes", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must(err)
	must(w.lock.Truncate(int64(unsafe.Sizeof(slot{}))))
	mem, err := syscall.Mmap(int(w.lock.Fd()), 0, int(unsafe.Sizeof(slot{})), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	must(err)
	w.slot = (*slot)(unsafe.Pointer(&mem[0]))
	if syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		w.say("double", w.run, w.holder())
		os.Exit(99)
	}
	if w.holder() != "" {
		w.say("closed", w.holder(), number(w.printed), number(w.last), number(w.late))
	}
	w.slot.run = [32]byte{}
	copy(w.slot.run[:], w.run)
	w.printed, w.last, w.late = 0, boottime(), 0
	w.starts++
	seed := fnv.New64()
	seed.Write([]byte(w.path))
	w.random = rand.New(rand.NewPCG(seed.Sum64(), uint64(w.starts)))
	w.say("start", w.run, strconv.Itoa(os.Getpid()), number(startTime()))
}

func (w *worker) holder() string { return strings.TrimRight(string(w.slot.run[:]), "\x00") }

// print writes lines, each a number that follows the one before.
func (w *worker) print(lines int) {
	for range lines {
		n := w.printed + 1
		text := w.run + " " + number(n) + " " + strings.Repeat("x", int(n%60)) + "\n"
		if _, err := os.Stdout.WriteString(text); err != nil {
			os.Exit(98)
		}
		atomic.StoreInt64(&w.printed, n)
	}
	atomic.StoreInt64(&w.last, boottime())
}

// chatty prints until it is told to stop, and has some last words then.
func (w *worker) chatty() {
	for {
		select {
		case sig := <-w.signals:
			w.note("signal", sig)
			w.print(3)
			if sig != syscall.SIGUSR1 {
				return
			}
		case <-time.After(time.Duration(20+w.random.IntN(100)) * time.Millisecond):
			w.print(1 + w.random.IntN(16))
		}
	}
}

// slow does not heed TERM, and INT only now and then.
func (w *worker) slow() {
	const tick = 100 * time.Millisecond
	w.print(1)
	heeds := w.random.IntN(2) == 0
	for at := time.Now(); ; {
		select {
		case sig := <-w.signals:
			w.note("signal", sig)
			w.print(1)
			if heeds && sig == syscall.SIGINT {
				w.say("left", w.run, "INT")
				return
			}
		case <-time.After(tick):
			now := time.Now()
			if late := int64(now.Sub(at) - tick); late > w.late {
				atomic.StoreInt64(&w.late, late)
			}
			at = now
			atomic.StoreInt64(&w.last, boottime())
		}
	}
}

// forking has children that hold the slot with it: the next run finds it taken as
// long as one of them lives.
func (w *worker) forking(attr *syscall.SysProcAttr) {
	w.print(1)
	for range 2 {
		_, err := os.StartProcess("/bin/sleep", []string{w.path, "100000"},
			&os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr, w.lock}, Sys: attr})
		must(err)
	}
	heeds := w.random.IntN(2) == 0
	for sig := range w.signals {
		w.note("signal", sig)
		if heeds && sig == syscall.SIGTERM {
			return
		}
	}
}

func (w *worker) rest(d time.Duration) {
	select {
	case sig := <-w.signals:
		w.note("signal", sig)
		w.print(1)
		os.Exit(0)
	case <-time.After(d):
	}
}

func (w *worker) note(what string, sig os.Signal) {
	name := map[os.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGUSR1: "USR1"}[sig]
	w.say(what, w.run, name, number(boottime()), number(atomic.LoadInt64(&w.late)))
}

func (w *worker) say(words ...string) { w.notes.WriteString(strings.Join(words, " ") + "\n") }

func number(n int64) string { return strconv.FormatInt(n, 10) }

// boottime is CLOCK_BOOTTIME in nanoseconds, which goes on in sleep and is not set.
func boottime() int64 {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 7, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

// startTime is when the kernel made this process, by the same clock, to 10 ms.
func startTime() int64 {
	data, err := os.ReadFile("/proc/self/stat")
	must(err)
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	must(err)
	return ticks * int64(10*time.Millisecond)
}

func must(err error) {
	if err != nil {
		os.Stderr.WriteString("soakworker: " + err.Error() + "\n")
		os.Exit(97)
	}
}

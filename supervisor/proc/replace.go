package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Replacement is a program to be executed in place of this one.
type Replacement struct {
	Program *os.File // is executed by its descriptor: whatever its name means by now
	Args    []string // with the zeroth
	Pass    []*os.File
	// Env makes the environment. It is called at last,
	// with the numbers that the files of Pass, and at the end Program, will have,
	// and those signals that have come and that nobody will see: they would end a
	// program that has only begun.
	Env func(fds []int, pending []syscall.Signal) []string
}

// Replace executes a program in this process and keeps its pid, or returns why it
// cannot, and then everything is as it was. It is for a program written in Go
// that catches all signals as its first deed.
//
// Until then most signals wait, from the moment of the execution on: they are
// blocked in the thread that executes. Go's runtime unblocks HUP, INT
// and TERM at its start, when nothing catches them yet, so the first two are
// ignored for those milliseconds; whoever is told to end by TERM ends.
func Replace(r Replacement) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var limit unix.Rlimit
	limited := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil
	// What is forked meanwhile would have the descriptors too.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := passable(append(r.Pass[:len(r.Pass):len(r.Pass)], r.Program))
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return err
	}
	if err := mask(unix.SIG_BLOCK); err != nil {
		return err
	}
	defer mask(unix.SIG_UNBLOCK)
	// What Go's runtime has taken already is on its way to whoever is notified.
	time.Sleep(settle)
	env := r.Env(fds, takePending())
	undo, err := ignore(unix.SIGHUP, unix.SIGINT)
	if err != nil {
		return fmt.Errorf("cannot ignore signals: %w", err)
	}
	err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(fds[len(fds)-1]), r.Args, env)
	undo()
	if limited {
		unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) // Exec has set the one that we were started with
	}
	return fmt.Errorf("cannot execute %s: %w", r.Program.Name(), err)
}

// settle is far longer than a signal that was caught takes to a channel.
const settle = 2 * time.Millisecond

// passable duplicates files to descriptors that stay open when a program is executed.
func passable(files []*os.File) (fds []int, err error) {
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fds, err
		}
		var dup int
		var failed error
		err = raw.Control(func(fd uintptr) { dup, failed = unix.FcntlInt(fd, unix.F_DUPFD, 3) })
		if err = errors.Join(err, failed); err != nil {
			return fds, fmt.Errorf("cannot pass %s on: %w", f.Name(), err)
		}
		fds = append(fds, dup)
	}
	return fds, nil
}

// blocked are the signals that wait while a program is executed: all but those
// that a fault of the program itself causes, and those that Go's runtime needs.
// It is a variable since the kernel reads it through a pointer that Go must not move.
var blocked = func() (set uint64) {
	for sig := unix.SIGHUP; sig <= lastSig; sig++ {
		switch sig {
		case unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS, unix.SIGSTKFLT,
			unix.SIGCHLD, unix.SIGURG, unix.SIGPROF, 32, 33, 34:
		default:
			set |= bit(sig)
		}
	}
	return set
}()

func bit(sig syscall.Signal) uint64 { return 1 << (uint(sig) - 1) }

// mask changes the signal mask of the calling thread, which is what a program that
// is executed begins with. Go has no way to other threads' masks
// (AllThreadsSyscall makes the call in a signal handler, whose end takes it back):
// what one of them catches in the last millisecond goes to this program still, and
// is lost if nobody comes to it before its end.
func mask(how int) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, uintptr(how), uintptr(unsafe.Pointer(&blocked)), 0, unsafe.Sizeof(blocked), 0, 0)
	if e != 0 {
		return fmt.Errorf("cannot block signals: %w", e)
	}
	return nil
}

// takePending takes the signals that are blocked, have come, and could not be
// left to the program that is executed.
func takePending() (pending []syscall.Signal) {
	set := bit(unix.SIGHUP) | bit(unix.SIGINT) | bit(unix.SIGQUIT) | bit(unix.SIGTERM)
	for len(pending) < 16 {
		var none unix.Timespec
		sig, _, e := unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(set), 0, 0)
		if e != 0 {
			break
		}
		pending = append(pending, syscall.Signal(sig))
	}
	return pending
}

// ignore has signals ignored, and tells how to undo that. It is not Go's own
// signal.Ignore: that ends what catches them.
func ignore(signals ...syscall.Signal) (undo func(), err error) {
	old := make([]sigaction, 0, len(signals))
	undo = func() {
		for i := range old {
			rtSigaction(int(signals[i]), &old[i], nil)
		}
	}
	for _, sig := range signals {
		var was sigaction
		if err := rtSigaction(int(sig), &sigaction{handler: sigIgnore}, &was); err != nil {
			undo()
			return nil, err
		}
		old = append(old, was)
	}
	return undo, nil
}

// Stuck tells whether a thread of this process is in a system call that even the
// process's end would wait for (state D).
func Stuck() bool {
	dir, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false
	}
	var buf [1024]byte
	for _, e := range dir {
		data, err := readSmall("/proc/self/task/"+e.Name()+"/stat", buf[:])
		if err != nil {
			continue
		}
		if st, err := parseStat(data); err == nil && st.State == 'D' {
			return true
		}
	}
	return false
}

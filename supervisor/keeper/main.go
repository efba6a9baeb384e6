package keeper

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

const (
	socketName   = "keeper.sock"
	pidName      = "keeper.pid" // for people: nothing reads it
	traceName    = "keeper.err" // where a keeper that dies leaves its trace
	listenerFlag = "--listener" // the descriptor on which a keeper that Dial starts is called
)

// Main is `superd keep`: args are --dir RUNTIME_DIR and what Dial adds. It
// returns the exit code once superd has said that everything is over.
func Main(args []string) int {
	if len(args) > 0 && args[0] == proc.StageArgs[2] {
		return proc.StageMain()
	}
	dir, fd, err := parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "superd keep: %v (superd starts it by itself)\n", err)
		return 2
	}
	if err := keep(dir, fd, (*keeper).catchSignals); err != nil {
		fmt.Fprintf(os.Stderr, "superd keep: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string) (dir string, fd int, err error) {
	fd = -1
	for len(args) > 1 {
		switch args[0] {
		case "--dir":
			dir = args[1]
		case listenerFlag:
			if fd, err = strconv.Atoi(args[1]); err != nil || fd < 3 {
				return "", 0, fmt.Errorf("%s %q is no descriptor", listenerFlag, args[1])
			}
		default:
			return "", 0, fmt.Errorf("there is no option %q", args[0])
		}
		args = args[2:]
	}
	if len(args) > 0 || dir == "" {
		return "", 0, fmt.Errorf("usage: superd keep --dir RUNTIME_DIR")
	}
	return dir, fd, nil
}

// keep is the life of the keeper, which is called on fd; -1: on a socket that it makes
// in dir. begin is called when it can be told of signals.
func keep(dir string, fd int, begin func(*keeper) error) error {
	runtime.GOMAXPROCS(2)
	// The loop collects by itself, when it is worth it: the runtime's own collector
	// would run every two minutes for nothing. The limit is for what the loop
	// might have failed to count.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(256 << 20)
	if fd < 0 {
		var err error
		if fd, err = listen(dir); err != nil {
			return err
		}
	}
	aim.At("keeper.begin")
	unix.CloseOnExec(fd)
	unix.SetNonblock(fd, true)
	closeInherited()
	k, err := newKeeper()
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err)
	}
	k.listener = &listener{fd}
	if err := k.watch(fd, unix.EPOLLIN|unix.EPOLLET, k.listener); err != nil {
		return err
	}
	k.dir = dir
	k.mine = inode(filepath.Join(dir, socketName))
	if err := begin(k); err != nil {
		return err
	}
	warmUp()
	k.oom = lowerOOM()
	// The first thread is kept out of it, since orphans become its children: there
	// they can be told from the runs, whose parent is the loop's thread.
	runtime.LockOSThread()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := proc.ResetSignals()
		if err == nil {
			k.loop()
		}
		done <- err
	}()
	err = <-done
	if name := k.named(); name != "" {
		os.Remove(filepath.Join(dir, name))
	}
	return err
}

// closeInherited closes what superd itself was started with by mistake: the
// workers would have it too, and whoever waits for its end would wait as long as
// the keeper lives. Our own descriptors are all closed on exec; nobody else's are.
func closeInherited() {
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range dir {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}

// inode names the file that path is now; 0: there is none.
func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// catchSignals keeps signals from ending the keeper. TERM ends it only when
// nothing lives and no superd is connected. None is ignored: that would be
// inherited by the workers, as a handler is not.
func (k *keeper) catchSignals() error {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGVTALRM,
		syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
		syscall.SIGIO, syscall.SIGPWR, syscall.SIGSTKFLT, syscall.SIGABRT)
	go func() {
		one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
		for sig := range ch {
			switch sig {
			case syscall.SIGCHLD:
				if k.asked.child.Swap(true) {
					continue // the loop has been woken for that
				}
			case syscall.SIGTERM:
				k.asked.end.Store(true)
			case bindSignal:
				k.asked.bind.Store(true)
			default:
				continue
			}
			unix.Write(k.wakeup, one)
		}
	}()
	return nil
}

// spareThreads is how many threads the runtime is made to have beforehand: it
// cannot live on when the kernel refuses it one.
const spareThreads = 6

func warmUp() {
	proc.SpareThreads(spareThreads)
	runtime.GC() // which starts its workers
}

func (k *keeper) collect() {
	runtime.GC()
	k.garbage = 0
}

// oomScore is the keeper's place in the queue of the kernel's OOM killer: the
// last, where that is allowed. What it forks must not inherit that, so the score
// is what it was while it forks.
type oomScore struct {
	fd        int // of oom_score_adj; 0: the score could not be lowered
	low, orig string
	lent      bool
}

func lowerOOM() oomScore {
	const path = "/proc/self/oom_score_adj"
	data, err := os.ReadFile(path)
	if err != nil {
		return oomScore{}
	}
	orig := strings.TrimSpace(string(data))
	was, err := strconv.Atoi(orig)
	if err != nil {
		return oomScore{}
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return oomScore{}
	}
	for _, low := range []int{-1000, 0} {
		text := strconv.Itoa(low)
		if low >= was {
			break
		}
		if _, err := unix.Pwrite(fd, []byte(text), 0); err == nil {
			return oomScore{fd: fd, low: text, orig: orig}
		}
	}
	unix.Close(fd)
	return oomScore{}
}

// lend gives the keeper its first score for a while.
func (o *oomScore) lend() {
	if o.fd != 0 && !o.lent {
		_, err := unix.Pwrite(o.fd, []byte(o.orig), 0)
		o.lent = err == nil
	}
}

// back takes the low one again.
func (o *oomScore) back() {
	if o.lent {
		unix.Pwrite(o.fd, []byte(o.low), 0)
		o.lent = false
	}
}

package keeper

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// In a container the first process is something special: the kernel ends all others
// when it ends, gives it every orphan, and has the container's runtime send it the
// signals that are meant for the container and take its exit code for the
// container's. So it must be what has the fewest reasons to end: the keeper. superd
// is its child, and it has three duties more than a keeper has:
//
//   - superd is started, and started again when it dies;
//   - a signal that comes is passed on to superd, now or when there is one again;
//   - it ends when superd has, by superd's exit code, if that was meant to be the end.
//
// It still knows no configuration. It reads a clock, for one thing alone: a superd
// that dies at once, time and again, is not started ten thousand times a minute.
//
// Whether an end was meant is told by the exit code. 0 (stopped as told) and 10 (an
// essential pool failed) are decisions: the container ends. Everything else is an
// accident, and what lives must not pay for it: a configuration that was broken
// meanwhile changes nothing that runs, here as anywhere. But a superd that fails
// before any has ever come as far as to greet its keeper has built nothing: the
// container ends with it, so that whoever starts containers sees why.
//
// Once TERM or INT has come the container has to end. If superd dies before it has
// stopped its workers, no other one follows, which would first start those again that
// are stopped already: `superd leftovers` stops the rest, each by its stop sequence. It
// needs no configuration, and if need be no program but the one that runs here. What
// that cannot end either, the kernel does.

// InitOptions are what the first process of a container is told.
type InitOptions struct {
	Dir  string // the runtime folder, which exists
	Path string // the program that is superd; what is there counts each time that one is started
	// Run are superd's arguments, and Leftovers those of `superd leftovers`, from the
	// zeroth on. LeftoversEnv is added to the environment of the latter.
	Run, Leftovers, LeftoversEnv []string
	// Stdout and Stderr are superd's, too.
	Stdout, Stderr *os.File
	// Signals are passed on to superd: all but SIGCHLD, from the first moment on.
	Signals <-chan os.Signal
	// Log is called on the loop and must not wait for anything.
	Log func(string)
}

// ReadyVariable names the environment variable with the number of a descriptor. A
// superd that finds it writes a byte there and closes it when no signal can surprise
// it any more: until then they are kept back.
const ReadyVariable = "SUPERD_INIT_READY"

// firstName is what the first process calls itself (proc_pid_comm(5)).
const firstName = "superd-init"

// UnderInit tells whether the caller was started by the first process of its
// container, which is a keeper and ends when the caller ends.
func UnderInit() bool { return os.Getppid() == 1 && isFirst() }

func isFirst() bool {
	name, err := os.ReadFile("/proc/1/comm")
	return err == nil && string(name) == firstName+"\n"
}

// Init is the keeper as the first process of a container, and returns its exit code.
func Init(opt InitOptions) int {
	var f *first
	err := keep(opt.Dir, -1, func(k *keeper) (err error) {
		if f, err = newFirst(k, opt); err != nil {
			return err
		}
		k.first = f
		f.catch()
		debug.FreeOSMemory() // whatever it took to come here
		// It is how superd knows it; and killing by name then means superd alone.
		return os.WriteFile("/proc/self/comm", []byte(firstName), 0)
	})
	if err != nil {
		opt.Log(fmt.Sprintf("cannot be the first process of this container: %v", err))
		return 1
	}
	return f.code
}

const (
	// longEnough is how long a superd must have lived for its death to be an accident
	// of its own, and no more of the same.
	longEnough = 10 * time.Second
	// Between two that die at once the pause grows from shortPause, twofold, to longPause.
	shortPause = 50 * time.Millisecond
	longPause  = time.Second
	// lastTries is how often superd leftovers is started; from the second time on as the
	// program that runs here.
	lastTries = 3
)

// first is what the first process has beside a keeper. It is the loop's alone, but
// for came.
type first struct {
	k     *keeper
	opt   InitOptions
	env   []string
	umask uint32

	pid, pidfd int // of superd; 0 and -1: there is none
	pipe       int // the pipe on which it says that it takes signals; -1: it has
	listens    bool
	since      time.Duration // when it was started
	timer      int           // goes off when it is to be started
	quick      int           // how many have died at once in a row

	reached bool   // a superd has greeted the keeper, ever
	kept    uint64 // signals that are to be passed on
	ending  bool   // TERM or INT has come
	tries   int    // of superd leftovers; 0: if anybody lives, it is superd
	code    int    // to end with

	came atomic.Uint64 // signals that the loop has not seen yet
}

func newFirst(k *keeper, opt InitOptions) (*first, error) {
	f := &first{k: k, opt: opt, env: firstEnv(os.Environ()), umask: k.starter.Umask(), pidfd: -1, pipe: -1, code: 1}
	var err error
	if f.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	f.startIn(0)
	return f, k.watch(f.timer, unix.EPOLLIN, (*firstTimer)(f))
}

// catch has signals passed on. They are kept as a set, as the kernel keeps them.
func (f *first) catch() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	go func() {
		for range children {
			if !f.k.asked.child.Swap(true) {
				unix.Write(f.k.wakeup, one)
			}
		}
	}()
	go func() {
		for sig := range f.opt.Signals {
			number, ok := sig.(syscall.Signal)
			switch {
			case !ok || number == syscall.SIGPIPE || number == syscall.SIGXFSZ:
				continue // nobody asks for anything by them
			case number == firstBindSignal:
				f.k.asked.bind.Store(true)
			default:
				f.came.Or(signalBit(number))
			}
			unix.Write(f.k.wakeup, one)
		}
	}()
}

func signalBit(sig syscall.Signal) uint64 { return 1 << (uint(sig) - 1) }

// signalled takes the signals that have come.
func (f *first) signalled() {
	came := f.came.Swap(0)
	f.kept |= came
	if came&(signalBit(syscall.SIGTERM)|signalBit(syscall.SIGINT)) != 0 {
		f.ending = true
		if f.pid == 0 {
			f.startIn(0)
		}
	}
	f.deliver()
}

// deliver passes on what is kept. What it sends to a superd that is dying is lost,
// so one that has died is sent nothing: a zombie would take it without an error.
func (f *first) deliver() {
	if f.pid == 0 || !f.listens || f.tries > 0 || proc.Ended(f.pidfd) {
		return
	}
	for sig := syscall.Signal(1); sig <= 64 && f.kept != 0; sig++ {
		if f.kept&signalBit(sig) == 0 {
			continue
		}
		if err := proc.SendSignal(f.pidfd, sig); err != nil {
			return
		}
		f.kept &^= signalBit(sig)
	}
}

// greeted: a superd has greeted the keeper. Its pid is not always the child's: one
// may have been started by hand.
func (f *first) greeted(c *conn) {
	f.reached = true
	peer, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err == nil && int(peer.Pid) == f.pid {
		f.listens = true // even one that knows nothing of ReadyVariable
		f.deliver()
	}
}

// over is what becomes of a request to end the keeper: superd hears that it has, and
// is about to end itself.
func (f *first) over(c *conn) { f.k.hangUp(c) }

func monotonic() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it cannot fail
	return time.Duration(ts.Nano())
}

// startIn has superd be started after a while.
func (f *first) startIn(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, d.Nanoseconds()))} // 0 would be never
	unix.TimerfdSettime(f.timer, 0, &spec, nil)
}

// firstTimer is when superd is to be started.
type firstTimer first

func (t *firstTimer) ready(k *keeper, _ uint32) {
	f := (*first)(t)
	var b [8]byte
	unix.Read(f.timer, b[:])
	k.guard(func() {
		if f.pid != 0 || k.end {
			return
		}
		f.since = monotonic()
		what, err := "superd", error(nil)
		if f.ending {
			what = "superd leftovers"
			f.tries++
			err = f.start(f.opt.Leftovers, f.opt.LeftoversEnv)
		} else {
			err = f.startSuperd()
		}
		if err != nil {
			f.ended(fmt.Sprintf("cannot start %s: %v", what, err), proc.ExitStatus{Code: 1})
		}
	})
}

// startSuperd starts superd, with a pipe on which it says that it takes signals.
func (f *first) startSuperd() error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(p[1])
	f.listens, f.pipe = false, p[0]
	err := f.k.watch(f.pipe, unix.EPOLLIN, (*firstReady)(f))
	if err == nil {
		err = f.start(f.opt.Run, []string{ReadyVariable + "=3"}, p[1])
	}
	if err != nil {
		f.k.drop(&f.pipe)
	}
	return err
}

// start starts superd, or superd leftovers. It is in a session of its own, so that what
// is typed into the container's terminal reaches it once: as what is passed on.
func (f *first) start(args, env []string, extra ...int) error {
	k := f.k
	files := proc.Files{Stdout: int(f.opt.Stdout.Fd()), Stderr: int(f.opt.Stderr.Fd())}
	if len(extra) > 0 {
		files.Extra = extra[0]
	}
	const here = "/proc/self/exe"
	spec := &proc.Spec{Path: f.opt.Path, Args: args, Env: append(slices.Clone(f.env), env...), Dir: ".", Umask: f.umask}
	if f.tries > 1 {
		spec.Path = here
	}
	k.oom.lend()
	p, err := k.starter.Direct(spec, files)
	if err != nil && spec.Path != here {
		f.opt.Log(fmt.Sprintf("cannot execute %s: %v (the program that was started first is taken)", spec.Path, err))
		spec.Path = here
		p, err = k.starter.Direct(spec, files)
	}
	if err != nil {
		return err
	}
	f.pid, f.pidfd = p.PID, p.PIDFD
	if err := k.watch(f.pidfd, unix.EPOLLIN, (*firstChild)(f)); err != nil {
		f.opt.Log(fmt.Sprintf("cannot watch superd, pid %d: %v (its end is noticed by a signal)", f.pid, err))
	}
	return nil
}

// firstEnv is the environment of whatever the first process starts. What it says of
// descriptors and of a watchdog was meant for the first process: those are closed,
// and superd is who shows signs of life.
func firstEnv(all []string) []string {
	mine := fmt.Sprintf("WATCHDOG_PID=%d", os.Getpid())
	var env []string
	for _, kv := range all {
		switch name, _, _ := strings.Cut(kv, "="); {
		case kv == mine, name == "LISTEN_PID", name == "LISTEN_FDS", name == "LISTEN_FDNAMES", name == "LISTEN_PIDFDID", name == ReadyVariable:
		default:
			env = append(env, kv)
		}
	}
	return env
}

// firstReady is the pipe on which superd says that it takes signals.
type firstReady first

func (r *firstReady) ready(k *keeper, _ uint32) {
	f := (*first)(r)
	var b [8]byte
	n, err := unix.Read(f.pipe, b[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	k.drop(&f.pipe)
	if n > 0 {
		f.listens = true
		k.guard(f.deliver)
	}
}

// firstChild is superd.
type firstChild first

func (c *firstChild) ready(k *keeper, _ uint32) {
	k.guard((*first)(c).reap)
}

// reap takes superd's end.
func (f *first) reap() {
	st, ok, err := proc.Reap(f.pidfd)
	if err == nil && !ok {
		return
	}
	if err != nil {
		st = proc.ExitStatus{Unknown: true}
	}
	pid := f.pid
	f.pid = 0
	f.k.drop(&f.pidfd)
	f.k.drop(&f.pipe)
	f.ended(fmt.Sprintf("superd, pid %d, has ended: %s", pid, st), st)
}

// exitEssential is core.ExitEssentialFailed, which nothing here may import.
const exitEssential = 10

// ended decides what follows the end of superd, or of a try to start it.
func (f *first) ended(what string, st proc.ExitStatus) {
	exited := st.Signal == 0 && !st.Unknown
	switch {
	case exited && (st.Code == 0 || st.Code == exitEssential):
		f.finish(st.Code)
	case f.tries == lastTries:
		f.opt.Log(what + " (whatever lives is killed)")
		f.finish(1)
	case f.ending:
		f.opt.Log(what + " (the container is to end: superd leftovers ends the workers)")
		f.startIn(0)
	case exited && !f.reached:
		f.finish(st.Code)
	default:
		d := f.pause()
		when := "at once"
		if d > 0 {
			when = "in " + d.String()
		}
		f.opt.Log(what + " (the next one is started " + when + ")")
		f.startIn(d)
	}
}

// pause is how long to wait before the next superd is started.
func (f *first) pause() time.Duration {
	if monotonic()-f.since >= longEnough {
		f.quick = 0
	}
	f.quick++
	if f.quick == 1 {
		return 0
	}
	return min(longPause, shortPause<<min(f.quick-2, 10))
}

// finish ends the first process. What still lives is killed by the kernel, whose way
// that is with the processes of a pid namespace that has lost its first one.
func (f *first) finish(code int) {
	f.code = code
	f.k.end = true
}

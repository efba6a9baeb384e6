package keeper

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// How the first process of a container starts superd, and what it does about its end.

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
		f.opt.Log(what + " (none has come up yet: the container ends)")
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

package keeper

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
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

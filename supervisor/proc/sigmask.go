package proc

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sigIgnore = 1  // SIG_IGN
	lastSig   = 64 // _NSIG
)

// sigaction is the kernel's, large enough for every architecture that has the
// handler as its first word. All zero it means SIG_DFL.
type sigaction struct {
	handler uintptr
	_       [4]uintptr
}

// ResetSignals makes every ignored signal do its default again, and empties the
// mask of the calling thread: both would be inherited by what the thread forks
// or executes. A signal that the caller catches stays caught: a handler is not
// inherited.
func ResetSignals() error {
	for sig := 1; sig <= lastSig; sig++ {
		var old sigaction
		if err := rtSigaction(sig, nil, &old); err != nil {
			return err
		}
		if old.handler != sigIgnore {
			continue
		}
		if err := rtSigaction(sig, &sigaction{}, nil); err != nil {
			return err
		}
	}
	var none uint64
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, unsafe.Sizeof(none), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func rtSigaction(sig int, act, old *sigaction) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), lastSig/8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

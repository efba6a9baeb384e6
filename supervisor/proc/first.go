package proc

import (
	"os"
	"os/signal"
	"syscall"
)

// firstSignals are those that come to the first process of a pid namespace. Such a
// process is sent only what it catches (pid_namespaces(7)), and Go's runtime ends it
// with exit code 2 for most of what it catches and nobody wants. So they are wanted
// from here on, which is some milliseconds before main: packages are initialized from
// the bottom to the top.
var firstSignals = catchFirst()

func catchFirst() <-chan os.Signal {
	if os.Getpid() != 1 {
		return nil
	}
	var all []os.Signal
	for sig := syscall.Signal(1); sig <= lastSig; sig++ {
		switch sig {
		case syscall.SIGKILL, syscall.SIGSTOP: // nobody can
		case syscall.SIGCHLD, syscall.SIGURG: // the kernel's and the runtime's, and there are many
		default:
			all = append(all, sig)
		}
	}
	caught := make(chan os.Signal, lastSig)
	signal.Notify(caught, all...)
	return caught
}

// FirstSignals are the signals that have come and come to the caller, if that is the
// first process of its pid namespace; else nil. Those are all that can be caught, but
// for SIGCHLD and SIGURG. Who does not want them calls signal.Reset.
func FirstSignals() <-chan os.Signal { return firstSignals }

package keeper

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"unsafe"

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

// firstName is what the first process calls itself (proc_pid_comm(5)). It is how superd
// knows it; and killing by name then means superd alone.
const firstName = "superd-init"

// firstNameC is for the kernel, and does not move.
var firstNameC = []byte(firstName + "\x00")

// UnderInit tells whether the caller was started by the first process of its
// container, which is a keeper and ends when the caller ends.
func UnderInit() bool { return os.Getppid() == 1 && isFirst() }

func isFirst() bool {
	name, err := os.ReadFile("/proc/1/comm")
	return err == nil && string(name) == firstName+"\n"
}

// Init is the keeper as the first process of a container, and returns its exit code. It
// is called on the first thread (runtime.LockOSThread), which gets the orphans.
func Init(opt InitOptions) int {
	var f *first
	err := keep(opt.Dir, -1, func(k *keeper) (err error) {
		if f, err = newFirst(k, opt); err != nil {
			return err
		}
		k.first = f
		f.catch()
		debug.FreeOSMemory() // whatever it took to come here
		// Not by /proc, which may be read-only. The caller is the first thread.
		return os.NewSyscallError("prctl(PR_SET_NAME)", unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&firstNameC[0])), 0, 0, 0))
	})
	if err != nil {
		opt.Log(fmt.Sprintf("cannot be the first process of this container: %v", err))
		return 1
	}
	return f.code
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

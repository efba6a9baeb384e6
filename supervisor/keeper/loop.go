package keeper

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// keeper is the loop and all that it owns: nothing in it is touched by another
// goroutine, but for the flags of asked.
type keeper struct {
	epoll   int
	sources map[int32]watched
	turn    int32 // tells a descriptor from an earlier one of the same number
	starter *proc.Starter
	pid     int
	oom     oomScore
	// hasGroup: the kernel can signal the group of a leader that was reaped.
	hasGroup bool

	runs      map[string]*run
	children  map[int]*run        // own children by pid, until they are reaped
	held      map[string]int      // descriptors by name
	heldBy    map[string][]string // names by what stands before their first dot
	forgotten memory

	client   *conn   // the one that said hello last
	watchers []*conn // those that observe
	waiting  []*conn // those that said nothing yet
	dirty    []*run  // something about them was not told
	listener *listener
	dir      string // where its socket has its name
	mine     uint64 // inode of the socket that was bound there; 0: not known
	again    bool   // accept once more after this round

	exited []*run // their pidfd says so; not yet reaped
	looks  []*run // their session is to be looked through
	doubts []*run // it could not be
	freed  bool   // a descriptor was closed since
	asked  asked
	wakeup int // eventfd, written by the goroutine that gets signals
	end    bool
	first  *first // nil: this is not the first process of a container

	spare   spares
	garbage int // bytes made since the last collection, roughly
	panics  int
	buf     [maxPacket + 1]byte
	oob     [unix.SizeofCmsghdr + 4*64]byte
}

// asked are the flags by which signals reach the loop.
type asked struct{ child, end, bind atomic.Bool }

// source is something in the epoll.
type source interface {
	ready(k *keeper, events uint32)
}

type watched struct {
	source
	turn int32
}

func newKeeper() (*keeper, error) {
	k := &keeper{
		epoll: -1, wakeup: -1,
		sources:  make(map[int32]watched),
		runs:     make(map[string]*run),
		children: make(map[int]*run),
		held:     make(map[string]int),
		heldBy:   make(map[string][]string),
		pid:      unix.Getpid(),
		hasGroup: proc.HasGroupSignal(),
	}
	var err error
	if k.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if k.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if k.starter, err = proc.NewStarter(); err != nil {
		return nil, err
	}
	k.spare.null = k.starter.Null()
	k.spare.fill()
	return k, k.watch(k.wakeup, unix.EPOLLIN, (*waker)(k))
}

// watch adds a descriptor to the epoll.
func (k *keeper) watch(fd int, events uint32, s source) error {
	k.turn++
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: k.turn}
	if err := unix.EpollCtl(k.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	k.sources[int32(fd)] = watched{s, k.turn}
	return nil
}

// rewatch changes what a descriptor is watched for.
func (k *keeper) rewatch(fd int, events uint32) {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: k.sources[int32(fd)].turn}
	unix.EpollCtl(k.epoll, unix.EPOLL_CTL_MOD, fd, &ev)
}

// drop takes a descriptor out of the epoll and closes it, and sets it to -1.
func (k *keeper) drop(fd *int) {
	if *fd < 0 {
		return
	}
	if _, ok := k.sources[int32(*fd)]; ok {
		unix.EpollCtl(k.epoll, unix.EPOLL_CTL_DEL, *fd, nil)
		delete(k.sources, int32(*fd))
	}
	unix.Close(*fd)
	*fd = -1
	k.freed = true
}

const (
	// restAfter is for how many milliseconds nothing must have happened before the
	// loop gives memory back and then waits without a limit.
	restAfter = 1000
	// collectAfter is after how many bytes of garbage it collects in between.
	collectAfter = 2 << 20
	// worthReturning is how much garbage makes a collection worthwhile at rest.
	worthReturning = 256 << 10
	// reserve is how many descriptors are never used for runs.
	reserve = 64
	// doubtful is for how many milliseconds nothing must have happened before what
	// could not be found out is tried again.
	doubtful = 500
)

// loop is the keeper's life. It returns when it was told to end.
func (k *keeper) loop() {
	events := make([]unix.EpollEvent, 64)
	for !k.end {
		timeout := -1
		switch {
		case len(k.exited)+len(k.looks) > 0 || k.asked.child.Load():
			timeout = 0
		case len(k.doubts) > 0:
			timeout = doubtful
		case k.garbage > worthReturning:
			timeout = restAfter
		}
		n, err := unix.EpollWait(k.epoll, events, timeout)
		if err != nil && err != unix.EINTR {
			panic("epoll_wait: " + err.Error()) // nothing that a run or a peer does leads here
		}
		if n == 0 && timeout == restAfter {
			debug.FreeOSMemory()
			k.garbage = 0
			continue
		}
		for i := range max(n, 0) {
			k.dispatch(&events[i])
		}
		if len(k.doubts) > 0 && (n == 0 || k.freed) {
			k.guard(k.resolve)
		}
		k.guard(k.settle)
		k.guard(k.flush)
		k.oom.back()
		if len(k.spare.fds) < spareFiles {
			k.spare.fill()
		}
		if k.again {
			k.again = false
			k.accept(k.listener)
		}
		if k.garbage > collectAfter {
			k.collect()
		}
	}
}

// dispatch hands one event to its source. A source that panics is dropped, so
// that it cannot do so for ever.
func (k *keeper) dispatch(ev *unix.EpollEvent) {
	s, ok := k.sources[ev.Fd]
	if !ok || s.turn != ev.Pad {
		return // dropped by an earlier event of this round
	}
	defer func() {
		if p := recover(); p != nil {
			k.panicked(p)
			if c, ok := s.source.(*conn); ok {
				k.hangUp(c)
			} else if _, ok := s.source.(*listener); !ok {
				fd := int(ev.Fd)
				k.drop(&fd)
			}
		}
	}()
	s.ready(k, ev.Events)
}

// guard keeps a panic from ending the keeper, and all that it holds with it.
func (k *keeper) guard(do func()) {
	defer func() {
		if p := recover(); p != nil {
			k.panicked(p)
		}
	}()
	do()
}

// panicked leaves a trace for the developers, a bounded number of times.
func (k *keeper) panicked(p any) {
	if k.panics++; k.panics <= 8 {
		fmt.Fprintf(os.Stderr, "superd keep: panic (going on): %v\n%s\n", p, debug.Stack())
	}
}

// waker is the eventfd that signals write to.
type waker keeper

func (w *waker) ready(k *keeper, _ uint32) {
	var b [8]byte
	unix.Read(k.wakeup, b[:])
	if k.asked.bind.Swap(false) {
		k.bindAgain()
	}
	if k.first != nil {
		k.first.signalled()
	}
	if k.asked.end.Swap(false) && k.client == nil && k.liveRuns() == 0 {
		k.end = true
	}
}

// liveRuns counts the runs of which a process may be there.
func (k *keeper) liveRuns() int {
	n := 0
	for _, r := range k.runs {
		if r.live() {
			n++
		}
	}
	return n
}

// room refuses what would use up the last descriptors. The limit may be changed
// while the keeper lives (prlimit(1)).
func (k *keeper) room(n int) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return nil // nothing is known against it
	}
	used := len(k.sources) + len(k.held)
	if uint64(used+n+reserve) <= lim.Cur {
		return nil
	}
	return fmt.Errorf("too many open files: the keeper has %d descriptors in use, and %d is the limit (%d are kept in reserve)", used, lim.Cur, reserve)
}

// hold keeps fd under name, instead of what was there.
func (k *keeper) hold(name string, fd int) {
	if old, ok := k.held[name]; ok {
		unix.Close(old)
	} else if owner, _, ok := strings.Cut(name, "."); ok {
		k.heldBy[owner] = append(k.heldBy[owner], name)
	}
	k.held[name] = fd
}

// release closes what is held under name.
func (k *keeper) release(name string) {
	fd, ok := k.held[name]
	if !ok {
		return
	}
	unix.Close(fd)
	delete(k.held, name)
	owner, _, ok := strings.Cut(name, ".")
	if !ok {
		return
	}
	names := k.heldBy[owner][:0]
	for _, n := range k.heldBy[owner] {
		if n != name {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		delete(k.heldBy, owner)
	} else {
		k.heldBy[owner] = names
	}
}

// releaseOf closes what is held for a run.
func (k *keeper) releaseOf(run string) {
	for _, name := range k.heldBy[run] {
		if fd, ok := k.held[name]; ok {
			unix.Close(fd)
			delete(k.held, name)
		}
	}
	delete(k.heldBy, run)
}

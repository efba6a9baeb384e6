package logs

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// source is one FIFO of a run. After the hand-over to a sink, the sink's
// goroutine owns all but the counters.
type source struct {
	run      *run
	stream   byte
	found    bool // taken over from an earlier superd
	ready    bool // the FIFO may hold bytes
	queued   bool // waits for the sink's next round
	ending   bool // EPOLLHUP was seen, or the run has ended: an empty FIFO may be the end
	gone     bool // drained
	midDrop  bool // the FIFO's head is the rest of a dropped line
	fd       int
	capacity int
	note     *note // nil: there was no room for one
	file     *logFile

	heldSince       time.Time // it waits for its turn in the file; zero: it does not
	heldSize        int64     // the file's size then
	lost, lostLines int64     // dropped, not yet told of in the file
	bytes, dropped  atomic.Int64
}

func (s *source) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// waiting is the number of bytes in the FIFO.
func (s *source) waiting() int {
	n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}

// pump holds the pipes through which a sink looks at FIFOs and empties them.
//
// tee links the FIFO's head into scratch; from there it is written, so that only
// scratch is locked while a disk takes its time, never a worker's FIFO. What was
// written is then taken out of the FIFO by one splice into waste: between pipes
// the kernel moves buffers without looking at signals in between, so that SIGKILL
// finds either all of a batch in the FIFO or nothing of it. Whoever finds a batch
// in waste knows that it has left the FIFO; so the keeper holds that pipe as well.
type pump struct {
	scratch [2]int
	waste   int // both ends in one description
	null    int
	size    int    // bytes that scratch and waste can take
	buf     []byte // for looking at bytes; made when first needed
}

const (
	nonblock = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE
	bufSize  = 64 << 10
)

func (p *pump) init() error {
	p.scratch, p.waste, p.null = [2]int{-1, -1}, -1, -1
	err := unix.Pipe2(p.scratch[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err == nil {
		p.waste, err = newWaste()
	}
	if err == nil {
		p.null, err = unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		p.release()
		return err
	}
	p.size = min(widen(p.scratch[1]), widen(p.waste))
	return nil
}

// newWaste makes a pipe that is one descriptor, so that one can be held for it.
func newWaste() (int, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, err
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", ends[0]), unix.O_RDWR|unix.O_CLOEXEC, 0)
}

// widen makes a pipe as large as it may be and returns its size.
func widen(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeLarge)
	if err != nil {
		n, _ = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	}
	return n
}

func (p *pump) release() {
	for _, fd := range []int{p.scratch[0], p.scratch[1], p.waste, p.null} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// look links up to n bytes of the FIFO's head into scratch. 0 with a nil error
// is the end: empty, and no writer left. EAGAIN: empty.
func (p *pump) look(fd, n int) (int, error) {
	for {
		k, err := unix.Tee(fd, p.scratch[1], min(n, p.size), nonblock)
		if err == unix.EINTR {
			continue
		}
		return int(max(k, 0)), err
	}
}

// bytes reads n bytes, that look has put there, out of scratch.
func (p *pump) bytes(n int) []byte {
	if p.buf == nil {
		p.buf = make([]byte, bufSize)
	}
	got := 0
	for got < n {
		k, err := unix.Read(p.scratch[0], p.buf[got:n])
		if err == unix.EINTR {
			continue
		}
		if err != nil || k == 0 {
			break
		}
		got += k
	}
	return p.buf[:got]
}

// peek copies up to n, at most bufSize, bytes of the FIFO's head.
func (p *pump) peek(fd, n int) ([]byte, error) {
	k, err := p.look(fd, min(n, bufSize))
	if err != nil || k == 0 {
		return nil, err
	}
	return p.bytes(k), nil
}

// discard throws n bytes of a pipe of ours away.
func (p *pump) discard(fd, n int) {
	for n > 0 {
		k, err := unix.Splice(fd, nil, p.null, nil, n, nonblock)
		if err == unix.EINTR {
			continue
		}
		if err != nil || k == 0 {
			return
		}
		n -= int(k)
	}
}

// consume takes n bytes out of the FIFO and returns how many there were: fewer
// only if the worker itself reads its own output. between is called when they are
// in waste and nowhere else.
func (p *pump) consume(fd, n int, between func()) int {
	done := 0
	for done < n {
		k, err := unix.Splice(fd, nil, p.waste, nil, n-done, nonblock)
		if err == unix.EINTR {
			continue
		}
		if err != nil || k == 0 {
			break
		}
		done += int(k)
	}
	if between != nil {
		between()
	}
	p.discard(p.waste, done)
	return done
}

package logs

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for FIFOs and for messages from other goroutines. One goroutine
// owns it; the others only post. Waiting with nothing to do makes no system call.
type poller struct {
	ep, wake int // epoll and eventfd
	events   [128]unix.EpollEvent
	ended    chan struct{}

	mu    sync.Mutex
	queue []func()
	stop  bool
}

func (p *poller) init() error {
	p.ended = make(chan struct{})
	var err error
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.ep)
		return fmt.Errorf("eventfd: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(p.wake)}
	if err = unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, p.wake, &ev); err != nil {
		p.release()
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (p *poller) release() {
	unix.Close(p.wake)
	unix.Close(p.ep)
}

// post has f run in the poller's goroutine, in the order of the posts.
func (p *poller) post(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop {
		return
	}
	p.queue = append(p.queue, f)
	if len(p.queue) == 1 {
		p.ring()
	}
}

// quit ends the goroutine before its next batch.
func (p *poller) quit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stop {
		p.stop = true
		p.ring()
	}
}

func (p *poller) done() <-chan struct{} { return p.ended }

// ring wakes the goroutine; mu is held, which keeps release away.
func (p *poller) ring() {
	one := [8]byte{1}
	unix.Write(p.wake, one[:])
}

// take runs what was posted and says whether to go on.
func (p *poller) take() bool {
	p.mu.Lock()
	queue, stop := p.queue, p.stop
	p.queue = nil
	p.mu.Unlock()
	if stop {
		return false
	}
	for _, f := range queue {
		f()
	}
	return true
}

// watch reports a FIFO each time that something is written into it, and when
// its last writer has gone. Edge-triggered: what is left lying makes no noise.
func (p *poller) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	return unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &ev)
}

// unwatch must come before the close: the description lives on in the keeper,
// and with it would the registration.
func (p *poller) unwatch(fd int) { unix.EpollCtl(p.ep, unix.EPOLL_CTL_DEL, fd, nil) }

// wait returns the FIFOs that are ready; timeout < 0: as long as it takes.
func (p *poller) wait(timeout time.Duration) []unix.EpollEvent {
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(p.ep, p.events[:], ms)
	if err != nil { // EINTR; anything else cannot be with descriptors of our own
		return nil
	}
	ready := p.events[:0]
	for _, ev := range p.events[:n] {
		if int(ev.Fd) == p.wake {
			var b [8]byte
			unix.Read(p.wake, b[:])
			continue
		}
		ready = append(ready, ev)
	}
	return ready
}

package logs

import (
	"bytes"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// inherit writes the lines of all runs with target "inherit" to one descriptor,
// superd's own standard output as a rule, each with the worker before it. Its
// goroutine may stand still as long as the reader there does; the lines then
// wait in the FIFOs. Only what was written leaves a FIFO, so that being killed
// loses nothing (but may write a line twice: a terminal keeps no position).
type inherit struct {
	poller
	pump
	m       *Manager
	out     *os.File
	sources map[int32]*source
	runq    []*source
	line    []byte
	broken  bool // nobody reads it any more
}

func newInherit(m *Manager) (*inherit, error) {
	h := &inherit{m: m, out: m.opt.Inherit, sources: map[int32]*source{}}
	if err := h.poller.init(); err != nil {
		return nil, err
	}
	if err := h.pump.init(); err != nil {
		h.poller.release()
		return nil, err
	}
	go h.loop()
	return h, nil
}

func (h *inherit) loop() {
	defer close(h.ended)
	for h.take() {
		timeout := time.Duration(-1)
		if len(h.runq) > 0 {
			timeout = 0
		}
		for _, ev := range h.wait(timeout) {
			if s := h.sources[ev.Fd]; s != nil {
				s.ending = s.ending || ev.Events&unix.EPOLLHUP != 0
				h.enqueue(s)
			}
		}
		queue := h.runq
		h.runq = nil
		for _, s := range queue {
			s.queued = false
			h.serve(s)
		}
	}
	h.poller.release()
	h.pump.release()
}

func (h *inherit) enqueue(s *source) {
	if !s.queued && !s.gone {
		s.queued = true
		h.runq = append(h.runq, s)
	}
}

func (h *inherit) add(r *run) {
	for _, s := range r.sources {
		h.sources[int32(s.fd)] = s
		s.ending = s.found
		h.enqueue(s)
		if err := h.watch(s.fd); err != nil {
			h.m.opt.Notify(Notice{Kind: Stalled, Run: r.id, Pool: r.spec.Pool, Worker: r.spec.Worker, Err: err})
		}
	}
}

func (h *inherit) end(r *run) {
	r.ended = true
	for _, s := range r.sources {
		s.ending = true
		h.enqueue(s)
	}
}

// serve passes on the lines that are complete.
func (h *inherit) serve(s *source) {
	if s.gone {
		return
	}
	data, err := h.peek(s.fd, bufSize)
	if len(data) == 0 {
		if err == nil && s.run.ended {
			h.finish(s)
		}
		return
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	if end == 0 {
		if len(data) < bufSize && !h.over(s) {
			return // the rest of the line will ring
		}
		end = len(data)
	}
	if !h.write(s, data[:end]) {
		s.dropped.Add(int64(end))
	} else {
		s.bytes.Add(int64(end))
	}
	h.consume(s.fd, end, nil)
	h.enqueue(s)
}

// over tells whether nothing can follow what is in the FIFO.
func (h *inherit) over(s *source) bool {
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&unix.POLLHUP != 0
}

// write writes lines with their prefix and waits as long as the reader does. A
// reader that has gone is told once; after that the lines are lost.
func (h *inherit) write(s *source, data []byte) bool {
	if h.broken {
		return false
	}
	for len(data) > 0 {
		line := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			line = data[:i]
			data = data[i+1:]
		} else {
			data = nil
		}
		h.line = append(h.line, s.run.spec.Worker...)
		h.line = append(h.line, " | "...)
		h.line = append(h.line, line...)
		h.line = append(h.line, '\n')
	}
	err := h.flush(h.line)
	h.line = h.line[:0]
	if err != nil {
		h.broken = true
		h.m.opt.Notify(Notice{Kind: Dropped, Run: s.run.id, Pool: s.run.spec.Pool, Worker: s.run.spec.Worker, Err: err})
	}
	return err == nil
}

func (h *inherit) flush(b []byte) error {
	fd := int(h.out.Fd())
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch err {
		case nil:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN: // somebody else made it non-blocking
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return err
		}
	}
	return nil
}

func (h *inherit) finish(s *source) {
	s.gone = true
	delete(h.sources, int32(s.fd))
	h.unwatch(s.fd)
	h.m.remove(s)
	if s.run.left--; s.run.left == 0 {
		h.m.drained(s.run)
	}
}

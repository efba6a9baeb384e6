package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// How a Client speaks: requests and their answers, events on their way, and the
// end of the connection.

// ask sends a request and waits for its answer.
func (c *Client) ask(ctx context.Context, k kind, files []*os.File, wait *call, body func(*pack.Writer)) (result, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if wait == nil {
		wait = newCall()
	}
	id, err := c.request(ctx, k, files, wait, body)
	if err != nil {
		return result{}, err
	}
	return c.answer(ctx, id, wait)
}

func newCall() *call { return &call{answer: make(chan result, 1)} }

// request sends what wait is to have the answer to.
func (c *Client) request(ctx context.Context, k kind, files []*os.File, wait *call, body func(*pack.Writer)) (id uint64, err error) {
	fds, err := duplicate(files)
	defer closeAll(fds)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.last++
	id = c.last
	c.calls[id] = wait
	c.mu.Unlock()
	c.write.Lock()
	c.begin(k, id)
	if body != nil {
		body(&c.out)
	}
	err = c.send(ctx, fds)
	c.write.Unlock()
	if err != nil {
		c.forget(id)
	}
	return id, err
}

// answer waits for the answer to a request.
func (c *Client) answer(ctx context.Context, id uint64, wait *call) (result, error) {
	select {
	case r := <-wait.answer:
		return r, r.err
	case <-ctx.Done():
		c.forget(id)
		return result{}, ctx.Err()
	}
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	delete(c.calls, id)
	c.mu.Unlock()
}

// begin starts a packet in c.out.
func (c *Client) begin(k kind, id uint64) {
	c.out.Buf = c.out.Buf[:0]
	if cap(c.out.Buf) > 4*maxPacket {
		c.out.Buf = nil
	}
	head(&c.out, k, id)
}

// send writes the packet in c.out, and before it what has a keeper that hangs
// noticed: behind it, nobody might read it any more. It waits while the socket is
// full, but not for longer than ctx.
func (c *Client) send(ctx context.Context, fds []int) error {
	if err := c.Err(); err != nil {
		return err
	}
	if asked := c.watchHang(); asked != 0 {
		var w pack.Writer
		head(&w, reqRelease, asked)
		w.String(hangName)
		if err := c.put(ctx, w.Buf, nil); err != nil {
			c.heard(asked) // it was not asked for
			return err
		}
	}
	return c.put(ctx, c.out.Buf, fds)
}

// put writes a packet.
func (c *Client) put(ctx context.Context, packet []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.conn.SetWriteDeadline(time.Unix(1, 0)) })
		defer func() {
			if !stop() {
				c.conn.SetWriteDeadline(time.Time{})
			}
		}()
	}
	var began time.Time
	for {
		_, _, err := c.conn.WriteMsgUnix(packet, oob, nil)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ETOOMANYREFS), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			// Our user has as many descriptors under way as it may, and the keeper takes
			// them as fast as it can; or the kernel has no memory. A request must not be
			// lost for that: nobody would notice.
			if began.IsZero() {
				began = time.Now()
			} else if time.Since(began) > patience {
				c.lost(err) // whoever connects anew finds out what was not done
				c.conn.Close()
				return ErrLost
			}
			select {
			case <-time.After(time.Millisecond):
			case <-c.closed:
				return ErrLost
			}
		default:
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
}

// duplicate duplicates files' descriptors, so that nobody closes or changes them
// on the way: File.Fd would make them blocking, for the file's other users too.
func duplicate(files []*os.File) ([]int, error) {
	if len(files) == 0 {
		return nil, nil
	}
	fds := make([]int, 0, len(files)+1)
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fds, err
		}
		var dup int
		var failed error
		err = raw.Control(func(fd uintptr) { dup, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		if err == nil {
			err = failed
		}
		if err != nil {
			return fds, err
		}
		fds = append(fds, dup)
	}
	return fds, nil
}

// lost ends all calls, the first time with why.
func (c *Client) lost(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("%w: %w", ErrLost, why)
	for id, call := range c.calls {
		delete(c.calls, id)
		call.answer <- result{fd: -1, err: c.err}
	}
}

// read takes packets until the connection is lost.
func (c *Client) read() {
	buf := make([]byte, maxPacket)
	oob := make([]byte, unix.CmsgSpace(4*4))
	for {
		n, oobn, _, _, err := c.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the keeper has ended, or serves another superd")
			}
			c.lost(err)
			break
		}
		c.hang.packets.Add(1)
		c.take(string(buf[:n]), rights(oob[:oobn]))
	}
	c.conn.Close()
	c.stopWatching()
	close(c.queued)
	c.reap()
	close(c.over)
}

// pump brings events from the queue to the channel, so that the reader of the
// connection never waits for whoever takes them.
func (c *Client) pump() {
	defer close(c.events)
	for more := true; more; {
		_, more = <-c.queued
		c.queueing.Lock()
		events := c.queue
		c.queue = nil
		c.queueing.Unlock()
		for _, ev := range events {
			select {
			case c.events <- ev:
			case <-c.closed:
				return
			}
		}
	}
}

// take deals with one packet.
func (c *Client) take(data string, fds []int) {
	defer func() { closeAll(fds) }()
	r := pack.NewReader(data)
	k, id := kind(r.Byte()), r.Uint()
	switch k {
	case ansEvents:
		c.takeEvents(r)
	case ansRuns:
		var runs []RunState
		heard := time.Now()
		for r.Left() > 0 {
			s := RunState{Heard: heard}
			s.unpack(r)
			runs = append(runs, s)
		}
		c.more(id, func(call *call) { call.runs = append(call.runs, runs...) })
	case ansListed:
		last, names := r.Bool(), r.Strings()
		c.more(id, func(call *call) { call.names = append(call.names, names...) })
		if last {
			c.finish(id, result{fd: -1, err: r.End()})
		}
	case ansDone:
		c.finish(id, result{fd: -1})
	case ansHeld:
		res := result{fd: -1}
		if len(fds) > 0 {
			res.fd, fds[0] = fds[0], -1
		}
		c.finish(id, res)
	case ansRefused:
		code, text := r.Uint(), r.String()
		c.finish(id, result{fd: -1, err: refusal(code, text)})
	}
	if err := r.Err(); err != nil {
		c.log(fmt.Sprintf("a packet of kind %d from the keeper cannot be read: %v", k, err))
	}
}

func refusal(code uint64, text string) error {
	switch code {
	case refuseNotHeld:
		return ErrNotHeld
	case refuseLive:
		return fmt.Errorf("%w: %s", ErrLive, text)
	}
	return errors.New(text)
}

func (c *Client) takeEvents(r *pack.Reader) {
	heard := time.Now()
	c.queueing.Lock()
	for r.Left() > 0 {
		kind := EventKind(r.Byte())
		s := RunState{Heard: heard}
		s.unpack(r)
		if r.Err() == nil {
			c.queue = append(c.queue, s.event(kind))
		}
	}
	c.queueing.Unlock()
	select {
	case c.queued <- struct{}{}:
	default:
	}
}

// more adds to a call that is still waited for.
func (c *Client) more(id uint64, add func(*call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[id]; call != nil {
		add(call)
	}
}

// finish answers a call. What was refused without one is said in the log: it is
// a fault of ours.
func (c *Client) finish(id uint64, res result) {
	c.mu.Lock()
	call := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if c.heard(id) {
		return
	}
	switch {
	case call != nil:
		call.answer <- res
	case res.fd >= 0:
		unix.Close(res.fd)
	case res.err != nil:
		c.log("the keeper refuses a request: " + res.err.Error())
	}
}

// reap takes the end of a keeper that is our child. One that lives on is left to
// its next parent.
func (c *Client) reap() {
	if c.child < 0 {
		return
	}
	defer func() {
		unix.Close(c.child)
		c.child = -1
	}()
	select {
	case <-c.closed:
		return
	default:
	}
	// It closes its socket a moment before it has ended.
	p := []unix.PollFd{{Fd: int32(c.child), Events: unix.POLLIN}}
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		if n, err := unix.Poll(p, 1000); n > 0 || err != nil && err != unix.EINTR {
			break
		}
	}
	st, ok, err := proc.Reap(c.child)
	if ok && err == nil && (st.Code != 0 || st.Signal != 0) {
		c.log(fmt.Sprintf("the keeper, pid %d, has ended: %s", c.pid, st))
	}
}

package server

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/rpc"
)

// limiter accepts connections and counts them by who they are from: so many per
// uid, so many in all, the last few for admins alone. Whoever is beyond that
// gets an answer that says so, and no goroutine.
type limiter struct {
	net.Listener
	perUID, total, reserved int
	isAdmin                 func(*peer) bool
	log                     func(string)
	spare                   spares // for when there are no descriptors left

	refused atomic.Int32 // refused and not yet closed

	mu     sync.Mutex
	count  int
	common int // of count, those of no admin
	uids   map[uint32]int
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	*net.UnixConn
	peer      *peer
	once      sync.Once
	free      func()
	answering atomic.Bool // a handler writes; see Write
}

func (c *limitedConn) Close() error {
	err := c.UnixConn.Close()
	c.once.Do(c.free)
	return err
}

var errNotUnix = errors.New("cannot serve the control socket on a listener that is not a unix socket: nobody could tell who connects")

// acceptPause is how long is waited when a call cannot be accepted for want of a
// descriptor or of memory. It waits in the socket's backlog meanwhile.
const acceptPause = 100 * time.Millisecond

// take waits for a connection. Short tells that superd has hardly any descriptors
// left: how many more connections there can be.
func (l *limiter) take() (c net.Conn, short bool, left int, err error) {
	said := false
	for {
		c, err = l.Listener.Accept()
		var errno syscall.Errno
		if err == nil || !errors.As(err, &errno) {
			return c, short, left, err
		}
		switch errno {
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
		default:
			return nil, short, left, err
		}
		if n, ok := l.spare.lend(err); ok {
			short, left = true, n
			continue
		}
		if !said {
			said = true
			l.log(fmt.Sprintf("control socket: cannot accept calls: %v (they wait until it can)", errno))
		}
		time.Sleep(acceptPause)
		l.spare.fill()
	}
}

// Accept waits for the next connection that may be served.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		l.spare.fill()
		c, short, left, err := l.take()
		if err != nil {
			l.spare.close()
			return nil, err
		}
		uc, ok := c.(*net.UnixConn)
		if !ok {
			c.Close()
			return nil, errNotUnix
		}
		p, err := peerOf(uc)
		if err != nil { // it may have gone already
			uc.Close()
			continue
		}
		if short && (left == 0 || left < spareAdmins && !l.isAdmin(p)) {
			l.refuse(uc, "superd has too many open files, and no descriptor left for another call")
			continue
		}
		if problem := l.enter(p); problem != "" {
			l.refuse(uc, problem)
			continue
		}
		return &limitedConn{UnixConn: uc, peer: p, free: func() { l.leave(p); l.spare.fill() }}, nil
	}
}

// enter takes a place, or says why there is none.
func (l *limiter) enter(p *peer) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uids == nil {
		l.uids = map[uint32]int{}
	}
	common := !l.isAdmin(p)
	switch {
	case common && l.uids[p.uid] >= l.perUID:
		return "too many connections of this user to superd's control socket"
	case common && l.common >= l.total-l.reserved:
		return "all connections of superd's control socket but those kept for root are taken"
	case l.count >= l.total:
		return "all connections of superd's control socket are taken"
	}
	l.count++
	if common {
		l.common++
	}
	l.uids[p.uid]++
	return ""
}

func (l *limiter) leave(p *peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count--
	if !l.isAdmin(p) {
		l.common--
	}
	if l.uids[p.uid]--; l.uids[p.uid] == 0 {
		delete(l.uids, p.uid)
	}
}

// The bounds of hanging up politely.
const (
	lingering = 32          // connections at a time
	linger    = time.Second // each
)

// refuse answers without having read the request. A fresh socket's buffer has
// room for it, so this does not wait; the deadline is for the improbable. A peer
// that is still writing would not read the answer if it were hung up on at once,
// so the first few are given a moment.
func (l *limiter) refuse(c *net.UnixConn, problem string) {
	_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = c.Write(rawAnswer(rpc.KindTooMany.Status(), rpc.Errorf(rpc.KindTooMany, "%s: close some, or try again in a moment", problem)))
	_ = c.CloseWrite()
	if l.refused.Add(1) > lingering {
		l.refused.Add(-1)
		_ = c.Close()
		return
	}
	time.AfterFunc(linger, func() {
		l.refused.Add(-1)
		_ = c.Close()
	})
}

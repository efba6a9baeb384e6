package keeper

import (
	"fmt"

	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// listener is the socket in the runtime folder.
type listener struct{ fd int }

func (l *listener) ready(k *keeper, _ uint32) { k.accept(l) }

// maxWaiting is how many connections may be open without a hello.
const maxWaiting = 8

// accept takes all connections there are. The listener is edge-triggered: when
// there is no descriptor left for one it must not come back at once, and is
// tried again after the next round.
func (k *keeper) accept(l *listener) {
	for {
		fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch err {
		case nil:
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			if k.spare.enough(err) {
				continue
			}
			k.again = true
			return
		default:
			return
		}
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || peer.Uid != 0 && int(peer.Uid) != unix.Geteuid() {
			unix.Close(fd)
			continue
		}
		if len(k.waiting) == maxWaiting {
			k.hangUp(k.waiting[0])
		}
		c := &conn{fd: fd}
		if err := k.watch(fd, unix.EPOLLIN, c); err != nil {
			unix.Close(fd)
			continue
		}
		k.waiting = append(k.waiting, c)
	}
}

// conn is a connection of a superd.
type conn struct {
	fd      int // -1: closed
	greeted bool
	version uint64   // of the protocol that both speak
	watches bool     // it may list, and nothing else
	blocked bool     // the peer does not read: wait until it does
	answers []answer // that wait for the peer to read
	listing *listing
}

// answer is a packet to be sent.
type answer struct {
	packet []byte
	fd     int // sent beside it, and the answer's own; -1: none
}

// close lets go of what was to be sent beside it.
func (a *answer) close() {
	if a.fd >= 0 {
		unix.Close(a.fd)
		a.fd = -1
	}
}

const (
	maxAnswers = 256 // that wait for a peer: one that asks and does not read is cut off
	maxBatch   = 32  // packets taken from one connection in one round
	eventBatch = 32 << 10
)

func (c *conn) ready(k *keeper, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.blocked = false
		k.rewatch(c.fd, unix.EPOLLIN)
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return
	}
	for range maxBatch {
		if c.fd < 0 || !k.receive(c) {
			return
		}
	}
}

// receive takes one packet; false: there is none, or the peer has gone.
func (k *keeper) receive(c *conn) bool {
	n, oobn, flags, _, err := unix.Recvmsg(c.fd, k.buf[:], k.oob[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	switch {
	case err == unix.EINTR:
		return true
	case err == unix.EAGAIN:
		return false
	case err != nil, n == 0:
		k.hangUp(c)
		return false
	}
	var fds []int
	if oobn > 0 {
		fds = rights(k.oob[:oobn])
		defer closeAll(fds)
	}
	k.garbage += 3*n + 512
	r := pack.NewReader(string(k.buf[:min(n, maxPacket)]))
	what, id := kind(r.Byte()), r.Uint()
	if n > maxPacket || flags&unix.MSG_TRUNC != 0 {
		r.Fail(fmt.Errorf("the packet is larger than %d bytes", maxPacket))
	}
	k.handle(c, request{kind: what, id: id, body: r, fds: fds, lost: flags&unix.MSG_CTRUNC != 0})
	return true
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) []int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var all []int
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

// closeAll closes what nobody has taken (and set to -1).
func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// hangUp ends a connection. All that it was to be told can be asked for again.
func (k *keeper) hangUp(c *conn) {
	k.drop(&c.fd)
	for i := range c.answers {
		c.answers[i].close()
	}
	c.answers, c.listing = nil, nil
	if k.client == c {
		k.client = nil
	}
	k.waiting, k.watchers = without(k.waiting, c), without(k.watchers, c)
}

// without takes a connection out of a list.
func without(list []*conn, c *conn) []*conn {
	for i, have := range list {
		if have == c {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// answer queues a packet for c, with a descriptor that is closed when it was sent
// or cannot be; -1: none.
func (k *keeper) answer(c *conn, packet []byte, fd int) {
	a := answer{packet, fd}
	if c.fd < 0 {
		a.close()
		return
	}
	if len(c.answers) == maxAnswers {
		a.close()
		k.hangUp(c)
		return
	}
	c.answers = append(c.answers, a)
	if !c.blocked {
		k.sendAnswers(c)
	}
}

func (k *keeper) sendAnswers(c *conn) {
	for len(c.answers) > 0 && !c.blocked && c.fd >= 0 {
		if k.send(c, c.answers[0].packet, c.answers[0].fd) {
			c.answers[0].close()
			c.answers = c.answers[1:]
		}
	}
	if len(c.answers) == 0 {
		c.answers = nil
	}
}

// send tries to send one packet. It never waits: false means that the peer does
// not read, or has gone.
func (k *keeper) send(c *conn, packet []byte, fd int) bool {
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	for {
		_, err := unix.SendmsgN(c.fd, packet, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			return true
		case unix.EINTR:
			continue
		case unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN, unix.ETOOMANYREFS:
			if err == unix.ENOBUFS || err == unix.ENOMEM {
				// The socket counts as writable all the while: it is not asked in haste.
				unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
			}
			c.blocked = true
			k.rewatch(c.fd, unix.EPOLLIN|unix.EPOLLOUT)
		default:
			k.hangUp(c)
		}
		return false
	}
}

// note marks that something has happened to a run that superd is to know.
func (k *keeper) note(r *run, kind EventKind) {
	r.happened |= bit(kind)
	r.told &^= bit(kind)
	k.tell(r)
}

// tell has the run's untold events sent at the end of the round.
func (k *keeper) tell(r *run) {
	if !r.listed && k.client != nil && r.due() != 0 {
		r.listed = true
		k.dirty = append(k.dirty, r)
	}
}

// flush sends what is to be told, several events in a packet. What the peer does
// not take stays where it is: in the state of the runs.
func (k *keeper) flush() {
	k.flushWatchers()
	c := k.client
	if c == nil {
		for _, r := range k.dirty {
			r.listed = false
		}
		k.dirty = k.dirty[:0]
		return
	}
	k.sendAnswers(c)
	k.sendListing(c)
	for len(k.dirty) > 0 && !c.blocked && c.fd >= 0 {
		k.sendEvents(c)
	}
	if len(k.dirty) == 0 && cap(k.dirty) > 1024 {
		k.dirty = nil
	}
}

// sendEvents sends one packet of events, of as many runs as fit.
func (k *keeper) sendEvents(c *conn) {
	w := pack.Writer{Buf: make([]byte, 0, 1024)}
	head(&w, ansEvents, 0)
	var before []uint8
	n := 0
	for ; n < len(k.dirty) && len(w.Buf) < eventBatch; n++ {
		r := k.dirty[n]
		told := r.told
		for kind := r.due(); kind != 0; kind = r.due() {
			s := r.state(kind == Stuck || kind == Exited)
			if kind == Warning {
				s.Warnings = s.Warnings[r.warned:]
			}
			w.Byte(byte(kind))
			s.pack(&w)
			r.told |= bit(kind)
			if kind == Exited && r.gone {
				r.told |= bit(Gone)
			}
		}
		before = append(before, told)
	}
	k.garbage += 2 * len(w.Buf)
	if !k.send(c, w.Buf, -1) {
		for i, told := range before {
			k.dirty[i].told = told
		}
		return
	}
	for _, r := range k.dirty[:n] {
		r.listed = false
		if r.more != nil {
			r.warned = len(r.warnings)
		}
	}
	k.dirty = append(k.dirty[:0], k.dirty[n:]...)
}

// listing is an answer to list under way.
type listing struct {
	id    uint64
	runs  []*run
	names []string
}

// sendListing goes on with the answer to list.
func (k *keeper) sendListing(c *conn) {
	for c.listing != nil && !c.blocked && c.fd >= 0 {
		l := c.listing
		w := pack.Writer{Buf: make([]byte, 0, 4096)}
		runs, names := 0, 0
		if len(l.runs) > 0 {
			head(&w, ansRuns, l.id)
			for ; runs < len(l.runs) && len(w.Buf) < eventBatch; runs++ {
				s := l.runs[runs].state(true)
				s.pack(&w)
			}
		} else {
			for size := 0; names < len(l.names) && size < eventBatch; names++ {
				size += len(l.names[names]) + 2
			}
			head(&w, ansListed, l.id)
			w.Bool(names == len(l.names))
			w.Strings(l.names[:names])
		}
		k.garbage += 2 * len(w.Buf)
		if !k.send(c, w.Buf, -1) {
			return
		}
		if len(l.runs) == 0 && names == len(l.names) {
			c.listing = nil
			return
		}
		l.runs, l.names = l.runs[runs:], l.names[names:]
	}
}

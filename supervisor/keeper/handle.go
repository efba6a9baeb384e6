package keeper

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// errNoRoom: the kernel has dropped descriptors that came with a packet.
var errNoRoom = errors.New("its descriptors were lost: too many open files in the keeper")

// request is a packet that was received.
type request struct {
	kind kind
	id   uint64
	body *pack.Reader
	fds  []int // beside it; those that are kept are set to -1 here
	lost bool  // some descriptors did not fit into our table
}

// take makes the i-th descriptor the keeper's own.
func (q *request) take(i int) int {
	fd := q.fds[i]
	q.fds[i] = -1
	return fd
}

// handle does what a packet asks for. Whatever is in it, the answer is a packet
// or an event.
func (k *keeper) handle(c *conn, q request) {
	if !c.greeted {
		k.greet(c, q)
		return
	}
	if c.watches && q.kind != reqList {
		k.refuse(c, q, refuseOther, errors.New("whoever observes may list, and nothing else"))
		return
	}
	switch q.kind {
	case reqHold, reqRelease, reqFetch:
		k.handleHeld(c, q)
	case reqSpawn:
		k.handleSpawn(c, q)
	case reqAdopt:
		a, scope := readAdopt(q.body)
		if !k.understood(c, q) {
			return
		}
		if err := k.adopt(&a, scope); err != nil {
			k.refuse(c, q, refuseOther, err)
			return
		}
		k.done(c, q)
	case reqSignal:
		id := readRun(q.body)
		sig, scope, number := syscall.Signal(q.body.Uint32()), readScope(q.body), q.body.Int32()
		if k.understood(c, q) {
			aim.At("keeper.signal")
			k.signal(id, sig, scope, number)
			aim.At("keeper.signaled")
			k.done(c, q)
		}
	case reqSweep:
		id := readRun(q.body)
		if k.understood(c, q) {
			k.sweep(id)
			k.done(c, q)
		}
	case reqAcknowledge:
		id := readRun(q.body)
		if k.understood(c, q) {
			k.acknowledge(id)
			k.done(c, q)
		}
	case reqList:
		if k.understood(c, q) {
			k.list(c, q.id)
		}
	case reqEnd:
		if !k.understood(c, q) {
			return
		}
		if n := k.liveRuns(); n > 0 {
			k.refuse(c, q, refuseLive, fmt.Errorf("%d runs live", n))
			return
		}
		k.done(c, q)
		if k.first != nil {
			k.first.over(c)
		} else {
			k.end = true
		}
	default:
		k.refuse(c, q, refuseOther, fmt.Errorf("version %d of the keeper's protocol has no request %d", c.version, q.kind))
	}
}

// greet answers the first packet. Of two that say hello the newer is served:
// superd's lock makes sure that there is one, so the older is a dead one whose
// connection still hangs about.
func (k *keeper) greet(c *conn, q request) {
	if q.kind != reqHello && q.kind != reqObserve {
		k.refuse(c, q, refuseOther, errors.New("the first packet is no hello"))
		k.hangUp(c)
		return
	}
	h, err := readHello(q.body)
	var version uint64
	if err == nil {
		version, err = h.choose()
	}
	if err != nil {
		k.refuse(c, q, refuseOther, err)
		k.hangUp(c)
		return
	}
	k.waiting = without(k.waiting, c)
	c.greeted, c.version = true, version
	if q.kind == reqObserve {
		k.observe(c)
	} else {
		k.serve(c)
	}
	var w pack.Writer
	head(&w, ansHello, q.id)
	w.Uint(version)
	w.Uint(uint64(k.pid))
	k.answer(c, w.Buf, -1)
}

// serve makes c superd's connection.
func (k *keeper) serve(c *conn) {
	if k.client != nil {
		k.hangUp(k.client)
	}
	k.client = c
	if k.first != nil {
		k.first.greeted(c)
	}
	// What has happened until now is told by list, what follows by events.
	for _, r := range k.runs {
		r.told = r.happened
		r.listed = false
		if r.more != nil {
			r.warned = len(r.warnings)
		}
	}
	k.dirty = k.dirty[:0]
}

// understood answers a request whose body made no sense.
func (k *keeper) understood(c *conn, q request) bool {
	err := q.body.End()
	if err == nil && q.lost {
		err = errNoRoom
	}
	if err != nil {
		k.refuse(c, q, refuseOther, fmt.Errorf("the keeper cannot read request %d: %w", q.kind, err))
	}
	return err == nil
}

func (k *keeper) done(c *conn, q request) {
	if q.id == 0 {
		return
	}
	var w pack.Writer
	head(&w, ansDone, q.id)
	k.answer(c, w.Buf, -1)
}

// refuse answers even a request that wanted no answer: its sender has a fault.
func (k *keeper) refuse(c *conn, q request, code uint64, err error) {
	var w pack.Writer
	head(&w, ansRefused, q.id)
	w.Uint(code)
	w.String(clip(err.Error()))
	k.answer(c, w.Buf, -1)
}

// handleHeld is about descriptors by name.
func (k *keeper) handleHeld(c *conn, q request) {
	name := readName(q.body)
	if !k.understood(c, q) {
		return
	}
	switch q.kind {
	case reqHold:
		if len(q.fds) != 1 {
			k.refuse(c, q, refuseOther, fmt.Errorf("%d descriptors came with the name %s", len(q.fds), name))
			return
		}
		if _, again := k.held[name]; !again {
			if err := k.room(1); err != nil {
				k.refuse(c, q, refuseOther, err)
				return
			}
		}
		aim.At("keeper.hold")
		k.hold(name, q.take(0))
		k.done(c, q)
	case reqRelease:
		k.release(name)
		k.done(c, q)
	case reqFetch:
		fd, ok := k.held[name]
		if !ok {
			k.refuse(c, q, refuseNotHeld, errors.New(name))
			return
		}
		// A duplicate, since the answer may have to wait for the peer to read,
		// and the name may be released meanwhile.
		var dup int
		err := k.pressed(func() (err error) {
			dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			return err
		})
		if err != nil {
			k.refuse(c, q, refuseOther, err)
			return
		}
		var w pack.Writer
		head(&w, ansHeld, q.id)
		k.answer(c, w.Buf, dup)
	}
}

// handleSpawn reads a spawn. Once its run ID is known, whatever is wrong becomes
// the failure of that run, so that superd never waits for it in vain.
func (k *keeper) handleSpawn(c *conn, q request) {
	var sp spawnPacket
	sp.unpack(q.body)
	err := q.body.End()
	if err == nil && q.lost {
		err = errNoRoom
	}
	if err == nil && len(q.fds) != sp.descriptors() {
		err = fmt.Errorf("%d descriptors came instead of %d", len(q.fds), sp.descriptors())
	}
	if err == nil && sp.apart {
		err = sp.unpackApart(q.fds[len(q.fds)-1])
	}
	if checkRun(sp.run) != nil {
		k.refuse(c, q, refuseOther, fmt.Errorf("the keeper cannot read a spawn: %w", err))
		return
	}
	if err != nil {
		err = fmt.Errorf("the keeper cannot read the spawn: %w", err)
	}
	k.spawn(&sp, &q, err)
	k.done(c, q)
}

// unpackApart reads a spec that was too large for the packet.
func (s *spawnPacket) unpackApart(fd int) error {
	data, err := proc.ReadSealed(fd, proc.MaxSpec)
	if err != nil {
		return err
	}
	r := pack.NewReader(data)
	s.spec.Unpack(r)
	return r.End()
}

// list begins to answer with all runs and names.
func (k *keeper) list(c *conn, id uint64) {
	aim.At("keeper.list")
	l := &listing{id: id}
	for _, r := range k.runs {
		l.runs = append(l.runs, r)
	}
	for name := range k.held {
		l.names = append(l.names, name)
	}
	c.listing = l // a second list while one is under way takes its place
	if !c.blocked {
		k.sendListing(c)
	}
}

// acknowledge forgets a run that is over.
func (k *keeper) acknowledge(id string) {
	r := k.runs[id]
	if r == nil {
		k.releaseOf(id) // held for a run that never came to be
		return
	}
	if r.live() {
		k.warn(r, "it cannot be forgotten: it has not ended")
		return
	}
	delete(k.runs, id)
	aim.At("keeper.forget")
	k.forgotten.add(id)
	k.releaseOf(id)
	r.happened = 0 // nothing of it is told any more
}

// retell has all that has happened to a run told once more.
func (k *keeper) retell(r *run) {
	r.told = 0
	if r.more != nil {
		r.warned = 0
	}
	k.tell(r)
}

// warn has something told that is no failure.
func (k *keeper) warn(r *run, format string, args ...any) {
	m := r.extra()
	text := clip(fmt.Sprintf(format, args...))
	if len(m.warnings) == maxWarning {
		return
	}
	m.warnings = append(m.warnings, text)
	k.note(r, Warning)
}

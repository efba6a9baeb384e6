package cmd_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile is a file system in memory, spoken by the test itself over /dev/fuse, that
// can fail as a test wants: answer with an error, or not at all. It has files and
// folders and no more than superd's logs and a worker's directory need.
//
// Nothing of the test may touch it while it does not answer.
type hostile struct {
	t   *testing.T
	dev int

	mu    sync.Mutex
	nodes map[uint64]*node
	last  uint64
	fault func(op uint32, name string) fault // nil: none
	held  map[uint64][]byte                  // requests that are not answered, by number
	seen  chan uint32                        // what was held, as far as somebody listens
}

// fault is what becomes of a request: an errno, or one of these.
type fault int

const (
	fine fault = 0
	hang fault = -1 // no answer until it is mended; whoever waits can be killed
	dead fault = -2 // the same, and cannot
)

// node is a file or a folder.
type node struct {
	id    uint64
	mode  uint32
	data  []byte
	names map[string]*node
}

// The requests that are understood, from linux/fuse.h.
const (
	fuseLookup = 1 + iota
	fuseForget
	fuseGetattr
	fuseSetattr
)
const (
	fuseMkdir       = 9
	fuseUnlink      = 10
	fuseRename      = 12
	fuseOpen        = 14
	fuseRead        = 15
	fuseWrite       = 16
	fuseStatfs      = 17
	fuseRelease     = 18
	fuseFsync       = 20
	fuseFlush       = 25
	fuseInit        = 26
	fuseOpendir     = 27
	fuseReaddir     = 28
	fuseReleasedir  = 29
	fuseCreate      = 35
	fuseInterrupt   = 36
	fuseBatchForget = 42
	fuseRename2     = 45
)

// newHostile mounts one at dir, which it makes.
func newHostile(t *testing.T, dir string) *hostile {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("there is no FUSE here: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", dev)
	if err := unix.Mount("hostile", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Skipf("cannot mount a FUSE file system here: %v", err)
	}
	h := &hostile{t: t, dev: dev, nodes: map[uint64]*node{}, held: map[uint64][]byte{}, seen: make(chan uint32, 1)}
	h.add(unix.S_IFDIR | 0o755)
	go h.serve()
	t.Cleanup(func() { h.mend(); unix.Unmount(dir, unix.MNT_DETACH) })
	return h
}

// breaks has requests fail from now on.
func (h *hostile) breaks(f func(op uint32, name string) fault) {
	h.mu.Lock()
	h.fault = f
	h.mu.Unlock()
}

// mend ends the fault, and answers whoever waits.
func (h *hostile) mend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = nil
	for _, id := range slices.Sorted(maps.Keys(h.held)) {
		h.handle(h.held[id])
	}
	clear(h.held)
}

func (h *hostile) add(mode uint32) *node {
	h.last++
	n := &node{id: h.last, mode: mode}
	if mode&unix.S_IFMT == unix.S_IFDIR {
		n.names = map[string]*node{}
	}
	h.nodes[n.id] = n
	return n
}

func (h *hostile) serve() {
	defer unix.Close(h.dev)
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(h.dev, buf)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN || err == unix.ENOENT:
			continue
		case err != nil: // unmounted
			return
		}
		h.mu.Lock()
		h.take(slices.Clone(buf[:n]))
		h.mu.Unlock()
	}
}

// take answers a request, or holds it.
func (h *hostile) take(req []byte) {
	op, id := binary.NativeEndian.Uint32(req[4:]), binary.NativeEndian.Uint64(req[8:])
	if op == fuseInterrupt {
		id := binary.NativeEndian.Uint64(req[40:])
		if held := h.held[id]; held != nil && h.judge(held) != dead {
			delete(h.held, id)
			h.answer(held, -int32(unix.EINTR), nil)
		}
		return
	}
	switch f := h.judge(req); f {
	case fine:
		h.handle(req)
	case hang, dead:
		h.held[id] = req
		select {
		case h.seen <- op:
		default:
		}
	default:
		h.answer(req, -int32(f), nil)
	}
}

func (h *hostile) judge(req []byte) fault {
	op := binary.NativeEndian.Uint32(req[4:])
	if h.fault == nil || op == fuseInit || op == fuseForget || op == fuseBatchForget {
		return fine
	}
	name := ""
	if op == fuseLookup {
		name = text(req[40:])
	}
	return h.fault(op, name)
}

// answer is an errno (negative) or a body.
func (h *hostile) answer(req []byte, errno int32, body []byte) {
	out := make([]byte, 16, 16+len(body))
	binary.NativeEndian.PutUint32(out, uint32(16+len(body)))
	binary.NativeEndian.PutUint32(out[4:], uint32(errno))
	copy(out[8:], req[8:16])
	unix.Write(h.dev, append(out, body...)) // nobody may wait for it any more
}

// text is the name that a request's body begins with.
func text(b []byte) string { return unix.ByteSliceToString(b) }

// reply is a struct of integers, packed as C does.
func reply(v any) []byte {
	b, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		panic(err)
	}
	return b
}

type fuseAttr struct {
	Ino, Size, Blocks, Atime, Mtime, Ctime             uint64
	AtimeNS, MtimeNS, CtimeNS                          uint32
	Mode, Nlink, UID, GID, Rdev, BlockSize, AttrFlags_ uint32
}

// fuseEntry has no time for which it may be remembered: everything is asked for.
type fuseEntry struct {
	Node, Generation, Valid, AttrValid uint64
	ValidNS, AttrValidNS               uint32
	Attr                               fuseAttr
}

type fuseAttrOut struct {
	Valid   uint64
	ValidNS uint32
	_       uint32
	Attr    fuseAttr
}

type fuseOpened struct {
	Handle  uint64
	Flags   uint32
	Backing uint32
}

func (n *node) attr() fuseAttr {
	links := uint32(1)
	if n.names != nil {
		links = 2
	}
	return fuseAttr{Ino: n.id, Size: uint64(len(n.data)), Blocks: uint64(len(n.data)+511) / 512, Mode: n.mode, Nlink: links, BlockSize: 4096}
}

func (n *node) entry() []byte { return reply(fuseEntry{Node: n.id, Generation: 1, Attr: n.attr()}) }

// handle does what a request asks for.
func (h *hostile) handle(req []byte) {
	op, at := binary.NativeEndian.Uint32(req[4:]), h.nodes[binary.NativeEndian.Uint64(req[16:])]
	in := req[40:]
	u32 := func(i int) uint32 { return binary.NativeEndian.Uint32(in[i:]) }
	u64 := func(i int) uint64 { return binary.NativeEndian.Uint64(in[i:]) }
	body, errno := []byte(nil), unix.Errno(0)
	switch op {
	case fuseForget, fuseBatchForget:
		return
	case fuseInit:
		body = make([]byte, 64) // of version 7.31
		binary.NativeEndian.PutUint32(body, 7)
		binary.NativeEndian.PutUint32(body[4:], 31)
		binary.NativeEndian.PutUint32(body[8:], u32(8))   // max_readahead
		binary.NativeEndian.PutUint32(body[20:], 128<<10) // max_write
	case fuseLookup:
		if n := at.names[text(in)]; n != nil {
			body = n.entry()
		} else {
			errno = unix.ENOENT
		}
	case fuseGetattr:
		body = reply(fuseAttrOut{Attr: at.attr()})
	case fuseSetattr:
		if valid := u32(0); valid&(1<<3) != 0 { // size
			at.resize(int(u64(16)))
		} else if valid&1 != 0 {
			at.mode = at.mode&unix.S_IFMT | u32(68)&0o7777
		}
		body = reply(fuseAttrOut{Attr: at.attr()})
	case fuseMkdir:
		n := h.add(unix.S_IFDIR | u32(0)&0o7777)
		at.names[text(in[8:])] = n
		body = n.entry()
	case fuseCreate:
		n := h.add(unix.S_IFREG | u32(4)&0o7777)
		at.names[text(in[16:])] = n
		body = append(n.entry(), reply(fuseOpened{})...)
	case fuseUnlink:
		delete(at.names, text(in))
	case fuseRename, fuseRename2:
		names := in[8:]
		if op == fuseRename2 {
			names = in[16:]
		}
		from := text(names)
		h.nodes[u64(0)].names[text(names[len(from)+1:])] = at.names[from]
		delete(at.names, from)
	case fuseOpen, fuseOpendir:
		body = reply(fuseOpened{})
	case fuseRead:
		off := min(int(u64(8)), len(at.data))
		body = at.data[off:min(off+int(u32(16)), len(at.data))]
	case fuseWrite:
		off, data := int(u64(8)), in[40:]
		at.resize(max(len(at.data), off+len(data)))
		copy(at.data[off:], data)
		body = reply([2]uint32{uint32(len(data)), 0})
	case fuseStatfs:
		body = make([]byte, 80)
		binary.NativeEndian.PutUint32(body[40:], 4096) // bsize
		binary.NativeEndian.PutUint32(body[44:], 255)  // namelen
		binary.NativeEndian.PutUint32(body[48:], 4096) // frsize
	case fuseReaddir:
		body = at.list(int(u64(8)), int(u32(16)))
	case fuseRelease, fuseReleasedir, fuseFsync, fuseFlush:
	default:
		errno = unix.ENOSYS
	}
	h.answer(req, -int32(errno), body)
}

func (n *node) resize(size int) {
	if size <= len(n.data) {
		n.data = n.data[:size]
		return
	}
	n.data = append(n.data, make([]byte, size-len(n.data))...)
}

// list gives a folder's names from the nth on, as many as fit.
func (n *node) list(from, size int) []byte {
	var out []byte
	for i, name := range slices.Sorted(maps.Keys(n.names)) {
		if i < from {
			continue
		}
		padded := (24 + len(name) + 7) / 8 * 8
		if len(out)+padded > size {
			break
		}
		e := make([]byte, padded)
		child := n.names[name]
		binary.NativeEndian.PutUint64(e, child.id)
		binary.NativeEndian.PutUint64(e[8:], uint64(i+1))
		binary.NativeEndian.PutUint32(e[16:], uint32(len(name)))
		binary.NativeEndian.PutUint32(e[20:], child.mode>>12)
		copy(e[24:], name)
		out = append(out, e...)
	}
	return out
}

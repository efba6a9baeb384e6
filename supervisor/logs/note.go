package logs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A note says, at every instant, which bytes of a FIFO are in the log file
// already. Notes lie in runtime_dir/notes/NNN, files of noteSlots slots of
// noteSize bytes, mapped into memory: a note is a few stores, and what was stored
// when superd is killed is what the next one reads. The files are preallocated,
// so a full runtime_dir cannot make a store fail.
//
// Slot 0 of each file is its header: magic, version, slot size. Numbers are in
// the byte order of the machine; the folder does not outlive a boot.
const (
	noteSize    = 128
	noteSlots   = 512
	noteMagic   = 0x73754e31 // "suN1"
	noteVersion = 1
	noteUsed    = 0x55534544 // a slot's state when it belongs to a run; 0: free
)

// The phases of a batch. It moves bytes from the FIFO's head to the end of the
// file in this order: phaseWriting is noted, the bytes are written, phaseWritten
// is noted, they are taken out of the FIFO in one piece, phaseIdle is noted.
const (
	phaseIdle    = 0
	phaseWriting = 1 // nothing is taken from the FIFO yet; the file's growth since start is what it holds too
	phaseWritten = 2 // length bytes are in the file and perhaps still in the FIFO
	phaseDouble  = 3 // length bytes are in the file and in the FIFO: found at recovery
)

// note is one slot. It is written by one goroutine; phase is stored last when a
// batch begins, and the other fields hold only while it says so.
type note struct {
	state  uint32
	phase  uint32
	stream uint8
	size   uint8 // length of run
	flags  uint8
	_      uint8
	waste  uint32 // pump's waste pipe, by which the next superd sees phaseWritten's outcome; 0: it cannot
	run    [32]byte
	dev    uint64 // st_dev of the log files
	ino    uint64 // the file of the batch
	start  uint64 // its size before
	length uint64 // bytes to write, then bytes written
	endIno uint64 // the file of the last finished batch,
	end    uint64 // and where that batch ended
	lost   uint64 // bytes dropped that no line in the file tells of yet
	lines  uint64 // lines of these
	bytes  uint64 // of the run so far, dropped ones apart
	gone   uint64 // bytes dropped so far
}

// flagMidDrop: the FIFO's head is the rest of a line whose beginning was dropped.
const flagMidDrop = 1

// begin notes that n bytes are to be written at start of file ino.
func (n *note) begin(dev uint64, waste uint32, ino uint64, start, length int64) {
	if n == nil {
		return
	}
	n.waste = waste
	n.dev, n.ino, n.start, n.length = dev, ino, uint64(start), uint64(length)
	atomic.StoreUint32(&n.phase, phaseWriting)
}

// written notes that length bytes of the batch are in the file.
func (n *note) written(length int64) {
	if n == nil {
		return
	}
	n.length = uint64(length)
	atomic.StoreUint32(&n.phase, phaseWritten)
}

// finish notes that they have left the FIFO. Called again it does nothing.
func (n *note) finish() {
	if n == nil {
		return
	}
	if n.phase == phaseWritten {
		n.endIno, n.end = n.ino, n.start+n.length
		n.bytes += n.length
	}
	atomic.StoreUint32(&n.phase, phaseIdle)
}

// setLost notes what a source has dropped since the file last told of it.
func (n *note) setLost(lost, lines, gone int64, mid bool) {
	if n == nil {
		return
	}
	n.lost, n.lines, n.gone = uint64(lost), uint64(lines), uint64(gone)
	n.flags &^= flagMidDrop
	if mid {
		n.flags |= flagMidDrop
	}
}

// recall takes over what an earlier superd noted of the source.
func (s *source) recall() {
	n := s.note
	if n == nil {
		return
	}
	s.lost, s.lostLines = int64(n.lost), int64(n.lines)
	s.midDrop = n.flags&flagMidDrop != 0
	s.bytes.Store(int64(n.bytes))
	s.dropped.Store(int64(n.gone))
}

// valid tells whether a slot read from a file can be a note.
func (n *note) valid() bool {
	return n.state == noteUsed && n.phase <= phaseDouble && n.size >= 1 && int(n.size) <= len(n.run) &&
		(n.stream == streamOut || n.stream == streamErr) && validRun.Match(n.run[:n.size])
}

type noteKey struct {
	run    string
	stream byte
}

// noteTable hands out slots. Its methods are safe for concurrent use.
type noteTable struct {
	dir string

	mu    sync.Mutex
	files [][]byte // mapped
	ids   []fileID // of files
	used  map[noteKey]*note
	spare []*note
	old   []*note // found when the table was opened
}

// openNotes maps the files that are there. One that cannot be a file of notes is
// set aside: its runs go on, a batch that was in flight may then be written twice.
func openNotes(dir string) (*noteTable, error) {
	t := &noteTable{dir: dir, used: map[noteKey]*note{}}
	for i := 0; ; i++ {
		path := t.path(i)
		mem, id, err := mapNotes(path, false)
		if errors.Is(err, os.ErrNotExist) {
			for _, n := range t.used {
				t.old = append(t.old, n)
			}
			return t, nil
		}
		if errors.Is(err, errNotNotes) {
			if err := os.Rename(path, path+".broken"); err != nil {
				return nil, err
			}
			mem, id, err = mapNotes(path, true)
		}
		if err != nil {
			return nil, err
		}
		t.enter(mem, id)
	}
}

func (t *noteTable) path(i int) string { return filepath.Join(t.dir, fmt.Sprintf("%03d", i)) }

var errNotNotes = errors.New("is not a file of position notes")

// fileID names a file for good as long as it is open or mapped.
type fileID struct{ dev, ino uint64 }

// mapNotes maps one file of notes, and makes it if create is set.
func mapNotes(path string, create bool) ([]byte, fileID, error) {
	flags := os.O_RDWR | unix.O_NOFOLLOW
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fileID{}, err
	}
	defer f.Close()
	if create {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, noteSize*noteSlots); err != nil {
			os.Remove(path)
			return nil, fileID{}, fmt.Errorf("cannot allocate %s: %w", path, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fileID{}, err
	}
	if st.Size != noteSize*noteSlots {
		return nil, fileID{}, errNotNotes
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, noteSize*noteSlots, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fileID{}, fmt.Errorf("cannot map %s: %w", path, err)
	}
	switch {
	case create:
		binary.NativeEndian.PutUint32(mem[4:], noteVersion)
		binary.NativeEndian.PutUint32(mem[8:], noteSize)
		binary.NativeEndian.PutUint32(mem, noteMagic)
	case checkNotes(mem) != nil:
		unix.Munmap(mem)
		return nil, fileID{}, errNotNotes
	}
	return mem, fileID{st.Dev, st.Ino}, nil
}

// mapOver maps a file of notes where another one is mapped, in one step.
func mapOver(mem []byte, fd int) error {
	_, err := unix.MmapPtr(fd, 0, unsafe.Pointer(&mem[0]), uintptr(len(mem)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	return err
}

// checkNotes says whether mem begins with the header of a file of notes.
func checkNotes(mem []byte) error {
	if len(mem) > 8 && binary.NativeEndian.Uint32(mem) == noteMagic {
		if v := binary.NativeEndian.Uint32(mem[4:]); v > noteVersion {
			return fmt.Errorf("they have format %d, this superd reads %d: %w", v, noteVersion, ErrNewer)
		}
	}
	if len(mem) != noteSize*noteSlots ||
		binary.NativeEndian.Uint32(mem) != noteMagic ||
		binary.NativeEndian.Uint32(mem[4:]) != noteVersion ||
		binary.NativeEndian.Uint32(mem[8:]) != noteSize {
		return errNotNotes
	}
	return nil
}

// noteAt is slot i of a mapped file.
func noteAt(mem []byte, i int) *note { return (*note)(unsafe.Pointer(&mem[i*noteSize])) }

// enter takes over a mapped file: its notes by run, and its free slots.
func (t *noteTable) enter(mem []byte, id fileID) {
	t.files, t.ids = append(t.files, mem), append(t.ids, id)
	for i := noteSlots - 1; i > 0; i-- {
		n := noteAt(mem, i)
		key := noteKey{}
		if n.valid() {
			key = noteKey{string(n.run[:n.size]), n.stream}
		}
		if key.run == "" || t.used[key] != nil {
			*n = note{}
			t.spare = append(t.spare, n)
			continue
		}
		t.used[key] = n
	}
}

// alloc gives a source an empty note.
func (t *noteTable) alloc(run string, stream byte) (*note, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := noteKey{run, stream}
	n := t.used[key]
	if n == nil {
		if len(t.spare) == 0 {
			mem, id, err := mapNotes(t.path(len(t.files)), true)
			if err != nil {
				return nil, err
			}
			t.enter(mem, id)
		}
		n = t.spare[len(t.spare)-1]
		t.spare = t.spare[:len(t.spare)-1]
		t.used[key] = n
	}
	*n = note{stream: stream, size: uint8(len(run))}
	copy(n.run[:], run)
	atomic.StoreUint32(&n.state, noteUsed)
	return n, nil
}

// find returns the note that an earlier superd left, or nil.
func (t *noteTable) find(run string, stream byte) *note {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used[noteKey{run, stream}]
}

// free gives a slot back; nil is allowed.
func (t *noteTable) free(n *note) {
	if n == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.used, noteKey{string(n.run[:n.size]), n.stream})
	atomic.StoreUint32(&n.state, 0)
	t.spare = append(t.spare, n)
}

// settle is called when a file is opened for the first time: a batch that was
// interrupted while it was written is now known to have length bytes in the file.
// It returns the note of the source that wrote the file's last byte, or nil.
func (t *noteTable) settle(dev, ino uint64, size int64) *note {
	t.mu.Lock()
	defer t.mu.Unlock()
	var last *note
	for _, n := range t.old {
		if n.state != noteUsed || n.dev != dev {
			continue
		}
		if n.ino == ino && n.phase == phaseWriting {
			n.double(n.grown(size))
		}
		if n.phase == phaseIdle && n.endIno == ino && int64(n.end) == size ||
			n.phase > phaseWriting && n.ino == ino && int64(n.start+n.length) == size {
			last = n
		}
	}
	return last
}

// judge is told, before anything is read, what an earlier superd left in the
// waste pipe: whether the batch that was in flight had left its FIFO.
func (t *noteTable) judge(dev uint64, waste uint32, left bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.old {
		switch {
		case n.state != noteUsed || n.dev != dev || n.waste != waste || n.phase != phaseWritten:
		case left:
			n.finish()
		default:
			n.double(int64(n.length))
		}
	}
}

// double notes that length bytes of the batch are in the file and in the FIFO.
func (n *note) double(length int64) {
	n.length = uint64(length)
	atomic.StoreUint32(&n.phase, phaseDouble)
}

// grown is how much of an interrupted batch a file of that size holds.
func (n *note) grown(size int64) int64 {
	return min(max(size-int64(n.start), 0), int64(n.length))
}

// prune frees the notes of runs that live does not know.
func (t *noteTable) prune(live func(string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, n := range t.used {
		if !live(key.run) {
			delete(t.used, key)
			atomic.StoreUint32(&n.state, 0)
			t.spare = append(t.spare, n)
		}
	}
}

// close unmaps the files; no note may be touched any more.
func (t *noteTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, mem := range t.files {
		unix.Munmap(mem)
	}
	t.files, t.ids, t.used, t.spare, t.old = nil, nil, nil, nil, nil
}

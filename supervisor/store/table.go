package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"github.com/superd/superd/supervisor/aim"
	"golang.org/x/sys/unix"
)

// A table file starts with 64 bytes, written before the file gets its name and
// never again: "superd table" padded to 16 bytes, version, slots, size of one
// slot's data (4 bytes each), CRC-32C of these 28 bytes, zeros. Then follow the
// slots, two copies each.
const (
	tableMagic   = "superd table\x00\x00\x00\x00"
	tableVersion = 1
	tableHeader  = 64
	tableSummed  = 28

	maxSlots = 1 << 20
	maxSize  = 1 << 24
	maxTable = 1 << 32 // bytes of one file
)

// What a table answers; match them with errors.Is.
var (
	// ErrDamaged means that something was stored and no whole copy of it is left.
	ErrDamaged = errors.New("both copies are damaged")
	// ErrTooLarge means a slot number or data beyond what the table was made for:
	// see [Table.Grow].
	ErrTooLarge = errors.New("the table is too small")
	// ErrClosed means that the table or state was closed or removed before.
	ErrClosed = errors.New("already closed")
)

// Table is a file of numbered slots whose room was allocated beforehand: Put
// overwrites in place and cannot run out of space. All methods are safe for
// concurrent use. After superd's death at any instant Get gives either what the
// last Put stored or what the one before it did.
type Table struct {
	dir  *Dir
	name string // of the file

	mu    sync.Mutex
	file  *os.File // nil: closed
	slots int
	size  int        // bytes of data in one slot
	state []slotMark // by slot
	buf   []byte     // one copy
}

// slotMark is what is known of a slot without reading it.
type slotMark struct {
	sequence uint64 // of the newest whole copy; 0: none
	next     uint8  // the copy that the next Put overwrites, 0 or 1
}

// Slots is how many slots there are: 0 to Slots()-1.
func (t *Table) Slots() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slots
}

// Size is how many bytes fit into a slot.
func (t *Table) Size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size
}

// Lost tells that the table's name is gone or means another file: somebody removed
// or replaced it, and what is put into it cannot be found again.
func (t *Table) Lost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.file != nil && !SameFile(t.dir.path+"/"+t.name, t.file)
}

// Put stores data (which may be empty) in a slot, by one pwrite(2) of the copy
// that is not the newest. When it fails, the slot still has what it had.
func (t *Table) Put(slot int, data []byte) error {
	return t.write(slot, recordCopy{data: data})
}

// Clear empties a slot: Get finds nothing in it from now on. It is as safe as Put.
func (t *Table) Clear(slot int) error {
	return t.write(slot, recordCopy{cleared: true})
}

func (t *Table) write(slot int, c recordCopy) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.check(slot, len(c.data)); err != nil {
		return t.cannot("write", slot, err)
	}
	m := &t.state[slot]
	c.sequence = m.sequence + 1
	b := encodeCopy(t.buf, slot, c)
	aim.At("store.put")
	if _, err := t.file.WriteAt(b, t.offset(slot)+int64(m.next)*int64(copyHeader+t.size)); err != nil {
		return t.cannot("write", slot, err)
	}
	aim.At("store.stored")
	m.sequence, m.next = c.sequence, 1-m.next
	return nil
}

// Get gives a slot's data, and whether it holds any. The error is ErrDamaged when
// something was stored there of which no whole copy is left; the slot can be
// used again with Put or Clear.
func (t *Table) Get(slot int) ([]byte, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.check(slot, 0); err != nil {
		return nil, false, t.cannot("read", slot, err)
	}
	pair := make([]byte, 2*(copyHeader+t.size))
	if _, err := t.file.ReadAt(pair, t.offset(slot)); err != nil {
		return nil, false, t.cannot("read", slot, err)
	}
	c, which, err := newest(pair, slot)
	if err != nil {
		return nil, false, t.cannot("read", slot, ErrDamaged)
	}
	if which < 0 || c.cleared {
		return nil, false, nil
	}
	return c.data, true, nil
}

// Each gives every slot that holds something, as Get does and for the price of far
// fewer reads. What take is given it may keep; it must not call the table. The error
// is of the file as a whole.
func (t *Table) Each(take func(slot int, data []byte, err error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return fmt.Errorf("cannot read %s: %w", t.name, ErrClosed)
	}
	err := t.scan(func(slot int, c recordCopy, which int, err error) {
		switch {
		case err != nil:
			take(slot, nil, t.cannot("read", slot, ErrDamaged))
		case which >= 0 && !c.cleared:
			take(slot, bytes.Clone(c.data), nil)
		}
	})
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", t.name, err)
	}
	return nil
}

// Grow makes room for at least so many slots of at least so many bytes; it never
// makes a table smaller. The records move to a new file that takes the old one's
// name when it is complete: an error (ENOSPC above all) or superd's death in the
// middle leaves the old table whole.
func (t *Table) Grow(slots, size int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return fmt.Errorf("cannot grow %s: %w", t.name, ErrClosed)
	}
	slots, size = max(slots, t.slots), max(size, t.size)
	if slots == t.slots && size == t.size {
		return nil
	}
	old, err := t.readAll()
	if err != nil {
		return fmt.Errorf("cannot grow %s: %w (it stays as it is)", t.name, err)
	}
	n, err := t.dir.replace(t.name, slots, size, old)
	if err != nil {
		return fmt.Errorf("cannot grow %s to %d slots of %d bytes: %w (it stays as it is)", t.name, slots, size, err)
	}
	t.file.Close()
	t.file, t.slots, t.size, t.state, t.buf = n.file, n.slots, n.size, n.state, n.buf
	return nil
}

// Remove deletes the table and closes it.
func (t *Table) Remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	err := unix.Unlinkat(int(t.dir.file.Fd()), t.name, 0)
	t.file.Close()
	t.file = nil
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove %s: %w", t.name, err)
	}
	return nil
}

// Close releases the file; what was put stays.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file = nil
	return err
}

func (t *Table) check(slot, length int) error {
	switch {
	case t.file == nil:
		return ErrClosed
	case slot < 0 || slot >= t.slots:
		return fmt.Errorf("%w: it has %d slots", ErrTooLarge, t.slots)
	case length > t.size:
		return fmt.Errorf("%w: %d bytes do not fit into %d", ErrTooLarge, length, t.size)
	}
	return nil
}

func (t *Table) cannot(verb string, slot int, err error) error {
	return fmt.Errorf("cannot %s slot %d of %s: %w", verb, slot, t.name, err)
}

// offset is where a slot's two copies begin.
func (t *Table) offset(slot int) int64 {
	return tableHeader + int64(slot)*2*int64(copyHeader+t.size)
}

// readAll gives the newest copy of every slot that has one; a slot that is
// damaged has none.
func (t *Table) readAll() (map[int]recordCopy, error) {
	all := make(map[int]recordCopy)
	err := t.scan(func(slot int, c recordCopy, which int, err error) {
		if err == nil && which >= 0 {
			c.data = bytes.Clone(c.data)
			all[slot] = c
		}
	})
	return all, err
}

// load learns from the file which copy of each slot is the newest.
func (t *Table) load() error {
	return t.scan(func(slot int, c recordCopy, which int, _ error) {
		t.state[slot] = slotMark{}
		if which >= 0 {
			t.state[slot] = slotMark{sequence: c.sequence, next: uint8(1 - which)}
		}
	})
}

// scanned is how much of a file is read in one piece.
const scanned = 128 << 10

// scan reads all slots, many at a time, and has each looked at as newest sees it. A
// copy's data is there for as long as it is looked at.
func (t *Table) scan(look func(slot int, c recordCopy, which int, err error)) error {
	length := 2 * (copyHeader + t.size)
	many := min(max(scanned/length, 1), t.slots)
	room := make([]byte, many*length)
	for from := 0; from < t.slots; from += many {
		n := min(many, t.slots-from)
		piece := room[:n*length]
		if _, err := t.file.ReadAt(piece, t.offset(from)); err != nil {
			return err
		}
		for i := range n {
			c, which, err := newest(piece[i*length:(i+1)*length], from+i)
			look(from+i, c, which, err)
		}
	}
	return nil
}

func encodeTableHeader(slots, size int) []byte {
	b := make([]byte, tableHeader)
	copy(b, tableMagic)
	binary.LittleEndian.PutUint32(b[16:], tableVersion)
	binary.LittleEndian.PutUint32(b[20:], uint32(slots))
	binary.LittleEndian.PutUint32(b[24:], uint32(size))
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:tableSummed], castagnoli))
	return b
}

// decodeTableHeader refuses what this version of superd did not write.
func decodeTableHeader(b []byte) (slots, size int, err error) {
	if len(b) < tableHeader || string(b[:16]) != tableMagic {
		return 0, 0, errors.New("not a table of superd's")
	}
	if crc32.Checksum(b[:tableSummed], castagnoli) != binary.LittleEndian.Uint32(b[28:]) {
		return 0, 0, errors.New("its header is damaged")
	}
	if v := binary.LittleEndian.Uint32(b[16:]); v != tableVersion {
		return 0, 0, fmt.Errorf("it has format %d, this superd reads %d", v, tableVersion)
	}
	slots, size = int(binary.LittleEndian.Uint32(b[20:])), int(binary.LittleEndian.Uint32(b[24:]))
	return slots, size, checkGeometry(slots, size)
}

func checkGeometry(slots, size int) error {
	if slots < 1 || slots > maxSlots || size < 1 || size > maxSize || tableLength(slots, size) > maxTable {
		return fmt.Errorf("%d slots of %d bytes: a table has 1 to %d slots of 1 to %d bytes, %d bytes in all",
			slots, size, maxSlots, maxSize, int64(maxTable))
	}
	return nil
}

func tableLength(slots, size int) int64 {
	return tableHeader + int64(slots)*2*int64(copyHeader+size)
}

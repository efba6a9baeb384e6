package aim

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TableName is what the table's file is called. It lies in the folder of the
// program, so that superd, its keeper and a program that superd becomes find the
// same one without being told.
const TableName = "superd.aim"

// maxName bounds a point's name, in bytes.
const maxName = 32

// Table is a file, mapped by the test and by all processes that it aims at. Its
// methods are safe for concurrent use, across processes too.
type Table struct {
	entries []entry
	byName  map[string]*entry
}

// entry is a point. Its size is a part of the file's format.
type entry struct {
	name   [maxName]byte
	hits   uint64 // how often it was passed
	left   int64  // passes until one kills; 0 or less: it is not armed
	fired  uint64 // how often it has killed
	victim int64  // the process that it killed last
	also   int64  // a process to be killed in the same instant; 0: none
	_      [24]byte
}

const entrySize = int(unsafe.Sizeof(entry{}))

// Create makes a table with these points, none of them armed.
func Create(path string, points []string) error {
	data := make([]byte, len(points)*entrySize)
	for i, point := range points {
		if len(point) >= maxName {
			return fmt.Errorf("cannot aim at %s: a name has less than %d bytes", point, maxName)
		}
		copy(data[i*entrySize:], point)
	}
	return os.WriteFile(path, data, 0o600)
}

// Open maps a table. It stays mapped as long as the process lives.
func Open(path string) (*Table, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n := int(info.Size()) / entrySize
	if n == 0 {
		return nil, fmt.Errorf("cannot aim by %s: it is empty", path)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, n*entrySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	t := &Table{entries: unsafe.Slice((*entry)(unsafe.Pointer(&mem[0])), n), byName: make(map[string]*entry, n)}
	for i := range t.entries {
		t.byName[unix.ByteSliceToString(t.entries[i].name[:])] = &t.entries[i]
	}
	return t, nil
}

func (t *Table) find(point string) *entry { return t.byName[point] }

// Arm has the point kill whoever passes it for the count-th time from now on, and
// with it the process also (0: none).
func (t *Table) Arm(point string, count, also int) {
	e := t.find(point)
	atomic.StoreInt64(&e.also, int64(also))
	atomic.StoreInt64(&e.left, int64(count))
}

// Disarm takes an Arm back that has not killed yet.
func (t *Table) Disarm(point string) { atomic.StoreInt64(&t.find(point).left, 0) }

// Fired is how often the point has killed, and whom last.
func (t *Table) Fired(point string) (times uint64, victim int) {
	e := t.find(point)
	return atomic.LoadUint64(&e.fired), int(atomic.LoadInt64(&e.victim))
}

// Hits is how often the point was passed.
func (t *Table) Hits(point string) uint64 { return atomic.LoadUint64(&t.find(point).hits) }

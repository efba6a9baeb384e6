package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A journal file starts with 32 bytes: "superd journal" padded to 16 bytes, version
// (4 bytes), CRC-32C of these 20 bytes, zeros. Then follow the entries: length,
// generation, CRC-32C of both and of the data (4 bytes each), the data. The last is
// the one before the first that is not whole or of another generation: a journal is
// emptied by beginning anew, with another generation, over what was there.
const (
	journalSuffix  = ".journal"
	journalMagic   = "superd journal\x00\x00"
	journalVersion = 1
	journalHeader  = 32
	journalSummed  = 20
	entryHeader    = 12

	journalRoom = 256 << 10 // allocated beforehand
	journalMost = 32 << 20  // bytes of one file
	maxEntry    = 64 << 10
)

// Journal keeps entries, in their order, until they are safe elsewhere: what waits
// for a slow disk lies in it meanwhile. It is emptied when all of it is settled. All
// methods are safe for concurrent use; after superd's death at any instant, every
// entry that Append took and that was not settled is there. A nil *Journal keeps
// nothing.
type Journal struct {
	dir  *Dir
	name string // of the file

	mu         sync.Mutex
	file       *os.File // nil: closed
	room       int64    // allocated
	end        int64    // where the next entry goes
	open       int      // entries that are not settled
	generation uint32
	buf        []byte
}

// Journal opens the journal of that name, or makes it, and gives the entries in it,
// oldest first: they are not settled. A file that is no journal is set aside as
// NAME.journal.broken, listed by Damage, and replaced by an empty one. Names are
// those of [Dir.Table], and apart from tables' names.
func (d *Dir) Journal(name string) (*Journal, [][]byte, error) {
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	j := &Journal{dir: d, name: name + journalSuffix}
	entries, err := j.read()
	if err == nil && j.file == nil {
		err = j.make(journalRoom)
	}
	if err != nil {
		j.Close()
		return nil, nil, fmt.Errorf("cannot open journal %s in %s: %w", name, d.path, err)
	}
	return j, entries, nil
}

// read opens the file, if there is one that can be used.
func (j *Journal) read() (entries [][]byte, err error) {
	f, length, err := openRegular(j.dir.file, j.name, unix.O_RDWR)
	switch {
	case err == unix.ENOENT:
		return nil, nil
	case err == unix.ELOOP || err == unix.EISDIR || err == errForeign || err == unix.ENXIO:
		return nil, j.dir.setAside(j.name, errForeign)
	case err != nil:
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, journalMost))
	if err == nil {
		err = checkJournal(data)
		if err != nil {
			f.Close()
			return nil, j.dir.setAside(j.name, err)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	j.file, j.room, j.end = f, length, journalHeader
	for rest := data[journalHeader:]; ; {
		entry, generation, ok := decodeEntry(rest)
		if !ok || len(entries) > 0 && generation != j.generation {
			break
		}
		j.generation = generation
		entries = append(entries, entry)
		rest = rest[entryHeader+len(entry):]
		j.end += int64(entryHeader + len(entry))
	}
	j.open = len(entries)
	if j.open == 0 {
		j.generation = nextGeneration(data[journalHeader:])
	}
	return entries, nil
}

// make puts an empty journal in place, with so many bytes allocated.
func (j *Journal) make(room int64) error {
	fresh := j.name + newSuffix
	if err := unix.Unlinkat(int(j.dir.file.Fd()), fresh, 0); err != nil && err != unix.ENOENT {
		return err
	}
	f, err := openIn(j.dir.file, fresh, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	if err = allocate(f, room); err == nil {
		_, err = f.WriteAt(encodeJournalHeader(), 0)
	}
	if err == nil {
		err = unix.Renameat(int(j.dir.file.Fd()), fresh, int(j.dir.file.Fd()), j.name)
	}
	if err != nil {
		f.Close()
		unix.Unlinkat(int(j.dir.file.Fd()), fresh, 0)
		return err
	}
	j.file, j.room, j.end, j.generation = f, room, journalHeader, 1
	return nil
}

// Append adds an entry of 1 byte to 64 KiB, by one pwrite(2). It counts as one that
// is to be settled even when it could not be written.
func (j *Journal) Append(data []byte) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open++
	if err := j.append(data); err != nil {
		return fmt.Errorf("cannot write %s: %w", j.name, err)
	}
	return nil
}

func (j *Journal) append(data []byte) error {
	switch {
	case j.file == nil:
		return ErrClosed
	case len(data) == 0 || len(data) > maxEntry:
		return fmt.Errorf("an entry of %d bytes: it has 1 to %d", len(data), maxEntry)
	}
	size := int64(entryHeader + len(data))
	if j.end+size > j.room {
		if err := j.grow(j.end + size); err != nil {
			return err
		}
	}
	j.buf = encodeEntry(j.buf[:0], j.generation, data)
	if _, err := j.file.WriteAt(j.buf, j.end); err != nil {
		return err
	}
	j.end += size
	return nil
}

// grow allocates twice the room.
func (j *Journal) grow(need int64) error {
	room := max(j.room, journalRoom)
	for room < need {
		room *= 2
	}
	if room > journalMost {
		return fmt.Errorf("it is full (%d entries wait for the disk)", j.open)
	}
	if err := allocate(j.file, room); err != nil {
		return err
	}
	j.room = room
	return nil
}

// Settle tells that so many entries need not be kept any longer.
func (j *Journal) Settle(n int) {
	if j == nil || n == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open = max(0, j.open-n); j.open > 0 || j.file == nil {
		return
	}
	// What fails here has entries come back that are known elsewhere already.
	j.generation++
	j.end = journalHeader
	_, _ = j.file.WriteAt(encodeEntry(j.buf[:0], j.generation, nil), journalHeader)
	if j.room > journalRoom && j.file.Truncate(journalRoom) == nil {
		j.room = journalRoom
	}
}

// Lost tells that the journal's name is gone or means another file.
func (j *Journal) Lost() bool {
	if j == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file != nil && !SameFile(j.dir.path+"/"+j.name, j.file)
}

// Move puts a journal that was lost into a folder again, with what is in it.
func (j *Journal) Move(d *Dir) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	old, end, generation := j.file, j.end, j.generation
	held := make([]byte, end-journalHeader)
	if _, err := old.ReadAt(held, journalHeader); err != nil {
		return fmt.Errorf("cannot read %s: %w", j.name, err)
	}
	j.dir = d
	if err := j.make(max(end, journalRoom)); err != nil {
		return fmt.Errorf("cannot make %s again: %w", j.name, err)
	}
	old.Close()
	if _, err := j.file.WriteAt(held, journalHeader); err != nil {
		return fmt.Errorf("cannot write %s again: %w", j.name, err)
	}
	j.end, j.generation = end, generation
	return nil
}

// Close releases the file; what is in it stays.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

func encodeJournalHeader() []byte {
	b := make([]byte, journalHeader)
	copy(b, journalMagic)
	binary.LittleEndian.PutUint32(b[16:], journalVersion)
	binary.LittleEndian.PutUint32(b[journalSummed:], crc32.Checksum(b[:journalSummed], castagnoli))
	return b
}

func checkJournal(b []byte) error {
	if len(b) < journalHeader || string(b[:16]) != journalMagic {
		return errors.New("not a journal of superd's")
	}
	if crc32.Checksum(b[:journalSummed], castagnoli) != binary.LittleEndian.Uint32(b[journalSummed:]) {
		return errors.New("its header is damaged")
	}
	if v := binary.LittleEndian.Uint32(b[16:]); v != journalVersion {
		return fmt.Errorf("it has format %d, this superd reads %d", v, journalVersion)
	}
	return nil
}

func encodeEntry(b []byte, generation uint32, data []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, generation)
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, data))
	return append(b, data...)
}

// decodeEntry gives the entry that b begins with; false: none that is whole.
func decodeEntry(b []byte) (data []byte, generation uint32, ok bool) {
	if len(b) < entryHeader {
		return nil, 0, false
	}
	length := int(binary.LittleEndian.Uint32(b))
	if length == 0 || length > maxEntry || len(b) < entryHeader+length {
		return nil, 0, false
	}
	data = b[entryHeader : entryHeader+length]
	sum := crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, data)
	return data, binary.LittleEndian.Uint32(b[4:]), sum == binary.LittleEndian.Uint32(b[8:])
}

// nextGeneration is one that no entry in an emptied journal has: it was noted there
// when it was emptied.
func nextGeneration(b []byte) uint32 {
	if len(b) < entryHeader {
		return 1
	}
	return binary.LittleEndian.Uint32(b[4:]) + 1
}

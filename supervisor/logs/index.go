package logs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The index of a log lies beside it as FILE.idx (0.log.idx, 0.log.1.idx): a
// header of 64 bytes and then records of 64 bytes, all numbers little-endian.
// Each record is a segment: bytes that one run wrote to one stream within
// segmentTime, so a reader finds a time or a run without reading the log.
//
//	header  0 magic "superdIX"      8 version u32 (1)   12 record size u32 (64)
//	       16 inode of the log u64  24 inode of FILE.gz u64, once it is compressed
//	       32 wall time of the making, ns since 1970 i64
//	       40 the same of the log that this one took over from; 0: not known, or
//	          none. A reader that follows sees from it whether it missed a file.
//	          The rest is zero
//	record  0 offset in the log u64, ascending
//	        8 wall time of the first byte, ns since 1970 i64; 0: not known
//	       16 CLOCK_BOOTTIME of the first byte, ns i64
//	       24 length u32; 0: up to the next record or the log's end
//	       28 length of the run ID u8   29 stream u8: 'o', 'e', or 's' for a line
//	          of superd's own          30 zero u16
//	       32 run ID, 32 bytes; empty: not known, or superd itself
//
// Offsets of a compressed log are those before compression. Bytes between two
// segments are somebody else's. An index whose inode is another than the log's, or
// that cannot be read, is no index: it is begun anew. Records beyond the log's end
// are dropped. It is only an aid: superd never stops writing a log for its sake.
const (
	indexMagic   = "superdIX"
	indexVersion = 1
	recordSize   = 64

	streamOwn    = 's'
	segmentTime  = 100 * time.Millisecond
	segmentBytes = 64 << 10
)

// Header is the head of an index file.
type Header struct {
	Inode  uint64 // of the log
	Packed uint64 // of the compressed log; 0: there is none
	Made   time.Time
	Before time.Time // Made of the log that this one took over from; zero: not known
}

// Record is one segment of a log.
type Record struct {
	Offset int64
	Length int64         // 0: up to the next record or the end
	Wall   time.Time     // of the first byte; zero: not known
	Boot   time.Duration // CLOCK_BOOTTIME of the first byte
	Run    string        // empty: not known, or superd itself
	Stream byte          // 'o' stdout or merged, 'e' stderr, 's' superd itself
}

var errNotIndex = errors.New("is not an index of this version")

func (h *Header) encode() []byte {
	b := make([]byte, recordSize)
	copy(b, indexMagic)
	binary.LittleEndian.PutUint32(b[8:], indexVersion)
	binary.LittleEndian.PutUint32(b[12:], recordSize)
	binary.LittleEndian.PutUint64(b[16:], h.Inode)
	binary.LittleEndian.PutUint64(b[24:], h.Packed)
	binary.LittleEndian.PutUint64(b[32:], uint64(h.Made.UnixNano()))
	if !h.Before.IsZero() {
		binary.LittleEndian.PutUint64(b[40:], uint64(h.Before.UnixNano()))
	}
	return b
}

// DecodeHeader reads an index's first 64 bytes.
func DecodeHeader(b []byte) (Header, error) {
	if len(b) < recordSize || string(b[:8]) != indexMagic ||
		binary.LittleEndian.Uint32(b[8:]) != indexVersion ||
		binary.LittleEndian.Uint32(b[12:]) != recordSize {
		return Header{}, errNotIndex
	}
	h := Header{
		Inode:  binary.LittleEndian.Uint64(b[16:]),
		Packed: binary.LittleEndian.Uint64(b[24:]),
		Made:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[32:]))),
	}
	if ns := int64(binary.LittleEndian.Uint64(b[40:])); ns != 0 {
		h.Before = time.Unix(0, ns)
	}
	return h, nil
}

func (r *Record) encode(b []byte) {
	clear(b[:recordSize])
	binary.LittleEndian.PutUint64(b, uint64(r.Offset))
	if !r.Wall.IsZero() {
		binary.LittleEndian.PutUint64(b[8:], uint64(r.Wall.UnixNano()))
	}
	binary.LittleEndian.PutUint64(b[16:], uint64(r.Boot))
	if r.Length < 1<<32 {
		binary.LittleEndian.PutUint32(b[24:], uint32(r.Length))
	}
	b[28], b[29] = byte(len(r.Run)), r.Stream
	copy(b[32:], r.Run)
}

// DecodeRecord reads one record of 64 bytes.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) < recordSize || b[28] > 32 || binary.LittleEndian.Uint64(b) > 1<<62 {
		return Record{}, errNotIndex
	}
	if s := b[29]; s != streamOut && s != streamErr && s != streamOwn {
		return Record{}, errNotIndex
	}
	r := Record{
		Offset: int64(binary.LittleEndian.Uint64(b)),
		Boot:   time.Duration(binary.LittleEndian.Uint64(b[16:])),
		Length: int64(binary.LittleEndian.Uint32(b[24:])),
		Run:    string(b[32 : 32+b[28]]),
		Stream: b[29],
	}
	if ns := int64(binary.LittleEndian.Uint64(b[8:])); ns != 0 {
		r.Wall = time.Unix(0, ns)
	}
	return r, nil
}

// index writes the index of one open log.
type index struct {
	fd    int   // -1: not open, or given up until the log is opened again
	pos   int64 // where the next record goes
	last  Record
	since time.Time // of last, on the monotonic clock
	live  bool      // last may still grow
	made  time.Time // the header's, of the log opened last; zero: not known
}

// open opens or makes the index of f. A failure leaves the log without.
func (x *index) open(f *logFile) {
	x.live = false
	before := x.made
	x.made = time.Time{}
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(f.folder.fd, f.name+".idx", flags, 0o640)
	if err != nil {
		return
	}
	if ownFile(fd) != nil {
		unix.Close(fd)
		return
	}
	if f.gid != 0 {
		unix.Fchown(fd, -1, f.gid)
	}
	x.fd = fd
	var b [recordSize]byte
	n, _ := unix.Pread(fd, b[:], 0)
	if h, err := DecodeHeader(b[:max(n, 0)]); err == nil && h.Inode == f.ino {
		x.made = h.Made
		x.resume(f.size)
		return
	}
	x.begin(f, before)
}

// begin starts an empty index; what the log holds already is of unknown origin.
func (x *index) begin(f *logFile, before time.Time) {
	h := Header{Inode: f.ino, Made: time.Now()}
	if f.size == 0 { // a fresh log, not one that has lost its index
		h.Before = before
	}
	if unix.Ftruncate(x.fd, 0) != nil || x.write(h.encode(), 0) != nil {
		x.close()
		return
	}
	x.made = h.Made
	x.pos = recordSize
	x.last = Record{}
	if f.size > 0 {
		var b [recordSize]byte
		(&Record{Length: f.size, Stream: streamOwn}).encode(b[:])
		if x.write(b[:], x.pos) == nil {
			x.pos += recordSize
		}
	}
}

// resume goes on behind the last record that is not beyond the log's end.
func (x *index) resume(size int64) {
	var st unix.Stat_t
	if unix.Fstat(x.fd, &st) != nil {
		x.close()
		return
	}
	x.pos = max(st.Size/recordSize, 1) * recordSize
	x.last = Record{}
	for x.pos > recordSize {
		r, ok := x.read(x.pos - recordSize)
		if ok && r.Offset <= size {
			x.last = r
			return
		}
		x.pos -= recordSize
	}
}

func (x *index) read(pos int64) (Record, bool) {
	var b [recordSize]byte
	if n, err := unix.Pread(x.fd, b[:], pos); err != nil || n < recordSize {
		return Record{}, false
	}
	r, err := DecodeRecord(b[:])
	return r, err == nil
}

func (x *index) write(b []byte, pos int64) error {
	n, err := unix.Pwrite(x.fd, b, pos)
	if err == nil && n < len(b) {
		err = unix.ENOSPC
	}
	return err
}

// segment says that the bytes from the file's end on are of that run, before
// they are written.
func (f *logFile) segment(run string, stream byte, now time.Time) {
	x := &f.idx
	if x.fd < 0 {
		return
	}
	same := x.live && x.last.Run == run && x.last.Stream == stream
	if same && now.Sub(x.since) < segmentTime && f.size-x.last.Offset < segmentBytes {
		return
	}
	r := Record{Offset: f.size, Wall: now, Boot: bootTime(), Run: run, Stream: stream}
	var b [2 * recordSize]byte
	r.encode(b[recordSize:])
	out, pos := b[recordSize:], x.pos
	switch {
	case pos > recordSize && x.last.Offset == r.Offset: // nothing came of the last one
		pos -= recordSize
	case x.live:
		x.last.Length = f.size - x.last.Offset
		x.last.encode(b[:])
		out, pos = b[:], pos-recordSize
	}
	x.live = false
	if x.write(out, pos) != nil {
		return // no room: these bytes have no time
	}
	x.pos = pos + int64(len(out))
	x.last, x.since, x.live = r, now, true
}

// end closes the last segment at the given size of the log.
func (x *index) end(size int64) {
	if !x.live {
		return
	}
	x.live = false
	x.last.Length = size - x.last.Offset
	if x.fd >= 0 && x.last.Length > 0 {
		var b [recordSize]byte
		x.last.encode(b[:])
		x.write(b[:], x.pos-recordSize)
	}
}

// cut is told that the log is only size bytes long now.
func (x *index) cut(size int64) {
	x.live = false
	if x.fd < 0 {
		return
	}
	x.resume(size)
	if unix.Ftruncate(x.fd, x.pos) != nil {
		x.close()
		return
	}
	if x.pos > recordSize && x.last.Offset+x.last.Length > size {
		x.live = true
		x.end(size)
	}
}

// forget is told that the log is another file now.
func (x *index) forget() {
	x.close()
	x.live = false
	x.last = Record{}
}

func (x *index) close() {
	if x.fd >= 0 {
		unix.Close(x.fd)
		x.fd = -1
	}
	x.live = false
}

// bootTime is CLOCK_BOOTTIME.
func bootTime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// ReadIndex reads the whole index of an open log; for short files and tests.
func ReadIndex(path string) (Header, []Record, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Header{}, nil, err
	}
	h, err := DecodeHeader(b)
	if err != nil {
		return h, nil, fmt.Errorf("%s %w", path, err)
	}
	var all []Record
	for b = b[recordSize:]; len(b) >= recordSize; b = b[recordSize:] {
		r, err := DecodeRecord(b)
		if err != nil {
			return h, all, fmt.Errorf("%s %w", path, err)
		}
		all = append(all, r)
	}
	return h, all, nil
}

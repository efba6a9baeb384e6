package logs

import (
	"sort"
	"time"

	"golang.org/x/sys/unix"
)

const (
	indexWindow = 128  // records of an index that are held at once
	lookback    = 4096 // records that are passed over in search of a sound one
)

// segment is a stretch of a file that has one origin.
type segment struct {
	start, end int64     // of what is asked for: start may be after the record's
	key        int64     // the time it is merged by, ns: its own, or that of what is before it; 0: not known
	time       time.Time // zero: not known
	run        string
	stream     byte
}

// openIndex opens the index beside p's file. A rotation renames the index first, so
// it may be one number ahead. Without one p's lines have no time.
func (p *part) openIndex() {
	h := p.held
	if h.idx >= 0 {
		unix.Close(h.idx)
		h.idx = -1
	}
	h.win = h.win[:0]
	p.records = 0
	for num := p.num; num <= p.num+1; num++ {
		fd, err := openLook(p.r.dir, p.plainName(num)+".idx")
		if err != nil {
			continue
		}
		head, ok := p.header(fd)
		if !ok {
			unix.Close(fd)
			continue
		}
		h.idx = fd
		p.ino, p.made, p.before = head.Inode, head.Made.UnixNano(), 0
		if !head.Before.IsZero() {
			p.before = head.Before.UnixNano()
		}
		p.countRecords()
		return
	}
}

// header reads an index's header; false: the index is not of p's file.
func (p *part) header(fd int) (Header, bool) {
	var b [recordSize]byte
	var st unix.Stat_t
	n, err := preadFull(fd, b[:], 0)
	p.r.indexBytes += int64(n)
	if err != nil || unix.Fstat(fd, &st) != nil || !readable(&st) {
		return Header{}, false
	}
	h, err := DecodeHeader(b[:n])
	return h, err == nil && (p.packed && h.Packed == p.file || !p.packed && h.Inode == p.file)
}

// countRecords looks how many records there are of bytes before size. The size was
// read before them, so they cover all of it.
func (p *part) countRecords() {
	h := p.held
	p.records = 0
	if h == nil || h.idx < 0 {
		return
	}
	h.win = h.win[:0]
	var st unix.Stat_t
	if unix.Fstat(h.idx, &st) != nil {
		return
	}
	p.records = max(st.Size/recordSize-1, 0)
	if r, ok := p.raw(p.records - 1); !ok || r.Offset >= p.size {
		p.records = int64(sort.Search(int(p.records), func(i int) bool {
			r, _ := p.sound(int64(i))
			return r.Offset >= p.size
		}))
	}
	p.hint = p.records - 1
}

// raw is record n, read through the window; false: it is none.
func (p *part) raw(n int64) (Record, bool) {
	if n < 0 || n >= p.records {
		return Record{}, false
	}
	h, err := p.open()
	if err != nil || h.idx < 0 {
		return Record{}, false
	}
	if i := n - h.winAt; i < 0 || i >= int64(len(h.win)/recordSize) {
		h.winAt = max(n-indexWindow/2, 0)
		if cap(h.win) == 0 {
			h.win = make([]byte, indexWindow*recordSize)
		}
		h.win = h.win[:cap(h.win)]
		k, _ := preadFull(h.idx, h.win, (h.winAt+1)*recordSize)
		p.r.indexBytes += int64(k)
		h.win = h.win[:k/recordSize*recordSize]
	}
	i := (n - h.winAt) * recordSize
	if i+recordSize > int64(len(h.win)) {
		return Record{}, false
	}
	r, err := DecodeRecord(h.win[i : i+recordSize])
	return r, err == nil
}

// sound is the last record up to n that is one, and its number; -1: there is none.
func (p *part) sound(n int64) (Record, int64) {
	for i := n; i >= 0 && i > n-lookback; i-- {
		if r, ok := p.raw(i); ok {
			return r, i
		}
	}
	return Record{}, -1
}

// find gives the last record that begins at off or before; -1: none does.
func (p *part) find(off int64) (Record, int64) {
	for n := p.hint + 1; n >= p.hint-1; n-- {
		r, ok := p.raw(n)
		if !ok || r.Offset > off {
			continue
		}
		if next, ok := p.raw(n + 1); ok && next.Offset > off || n+1 == p.records {
			p.hint = n
			return r, n
		}
	}
	n := sort.Search(int(p.records), func(i int) bool {
		r, at := p.sound(int64(i))
		return at >= 0 && r.Offset > off
	})
	r, at := p.sound(int64(n) - 1)
	if at >= 0 && r.Offset > off { // the records are in no order
		return Record{}, -1
	}
	p.hint = at
	return r, at
}

// segment is the one that off is in.
func (p *part) segment(off int64) segment {
	r, n := p.find(off)
	s := segment{end: p.size, stream: p.c.stream}
	for i := n + 1; i < p.records && i <= n+lookback; i++ {
		if next, ok := p.raw(i); ok && next.Offset > off {
			s.end = min(s.end, next.Offset)
			break
		}
	}
	if n < 0 {
		s.key = p.before0()
		return s
	}
	s.key = p.key(n)
	s.start = r.Offset
	if r.Length > 0 {
		if stop := r.Offset + r.Length; off >= stop { // somebody else's bytes
			s.start = stop
			return s
		} else if stop < s.end {
			s.end = stop
		}
	}
	if r.Wall.IsZero() && r.Run == "" { // was there when the index was begun
		return s
	}
	s.time, s.run, s.stream = r.Wall, r.Run, r.Stream
	return s
}

// key is the time by which the bytes of record n are merged.
func (p *part) key(n int64) int64 {
	for i := n; i >= 0 && i > n-lookback; i-- {
		if r, ok := p.raw(i); ok && !r.Wall.IsZero() {
			return r.Wall.UnixNano()
		}
	}
	return p.before0()
}

// lastKey is the time of the last line; own tells whether it has one of its own.
func (p *part) lastKey() (key int64, own bool) {
	for i := p.records - 1; i >= 0 && i > p.records-lookback; i-- {
		if r, ok := p.raw(i); ok && !r.Wall.IsZero() {
			return r.Wall.UnixNano(), true
		}
	}
	return p.before0(), false
}

// firstKey is the first time that is known in the file; 0: none is.
func (p *part) firstKey() int64 {
	for i := int64(0); i < p.records && i < lookback; i++ {
		if r, ok := p.raw(i); ok && !r.Wall.IsZero() {
			return r.Wall.UnixNano()
		}
	}
	return 0
}

// before0 is the time of what is in front of the file's first byte; 0: not known.
func (p *part) before0() int64 {
	if !p.hasFloor {
		p.hasFloor = true
		if q := p.c.olderThan(p); q != nil {
			p.floor, _ = q.lastKey()
		}
	}
	return p.floor
}

// outdated tells that p, and so every older part, has no line that is young enough.
func (p *part) outdated() bool {
	since := p.r.q.Since
	if since.IsZero() {
		return false
	}
	if key, own := p.lastKey(); own {
		return key < since.UnixNano()
	}
	return p.mtime.Before(since)
}

// lower is where the first line may begin that is young enough.
func (p *part) lower() int64 {
	if p.r.q.Since.IsZero() {
		return 0
	}
	if p.outdated() {
		return p.size
	}
	first := p.firstKey()
	if first == 0 {
		return 0
	}
	since := p.r.q.Since.UnixNano()
	n := int64(sort.Search(int(p.records), func(i int) bool {
		key := p.key(int64(i))
		if key == 0 {
			key = first
		}
		return key >= since
	}))
	r, ok := p.raw(n)
	switch {
	case n == p.records:
		return p.size
	case !ok || n == 0 && (p.before0() == 0 || p.before0() >= since):
		return 0
	}
	return r.Offset
}

// upper is where no line begins any more that is old enough.
func (p *part) upper() int64 {
	if p.r.q.Until.IsZero() || p.r.q.Follow {
		return notKnown
	}
	until := p.r.q.Until.UnixNano()
	n := int64(sort.Search(int(p.records), func(i int) bool { return p.key(int64(i)) > until }))
	if r, ok := p.raw(n); ok {
		return r.Offset
	}
	return notKnown
}

// wanted tells whether a query wants the segment's lines.
func (p *part) wanted(s *segment) bool {
	q := &p.r.q
	if q.Run != "" && s.run != q.Run || !q.Until.IsZero() && s.key > q.Until.UnixNano() {
		return false
	}
	if q.Since.IsZero() || s.key == 0 || s.key >= q.Since.UnixNano() {
		return true
	}
	_, own := p.lastKey()
	return !own // outdated has decided on the whole file
}

package logs

import "bytes"

const (
	blockSize = 64 << 10 // so much is read at once
	stepSize  = 4 << 10  // so much where a line's end is looked for
	cutGrid   = MaxLine / 2
)

// A line ends with its newline or is cut. Long lines are cut at multiples of
// cutGrid, so that they are cut alike whether they are read from their beginning,
// backwards, or from the middle: at each one that has no newline in the cutGrid
// bytes before it. So no piece is longer than MaxLine, and no line up to cutGrid is cut.

// cutLimit is where a line that begins at off is cut at the latest.
func cutLimit(off int64) int64 { return (off+cutGrid-1)/cutGrid*cutGrid + cutGrid }

// room is n bytes of the buffer, behind what the lines of the batch refer to.
func (r *reader) room(n int) ([]byte, error) {
	if len(r.batch) == 0 {
		r.used = 0
	}
	if r.used+n > len(r.buf) {
		if err := r.flush(); err != nil {
			return nil, err
		}
		r.used = 0
		if n > len(r.buf) {
			r.buf = make([]byte, n)
		}
	}
	return r.buf[r.used : r.used+n], nil
}

// found is a line that scan found.
type found struct {
	text       []byte // in the buffer: valid until the next room
	begin, end int64
	cut        bool
}

// verdict is what becomes of a line.
type verdict int

const (
	pass verdict = iota
	keep         // its text is needed until the next flush
	stop         // it is not taken; the scan ends before it
)

// scan gives each the lines of p that begin in [from, to); from is the beginning
// of one. It returns where the next one begins.
func (r *reader) scan(p *part, from, to int64, each func(found) (verdict, error)) (int64, error) {
	need := int64(0)
	for from < to && from < p.size {
		n := min(max(min(to-from, r.block), need), p.size-from)
		buf, err := r.room(int(n))
		if err != nil {
			return from, err
		}
		k, err := p.fetch(buf, from)
		if err != nil {
			return from, err
		}
		data, base, at := buf[:k], r.used, 0
		for from < to {
			f, size := p.cutLine(data[at:], from)
			if size == 0 {
				break
			}
			v, err := each(f)
			if err != nil || v == stop {
				return from, err
			}
			at, from = at+size, f.end
			if v == keep {
				r.used = base + at
			}
		}
		if k == 0 {
			break
		}
		need = min(max(stepSize, 2*int64(k-at)), cutLimit(from)-from)
	}
	return from, nil
}

// cutLine takes the line off data, which is at off. Size 0: its end is not in data.
func (p *part) cutLine(data []byte, off int64) (f found, size int) {
	f.begin = off
	limit := cutLimit(off) - off
	i := bytes.IndexByte(data[:min(int64(len(data)), limit)], '\n')
	switch {
	case i >= 0:
		f.text, size = data[:i], i+1
	case int64(len(data)) >= limit:
		f.text, f.cut, size = data[:limit], true, int(limit)
	case off+int64(len(data)) >= p.size: // the file's last line has no newline
		f.text, f.cut, size = data, p.final, len(data)
	}
	f.end = off + int64(size)
	return f, size
}

// align is the first beginning of a line at off or behind it.
func (p *part) align(off int64) (int64, error) {
	if off <= 0 || off >= p.size {
		return min(max(off, 0), p.size), nil
	}
	if at, err := p.newline(off-1, off); err != nil || at >= 0 {
		return off, err
	}
	cut := (off + cutGrid - 1) / cutGrid * cutGrid
	at, err := p.newline(off, min(cut, p.size))
	if err != nil || at >= 0 {
		return at + 1, err
	}
	if cut >= p.size {
		return p.size, nil
	}
	at, err = p.lastNewline(cut-cutGrid, off)
	if err != nil || at < 0 {
		return cut, err
	}
	at, err = p.newline(cut, min(cut+cutGrid, p.size))
	if err != nil || at >= 0 {
		return at + 1, err
	}
	return min(cut+cutGrid, p.size), nil
}

// newline is where the first newline in [from, to) is; -1: there is none.
func (p *part) newline(from, to int64) (int64, error) {
	var buf [stepSize]byte
	for from < to {
		b := buf[:min(to-from, stepSize)]
		n, err := p.fetch(b, from)
		if err != nil || n == 0 {
			return -1, err
		}
		if i := bytes.IndexByte(b[:n], '\n'); i >= 0 {
			return from + int64(i), nil
		}
		from += int64(n)
	}
	return -1, nil
}

// lastNewline is where the last newline in [from, to) is; -1: there is none.
func (p *part) lastNewline(from, to int64) (int64, error) {
	var buf [stepSize]byte
	for to > from {
		b := buf[:min(to-from, stepSize)]
		to -= int64(len(b))
		n, err := p.fetch(b, to)
		if err != nil {
			return -1, err
		}
		if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
			return to + int64(i), nil
		}
	}
	return -1, nil
}

// whole is how much of a log of that size is lines that are whole: what is behind
// it may go on. It goes back no further than to where it looked before.
func (p *part) whole(size int64) (int64, error) {
	if size < p.seen {
		p.ended, p.seen = 0, 0
	}
	from := max(p.ended, p.seen)
	at, err := p.lastNewline(max(from, size/cutGrid*cutGrid-cutGrid), size) // without one there it is cut
	if err != nil {
		return p.ended, err
	}
	if at >= 0 {
		p.ended = at + 1
	}
	for cutLimit(p.ended) <= size {
		p.ended = cutLimit(p.ended)
	}
	p.seen = size
	return p.ended, nil
}

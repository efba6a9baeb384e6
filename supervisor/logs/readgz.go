package logs

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
)

const (
	streamsHeld = 512      // decompressors that one reader keeps; each is about 50 KiB
	streamBytes = 16 << 20 // of their buffers together
	streamBack  = 4 << 10  // may be read again behind what was read last
)

// stream reads a compressed part from its beginning. It keeps what was read last,
// so that the next read may begin a little before its end; one that begins further
// back starts it again.
type stream struct {
	p    *part
	in   int64 // offset in the compressed file
	z    *gzip.Reader
	buf  []byte
	at   int64 // offset of buf before compression
	used uint64
}

// Read gives the compressed bytes. The file may be closed between two reads.
func (s *stream) Read(b []byte) (int, error) {
	h, err := s.p.open()
	if err != nil {
		return 0, err
	}
	n, err := preadFull(h.fd, b, s.in)
	s.in += int64(n)
	s.p.r.logBytes += int64(n)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// unpack is fetch for a compressed part. One that is damaged ends there.
func (p *part) unpack(buf []byte, off int64) (int, error) {
	if p.gz != nil && off < p.gz.at {
		p.dropStream()
	}
	if p.gz == nil {
		p.gz = &stream{p: p}
		p.r.streams = append(p.r.streams, p.gz)
	}
	s := p.gz
	p.r.makeStreamRoom(s)
	p.r.tick++
	s.used = p.r.tick
	for s.at+int64(len(s.buf)) < off+int64(len(buf)) {
		s.forget(off - streamBack)
		if err := s.more(off + int64(len(buf))); err != nil {
			var failed *readError
			if errors.Is(err, errGone) || errors.As(err, &failed) {
				p.dropStream()
				return 0, err
			}
			p.size = min(p.size, s.at+int64(len(s.buf)))
			if err != io.EOF {
				p.damage = err
			}
			break
		}
	}
	n := 0
	if i := off - s.at; i >= 0 && i < int64(len(s.buf)) {
		n = copy(buf, s.buf[i:])
	}
	return n, nil
}

// more appends what comes next, up to the given offset or a block of it.
func (s *stream) more(to int64) error {
	if s.z == nil {
		z, err := gzip.NewReader(bufio.NewReaderSize(s, 8<<10))
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // not even a header
			}
			return err
		}
		s.z = z
	}
	n := len(s.buf)
	want := int(min(to-s.at-int64(n), blockSize))
	if cap(s.buf) < n+want {
		s.resize(append(make([]byte, 0, n+want+streamBack), s.buf...))
	}
	k, err := io.ReadFull(s.z, s.buf[n:n+want])
	s.buf = s.buf[:n+k]
	if k > 0 {
		return nil // the error, if it is one, comes again
	}
	return err
}

// forget drops what lies before off, and a buffer that a long line has made large.
func (s *stream) forget(off int64) {
	n := min(max(off-s.at, 0), int64(len(s.buf)))
	if n == 0 {
		return
	}
	rest := s.buf[n:]
	s.at += n
	if cap(s.buf) > 2*blockSize && len(rest) <= blockSize {
		s.resize(append([]byte(nil), rest...))
		return
	}
	s.buf = s.buf[:copy(s.buf, rest)]
}

func (s *stream) resize(buf []byte) {
	s.p.r.streamTotal += cap(buf) - cap(s.buf)
	s.buf = buf
}

// makeStreamRoom gives up decompressors until keep and the others are not too many.
// Those used last go first: files are read in turns, so those used long ago are
// needed soonest, and to begin anew is dear.
func (r *reader) makeStreamRoom(keep *stream) {
	for len(r.streams) > streamsHeld || r.streamTotal > streamBytes && len(r.streams) > 1 {
		var latest *stream
		for _, s := range r.streams {
			if s != keep && (latest == nil || s.used > latest.used) {
				latest = s
			}
		}
		latest.p.dropStream()
	}
}

// dropStream gives up p's decompressor.
func (p *part) dropStream() {
	if p.gz == nil {
		return
	}
	r := p.r
	r.streamTotal -= cap(p.gz.buf)
	for i, s := range r.streams {
		if s == p.gz {
			last := len(r.streams) - 1
			r.streams[i] = r.streams[last]
			r.streams = r.streams[:last]
			break
		}
	}
	p.gz = nil
}

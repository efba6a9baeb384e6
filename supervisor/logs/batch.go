package logs

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"
)

// batch writes the next bytes of s into its file and takes them out of the FIFO.
// It returns errNotYet if another source is in the middle of a line.
func (d *device) batch(s *source, n int) error {
	f := s.file
	if err := d.prepare(f); err != nil {
		return err
	}
	if ok, err := d.turn(s); !ok {
		return orNotYet(err)
	}
	if s.lost > 0 {
		if err := d.tellLost(s); err != nil {
			return err
		}
		if n = s.waiting(); n == 0 {
			return nil
		}
	}
	limit, room, err := d.plan(s, n)
	if err != nil {
		return err
	}
	f.segment(s.run.id, s.stream, d.now)
	var wrote int
	if room >= 0 || f.noSplice {
		wrote, err = d.copyBatch(s, limit, room)
	} else {
		wrote, err = d.spliceBatch(s, limit)
	}
	s.bytes.Add(int64(wrote))
	if wrote > 0 {
		s.heldSince = time.Time{}
	}
	return err
}

// orNotYet is err, or errNotYet where nothing went wrong.
func orNotYet(err error) error {
	if err == nil {
		return errNotYet
	}
	return err
}

// plan rotates if it is time, and says how many bytes may follow. With room >= 0
// they have to end with a line: the last that ends within room bytes, else the
// first that ends at all.
func (d *device) plan(s *source, n int) (limit, room int, err error) {
	f := s.file
	limit, room = min(n, d.size), -1
	if f.contended(s) {
		room = limit
	}
	maxSize := f.keys.MaxSize
	if maxSize <= 0 || d.now.Before(f.rotateAt) {
		return limit, room, nil
	}
	if f.size >= maxSize {
		ended, err := f.lineEnded()
		if err != nil {
			return 0, 0, err
		}
		if ended || f.size >= maxSize+lineSlack {
			if err := d.rotate(f); err != nil {
				return 0, 0, err
			}
		}
	}
	switch left := maxSize - f.size; {
	case left <= 0: // a line ends beyond maxSize
		if d.now.Before(f.rotateAt) {
			return limit, room, nil
		}
		return int(min(int64(limit), left+lineSlack)), 0, nil
	case room >= 0:
		room = int(min(int64(room), left))
	default:
		limit = int(min(int64(limit), left))
	}
	return limit, room, nil
}

// spliceBatch moves up to limit bytes without looking at them.
func (d *device) spliceBatch(s *source, limit int) (int, error) {
	f := s.file
	n, err := d.look(s.fd, limit)
	if n == 0 {
		if err == unix.EAGAIN {
			err = nil
		}
		return 0, err
	}
	s.note.begin(d.id, d.wasteID, f.ino, f.size, int64(n))
	hook("writing")
	wrote := 0
	for wrote < n {
		off := f.size
		k, e := unix.Splice(d.scratch[0], nil, f.fd, &off, n-wrote, unix.SPLICE_F_MOVE)
		if e == unix.EINTR {
			continue
		}
		if e == nil && k == 0 {
			e = unix.EIO
		}
		if e != nil {
			err = e
			break
		}
		wrote += int(k)
		f.size += k
	}
	if wrote < n {
		d.discard(d.scratch[0], n-wrote)
	}
	if err == unix.EINVAL && wrote == 0 { // this file system cannot: decided once for the file
		f.noSplice = true
		s.note.finish()
		return d.copyBatch(s, limit, -1)
	}
	d.taken(s, wrote)
	return wrote, err
}

// copyBatch moves up to limit bytes through memory and ends as plan said.
func (d *device) copyBatch(s *source, limit, room int) (int, error) {
	f := s.file
	data, err := d.peek(s.fd, limit)
	if len(data) == 0 {
		if err == unix.EAGAIN {
			err = nil
		}
		return 0, err
	}
	if room >= 0 {
		end := bytes.LastIndexByte(data[:min(room, len(data))], '\n') + 1
		if end == 0 {
			end = bytes.IndexByte(data, '\n') + 1
		}
		if end == 0 {
			end = len(data)
			if ok, err := d.begins(s, data); !ok {
				return 0, orNotYet(err)
			}
		}
		data = data[:end]
	}
	s.note.begin(d.id, d.wasteID, f.ino, f.size, int64(len(data)))
	hook("writing")
	wrote, err := f.append(data)
	d.taken(s, wrote)
	return wrote, err
}

// taken takes the bytes that are in the file out of the FIFO.
func (d *device) taken(s *source, wrote int) {
	if wrote > 0 {
		hook("spliced")
		s.note.written(int64(wrote))
		hook("written")
		d.consume(s.fd, wrote, func() {
			hook("consumed")
			s.note.finish()
			hook("finished")
		})
	}
	s.note.finish()
}

// hook is called at the instants at which a test wants to be killed.
var hook = func(string) {}

package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	retryTime  = time.Second      // a file that could not be written is tried again so often
	patience   = 30 * time.Second // the last words of an ended run wait so long for room
	lineSlack  = 1 << 20          // the longest line that rotation waits for, or that is taken back
	dropChunk  = bufSize
	blockedErr = "on_full is \"block\": the worker waits"
)

// fail notes that f cannot be written.
func (d *device) fail(f *logFile, err error) {
	first := f.trouble == nil
	f.trouble, f.retryAt = err, d.now.Add(retryTime)
	d.waits[f] = true
	if !first {
		return
	}
	f.since = d.now
	if f.keys.BlockOnFull {
		d.m.opt.Notify(f.notice(Notice{Kind: Stalled, Err: fmt.Errorf("cannot write %s: %w; %s", f.path(), err, blockedErr)}))
	}
}

// recovered notes that f was written.
func (d *device) recovered(f *logFile) {
	d.callHeld(f)
	if f.trouble == nil {
		return
	}
	f.trouble = nil
	if f.keys.BlockOnFull {
		d.m.opt.Notify(f.notice(Notice{Kind: Stalled, For: d.now.Sub(f.since)}))
	}
	d.again(f)
}

// relieve keeps the worker going while its file cannot be written. What fits
// into a third of the FIFO waits for better times; beyond that the oldest whole
// lines are dropped. (A FIFO counts pages, and may be full when half its bytes are
// used: each write of more than half a page takes a page for itself.)
func (d *device) relieve(s *source, n int) {
	f := s.file
	d.waits[f] = true
	over := s.run.ended && d.now.Sub(s.run.endedAt) > patience && d.now.Sub(f.since) > patience
	size, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETPIPE_SZ, 0) // the worker may have changed it
	if err != nil {
		size = s.capacity
	}
	if f.keys.BlockOnFull || s.found && n <= size/3 && !over {
		return // what is not settled yet is not touched as long as the worker can go on
	}
	s.found = false
	if n > size/3 || over {
		first := s.lost == 0
		if !s.midDrop {
			d.takeBack(s)
		}
		keep := size / 6
		if over {
			keep = 0
		}
		for n > keep && d.dropSome(s) {
			n = s.waiting()
		}
		if first && s.lost > 0 {
			d.m.opt.Notify(f.notice(Notice{Kind: Dropped, Run: s.run.id, Err: fmt.Errorf("cannot write %s: %w; lines are dropped until it can be written", f.path(), f.trouble)}))
		}
	}
	if over && s.waiting() == 0 {
		d.m.opt.Notify(f.notice(Notice{Kind: Dropped, Run: s.run.id, Bytes: s.lost, Lines: s.lostLines, Err: f.trouble}))
		s.lost, s.lostLines = 0, 0
		d.quiet(s)
	}
}

// dropSome drops whole lines, at most dropChunk bytes, from the FIFO's head.
func (d *device) dropSome(s *source) bool {
	data, _ := d.peek(s.fd, dropChunk)
	if len(data) == 0 {
		return false
	}
	if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
		data = data[:i+1]
		s.midDrop = false
	} else {
		s.midDrop = true
	}
	d.lose(s, data)
	return true
}

// lose takes bytes out of the FIFO that go nowhere.
func (d *device) lose(s *source, data []byte) {
	s.lostLines += int64(bytes.Count(data, []byte{'\n'}))
	n := d.consume(s.fd, len(data), nil)
	s.lost += int64(n)
	s.dropped.Add(int64(n))
	s.noteLost()
}

func (s *source) noteLost() { s.note.setLost(s.lost, s.lostLines, s.dropped.Load(), s.midDrop) }

// takeBack takes the beginning of a line out of the file, when its rest is going
// to be dropped: a line is in the file as a whole or not at all.
func (d *device) takeBack(s *source) {
	f := s.file
	if f.owner != s || f.fd < 0 {
		return
	}
	if ended, err := f.lineEnded(); ended || err != nil {
		return
	}
	size := min(f.size, lineSlack)
	buf := make([]byte, size)
	n, err := unix.Pread(f.fd, buf, f.size-size)
	if err != nil || int64(n) != size {
		return
	}
	i := bytes.LastIndexByte(buf, '\n')
	if i < 0 && size < f.size { // longer than any line that we wait for: it stays, cut
		return
	}
	back := f.size - size + int64(i) + 1
	if unix.Ftruncate(f.fd, back) != nil {
		return
	}
	s.lost += f.size - back
	s.dropped.Add(f.size - back)
	s.bytes.Add(back - f.size)
	f.idx.cut(back)
	f.size = back
	s.midDrop = true
	s.noteLost()
}

// tellLost leaves a line that says how much was dropped. It comes before the
// next byte of the source; the rest of a dropped line is dropped first.
func (d *device) tellLost(s *source) error {
	f := s.file
	for s.midDrop {
		data, err := d.peek(s.fd, bufSize)
		if len(data) == 0 {
			if err == nil { // the end: there is no rest
				s.midDrop = false
				break
			}
			if s.waiting() == 0 {
				return errNotYet
			}
			return err
		}
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			data = data[:i+1]
			s.midDrop = false
		}
		d.lose(s, data)
	}
	why := "it could not be written"
	if f.trouble != nil {
		why = cause(f.trouble)
	}
	line := fmt.Appendf(nil, "superd: %d bytes dropped here, %d lines: %s\n", s.lost, s.lostLines, why)
	if ended, err := f.lineEnded(); err != nil {
		return err
	} else if !ended {
		line = append([]byte{'\n'}, line...)
	}
	if err := f.appendWhole(line, d.now); err != nil {
		return err
	}
	d.m.opt.Notify(f.notice(Notice{Kind: Dropped, Run: s.run.id, Bytes: s.lost, Lines: s.lostLines}))
	s.lost, s.lostLines = 0, 0
	s.noteLost()
	return nil
}

// cause is the innermost error's text.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

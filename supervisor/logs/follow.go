package logs

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	followTime = 100 * time.Millisecond // so often is looked whether something was written
	folderTime = time.Second            // and whether the folder is the one of its name
	listShare  = 50                     // listing takes no more than this part of the time
	untilSlack = 500 * time.Millisecond // what was written before Until is in the file by then
)

// watch is what following knows of the folder.
type watch struct {
	mtime  time.Time // when it was listed last; zero: to be listed
	listed time.Time
	next   time.Time // not listed before
	check  time.Time // not looked up by its name before
}

// mark is a record of bytes that were read: an index in which it is another one
// is that of a log that was cut.
type mark struct {
	n    int64 // -1: none
	rec  Record
	made int64
}

// follow gives what is written from now on.
func (r *reader) follow() error {
	for _, c := range r.chains {
		c.remember()
	}
	ticker := time.NewTicker(followTime)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-ticker.C:
		}
		now := time.Now()
		if err := r.look(now); err != nil {
			return err
		}
		if until := r.q.Until; !until.IsZero() && now.After(until.Add(untilSlack)) {
			return nil
		}
	}
}

// look gives what was written since it looked last.
func (r *reader) look(now time.Time) error {
	if err := r.lookFolder(now); err != nil {
		return err
	}
	var grown []*chain
	for _, c := range r.chains {
		more, err := c.refresh()
		if err != nil {
			return err
		}
		if more || c.added {
			c.added = false
			grown = append(grown, c)
		}
	}
	if len(grown) == 0 {
		return nil
	}
	if err := r.merge(grown); err != nil {
		return err
	}
	for _, c := range grown {
		c.remember()
	}
	return nil
}

// lookFolder finds the folder if it was made, or made anew, and logs that are new.
func (r *reader) lookFolder(now time.Time) error {
	w := &r.watch
	if r.dir < 0 || now.After(w.check) {
		w.check = now.Add(folderTime)
		if err := r.findFolder(); err != nil {
			return err
		}
	}
	if r.dir < 0 || r.q.Indices != nil && len(r.chains) == 2*len(r.q.Indices) || now.Before(w.next) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(r.dir, &st); err != nil {
		return fmt.Errorf("cannot stat %s: %w", r.path(""), err)
	}
	mtime := time.Unix(st.Mtim.Unix())
	if mtime.Equal(w.mtime) && w.listed.Sub(mtime) > time.Second { // clocks of file systems are coarse
		return nil
	}
	began := time.Now()
	added, err := r.list()
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", r.path(""), err)
	}
	w.mtime, w.listed = mtime, now
	w.next = now.Add(listShare * time.Since(began))
	for _, c := range added {
		c.added = true
		if err := c.begin(); err != nil {
			return err
		}
	}
	return nil
}

// findFolder opens the folder of that name if it is another one than before.
func (r *reader) findFolder() error {
	fd, err := openReadFolder(r.m.opt.LogDir, r.q.Folder)
	if err != nil || fd < 0 {
		return err
	}
	var st, old unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot stat %s: %w", r.path(""), err)
	}
	if r.dir >= 0 {
		if unix.Fstat(r.dir, &old) == nil && old.Ino == st.Ino && old.Dev == st.Dev {
			unix.Close(fd)
			return nil
		}
		unix.Close(r.dir)
	}
	r.dir = fd
	r.watch.mtime, r.watch.next = time.Time{}, time.Time{}
	for _, c := range r.chains {
		c.stat = unix.Stat_t{}
	}
	return nil
}

// refresh looks whether something was written to the log; by its name, so that
// what nobody writes to need not be open.
func (c *chain) refresh() (bool, error) {
	if c.r.dir < 0 {
		return false, nil
	}
	var st unix.Stat_t
	if unix.Fstatat(c.r.dir, c.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || !readable(&st) {
		// Being rotated, moved or removed; superd writes to it until it sees that.
		if len(c.parts) == 0 || c.parts[0].held == nil || unix.Fstat(c.parts[0].held.fd, &st) != nil {
			c.stat = unix.Stat_t{}
			return false, nil
		}
	}
	if st.Ino == c.stat.Ino && st.Size == c.stat.Size && st.Mtim == c.stat.Mtim {
		return false, nil
	}
	c.stat = st
	if len(c.parts) > 0 {
		p := c.parts[0]
		if !p.final && p.file == st.Ino && p.num == 0 {
			_, err := p.open()
			switch {
			case err == nil && p.num == 0:
				return true, c.grow(p)
			case err != nil && err != errGone:
				return false, err
			}
		}
	}
	return true, c.replace()
}

// grow is told that something happened to the log that is written.
func (c *chain) grow(p *part) error {
	var st, idx unix.Stat_t
	if err := unix.Fstat(p.held.fd, &st); err != nil {
		return &readError{"stat", p, err}
	}
	p.mtime = time.Unix(st.Mtim.Unix())
	p.size = st.Size
	if p.held.idx < 0 || unix.Fstat(p.held.idx, &idx) != nil || idx.Nlink == 0 {
		p.openIndex()
	} else if head, ok := p.header(p.held.idx); !ok || head.Made.UnixNano() != p.made {
		p.openIndex()
	} else {
		p.countRecords()
	}
	switch {
	case c.cut(p):
		c.off, c.aligned = 0, true
		p.ended, p.seen = 0, 0
	case c.off > st.Size: // superd took back a line that there was no room for
		c.off, c.aligned = st.Size, false
	}
	whole, err := p.whole(st.Size)
	p.size = whole
	if err == errGone {
		err = nil
	}
	p.countRecords()
	return err
}

// cut tells whether somebody cut the log since it was read: what is behind off is
// then not what goes on there.
func (c *chain) cut(p *part) bool {
	if c.mark.n < 0 || p.held.idx < 0 || c.mark.made != p.made {
		return p.size < c.off
	}
	rec, ok := p.raw(c.mark.n)
	m := c.mark.rec
	return !ok || rec.Offset != m.Offset || !rec.Wall.Equal(m.Wall) || rec.Run != m.Run || rec.Stream != m.Stream
}

// remember notes by which record it will be seen that the log was cut.
func (c *chain) remember() {
	c.mark.n = -1
	if c.at != 0 || len(c.parts) == 0 || c.off == 0 {
		return
	}
	p := c.parts[0]
	c.mark.rec, c.mark.n = p.find(c.off - 1)
	c.mark.made = p.made
}

// replace is told that another file than before has the log's name: one rotation
// or several were made, or it was removed. What the old file has is read to its
// end, then come those that are newer.
func (c *chain) replace() error {
	if len(c.parts) == 0 {
		c.num, c.all = -1, false
		return c.begin()
	}
	old := c.parts[0]
	newer, found, err := c.newer(old)
	if err != nil || len(newer) == 0 {
		c.stat = unix.Stat_t{} // it has vanished again: look next time
		return err
	}
	if err := c.finish(old); err == errGone {
		newer[len(newer)-1].gap = "what was written last to a file that was removed before it could be read"
	} else if err != nil {
		return err
	} else if !found {
		newer[len(newer)-1].follows(old)
	}
	for i := range newer[1:] {
		newer[i].follows(newer[i+1])
	}
	c.parts = append(newer, c.parts[:c.at+1]...) // those that are read are closed
	c.at += len(newer)
	c.all = true
	return nil
}

// newer opens the files that were begun after old, newest first, and tells
// whether old is still there.
func (c *chain) newer(old *part) (newer []*part, found bool, err error) {
	known, head := &chain{r: c.r}, c.head()
	err = c.search(0, 0, func(p *part) (bool, error) {
		if found = old.same(p); found {
			if old.held == nil {
				old.adopt(p)
			}
			old.num = p.num
			p.close()
			return true, nil
		}
		known.parts = newer
		if known.knows(p) || len(newer) > 0 && c.younger(p, newer[len(newer)-1], head) {
			p.close() // it has moved; what is younger is found next time
			return false, nil
		}
		newer = append(newer, p)
		if p.final {
			return false, nil
		}
		size, err := p.whole(p.size)
		p.size = size
		p.countRecords()
		return false, err
	})
	if err != nil || found {
		return newer, found, err
	}
	for i, p := range newer { // old was removed: the others may be older
		if p.num > 0 && (old.made == 0 || p.made == 0 || p.made < old.made) {
			for _, p := range newer[i:] {
				p.close()
			}
			return newer[:i], false, nil
		}
	}
	return newer, false, nil
}

// follows notes whether there was a file between q and p, which took over.
func (p *part) follows(q *part) {
	if p.before != 0 && q.made != 0 && p.before != q.made {
		p.gap = "a file that was rotated away before it could be read"
	}
}

// finish is told that nothing is written to the part any more: all of it is read.
func (c *chain) finish(p *part) error {
	if p.failed == errGone {
		p.failed = nil
	}
	h, err := p.open()
	if err != nil {
		p.final, p.lost = true, true
		p.size = min(p.size, c.off)
		return err
	}
	p.final = true
	if p.packed {
		p.size = notKnown
	} else {
		var st unix.Stat_t
		if err := unix.Fstat(h.fd, &st); err != nil {
			return &readError{"stat", p, err}
		}
		p.size = st.Size
	}
	p.countRecords()
	return nil
}

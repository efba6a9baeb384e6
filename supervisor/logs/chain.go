package logs

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// chain is one log with its rotated files, as a reader goes through it: parts are
// found from the newest to the oldest, as far back as needed, and read the other
// way round. A rotation moves files in the direction of the search, so none can
// slip past it; one that comes twice is known by what it is.
type chain struct {
	r      *reader
	index  int
	stream byte
	order  int // of lines of the same time
	name   string
	most   int // the highest number of a rotated file when the folder was listed

	parts []*part // newest first
	num   int     // up to which the search has come
	all   bool    // nothing is older than the last of parts

	at      int   // the part that is read
	off     int64 // where
	upper   int64 // and up to where
	aligned bool  // a line begins at off
	skip    int   // so many lines are passed over
	seg     segment

	back  backward
	added bool        // followed: it is new
	stat  unix.Stat_t // followed: of what has the log's name
	mark  mark        // followed: by which it is seen that the log was cut
}

// logName takes a file's name apart.
func logName(file string) (index int, stream byte, num int, ok bool) {
	head, tail, found := strings.Cut(file, ".log")
	if !found {
		return 0, 0, 0, false
	}
	stream = streamOut
	if s, found := strings.CutSuffix(head, ".err"); found {
		head, stream = s, streamErr
	}
	if index, ok = number(head); !ok || tail == "" {
		return index, stream, 0, ok
	}
	tail, ok = strings.CutPrefix(strings.TrimSuffix(tail, ".gz"), ".")
	if !ok {
		return 0, 0, 0, false
	}
	num, ok = number(tail)
	return index, stream, num, ok && num > 0
}

// number reads a number as superd writes it.
func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == s
}

// list brings r.chains up to date with the folder and tells which are new.
func (r *reader) list() ([]*chain, error) {
	names, err := readNames(r.dir)
	if err != nil {
		return nil, err
	}
	var added []*chain
	for _, file := range names {
		index, stream, num, ok := logName(file)
		if !ok || r.q.Indices != nil && !slices.Contains(r.q.Indices, index) {
			continue
		}
		order := 2 * index
		name := strconv.Itoa(index) + ".log"
		if stream == streamErr {
			order++
			name = strconv.Itoa(index) + ".err.log"
		}
		c := r.byOrder[order]
		if c == nil {
			c = &chain{r: r, index: index, stream: stream, order: order, name: name, num: -1}
			r.byOrder[order] = c
			added = append(added, c)
		}
		c.most = max(c.most, num)
	}
	r.chains = append(r.chains, added...)
	slices.SortFunc(r.chains, func(a, b *chain) int { return a.order - b.order })
	r.block = min(max(blockTotal/int64(max(len(r.chains), 1)), stepSize), blockSize)
	return added, nil
}

// readNames lists an open folder.
func readNames(dir int) ([]string, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if errors.Is(err, unix.ENOENT) { // the folder was removed; it may be made anew
		err = nil
	}
	return names, err
}

// head is the inode of what has the log's name; it changes with each rotation.
func (c *chain) head() uint64 {
	var st unix.Stat_t
	if unix.Fstatat(c.r.dir, c.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0
	}
	return st.Ino
}

// search opens the log's files from that number on and hands them to each, which
// may close them, until it is done. Rotations may move the files while they are
// looked for, even as fast as the search goes on: then it goes back.
func (c *chain) search(from, most int, each func(*part) (done bool, err error)) error {
	head, last, again := c.head(), from-1, 0
	for num := from; ; num++ {
		if err := c.r.ctx.Err(); err != nil {
			return err
		}
		p, err := c.r.openPart(c, num)
		if err != nil {
			return err
		}
		if p != nil {
			last = num
			if done, err := each(p); done || err != nil {
				return err
			}
			continue
		}
		if num <= most || num < last+3 { // a rotation that was broken off left a gap
			continue
		}
		now := c.head()
		if now == head || again == 100 {
			return nil
		}
		head, num = now, last
		again++
	}
}

// older finds the part before those that are known; nil: there is none.
func (c *chain) older() (found *part, err error) {
	if c.all {
		return nil, nil
	}
	err = c.search(c.num+1, c.most, func(p *part) (bool, error) {
		c.num = p.num
		if c.knows(p) || len(c.parts) > 0 && c.younger(p, c.parts[len(c.parts)-1], c.parts[0].file) {
			p.close()
			return false, nil
		}
		found = p
		return true, nil
	})
	if found == nil {
		c.all = err == nil
		return nil, err
	}
	if !found.final && c.r.q.Follow {
		if found.size, err = found.whole(found.size); err != nil {
			return nil, err
		}
		found.countRecords()
	}
	c.parts = append(c.parts, found)
	return found, nil
}

// younger tells that p, which was found behind q, was begun after it: rotations
// have moved it there since the log's head was another.
func (c *chain) younger(p, q *part, head uint64) bool {
	return p.made != 0 && q.made != 0 && p.made > q.made && c.head() != head
}

func (c *chain) knows(p *part) bool {
	for _, q := range c.parts {
		if q.same(p) {
			return true
		}
	}
	return false
}

// olderThan is the part before p; nil: there is none.
func (c *chain) olderThan(p *part) *part {
	for i, q := range c.parts {
		if q != p {
			continue
		}
		if i+1 < len(c.parts) {
			return c.parts[i+1]
		}
		q, _ = c.older()
		return q
	}
	return nil
}

// begin has the chain read from its oldest line that is young enough.
func (c *chain) begin() error {
	for {
		p, err := c.older()
		if err != nil {
			return err
		}
		if p == nil || p.outdated() {
			break
		}
	}
	c.enter(len(c.parts) - 1)
	return nil
}

// enter goes to the beginning of a part.
func (c *chain) enter(i int) {
	c.at = i
	if i >= 0 {
		c.off, c.upper = c.parts[i].lower(), c.parts[i].upper()
		c.aligned = c.off == 0
	}
}

// advance goes to the next line that is wanted; false: there is none yet.
func (c *chain) advance() (bool, error) {
	for c.at >= 0 && c.at < len(c.parts) {
		p := c.parts[c.at]
		if err := cmp.Or(c.r.ctx.Err(), c.tellGap(p)); err != nil {
			return false, err
		}
		if c.off >= min(c.upper, p.size) {
			if c.at == 0 {
				return false, nil
			}
			if err := c.leave(); err != nil {
				return false, err
			}
			continue
		}
		s := p.segment(c.off)
		if p.failed != nil {
			if err := c.lost(p.failed); err != nil {
				return false, err
			}
			continue
		}
		if !p.wanted(&s) {
			c.off, c.aligned = s.end, false
			continue
		}
		if c.aligned {
			c.seg = s
			return true, nil
		}
		off, err := p.align(c.off)
		if err = c.lost(err); err != nil {
			return false, err
		}
		c.off, c.aligned = off, true
	}
	return false, nil
}

// leave goes from a part that is read to the next newer one.
func (c *chain) leave() error {
	p := c.parts[c.at]
	if p.damage != nil {
		if err := c.r.miss(c, "the rest of "+p.name()+", which is damaged: "+p.damage.Error()); err != nil {
			return err
		}
	}
	next := c.parts[c.at-1]
	if !next.hasFloor {
		next.floor, _ = p.lastKey()
		next.hasFloor = true
	}
	p.dropStream()
	p.close()
	c.enter(c.at - 1)
	return nil
}

// tellGap gives the line that says what is missing before p.
func (c *chain) tellGap(p *part) error {
	if p.gap == "" || c.off > p.lower() {
		return nil
	}
	text := p.gap
	p.gap = ""
	return c.r.miss(c, text)
}

// lost tells of a part that was removed while it was read, and has it left. Other
// errors stay what they are.
func (c *chain) lost(err error) error {
	p := c.parts[c.at]
	if err != errGone {
		return err
	}
	if p.lost {
		return nil
	}
	p.lost, p.final = true, true
	p.size = min(p.size, c.off)
	return c.r.miss(c, "the rest of a file that was removed before it was read")
}

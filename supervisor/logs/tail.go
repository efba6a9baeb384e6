package logs

import "container/heap"

const packedBlocks = 1024 // blocks of a compressed part whose lines are counted in one go

// backward is where the search for the last lines has come in one log.
type backward struct {
	at    int   // part
	done  bool  // nothing that is wanted is before
	off   int64 // what is behind is counted or not wanted
	begin int64 // of the block before off; it is within one segment, or all have one rank
	key   int64
	list  []counted // of a compressed part: the blocks before off, as far as they are known
}

// counted is a block and the lines in it.
type counted struct {
	begin, key int64
	lines      int
}

// tail has the logs read from the first of the last n lines that are wanted. It
// goes back through them as merge goes forward, by the indexes, and reads a block
// only if lines of no other log come behind it.
func (r *reader) tail(n int) error {
	q := &queue{down: true, rank: func(c *chain) rank { return rank{c.back.key, c.order} }}
	for _, c := range r.chains {
		c.back.at = -1
		if n == 0 {
			c.back.at = 0
			if p, err := c.older(); err != nil {
				return err
			} else if p != nil {
				c.back.off = p.size
			}
			continue
		}
		if more, err := c.previous(); err != nil {
			return err
		} else if more {
			q.chains = append(q.chains, c)
		}
	}
	heap.Init(q)
	for total := 0; total < n && q.Len() > 0; {
		c := q.chains[0]
		lines, err := c.countBlock()
		if err != nil {
			return err
		}
		c.back.off = c.back.begin
		if total += lines; total >= n {
			c.skip = total - n
			break
		}
		more, err := c.previous()
		if err != nil {
			return err
		}
		q.settle(more)
	}
	for _, c := range r.chains {
		c.resume()
	}
	return nil
}

// resume has the chain read from where the way back ended.
func (c *chain) resume() {
	if c.back.done || len(c.parts) == 0 {
		c.enter(len(c.parts) - 1)
		return
	}
	c.enter(c.back.at)
	c.off = max(c.off, c.back.off)
	c.aligned = c.off == 0
	c.back = backward{}
}

// previous goes to the block before; false: nothing is before.
func (c *chain) previous() (bool, error) {
	b := &c.back
	for {
		if err := c.r.ctx.Err(); err != nil {
			return false, err
		}
		if b.at < 0 || b.off <= c.parts[b.at].lower() || c.parts[b.at].failed == errGone {
			if more, err := c.backPart(); err != nil || !more {
				return false, err
			}
			continue
		}
		p := c.parts[b.at]
		if p.failed != nil {
			return false, p.failed
		}
		if p.packed {
			if more, err := c.previousPacked(p); err != nil || more {
				return more, err
			}
			b.off = 0
			continue
		}
		s := p.segment(b.off - 1)
		if !p.wanted(&s) {
			b.off = s.start
			continue
		}
		b.key = s.key
		least := max(b.off-c.r.block, p.lower())
		for b.begin = s.start; b.begin > least && len(c.r.chains) == 1; b.begin = s.start {
			if s = p.segment(b.begin - 1); !p.wanted(&s) {
				break // with a single log no other's lines come in between
			}
		}
		b.begin = max(b.begin, least)
		return true, nil
	}
}

// backPart goes to the end of the part before.
func (c *chain) backPart() (bool, error) {
	b := &c.back
	if b.at+1 >= len(c.parts) {
		if p, err := c.older(); err != nil || p == nil {
			b.done = true
			return false, err
		}
	}
	b.at++
	p := c.parts[b.at]
	if p.outdated() {
		b.done = true
		return false, nil
	}
	b.off, b.list = min(p.upper(), p.size), nil
	return true, nil
}

// countBlock counts the lines that are wanted and begin in the block.
func (c *chain) countBlock() (int, error) {
	b := &c.back
	p := c.parts[b.at]
	if n := len(b.list); n > 0 {
		lines := b.list[n-1].lines
		b.list = b.list[:n-1]
		return lines, nil
	}
	from, err := p.align(b.begin)
	if err != nil {
		return 0, orGone(err)
	}
	lines, _, err := c.countLines(p, from, b.off)
	return lines, orGone(err)
}

// orGone: a part that was removed has no lines.
func orGone(err error) error {
	if err == errGone {
		return nil
	}
	return err
}

// countLines counts from the beginning of a line, and says where the next begins.
func (c *chain) countLines(p *part, from, to int64) (lines int, next int64, err error) {
	grep := c.r.q.Grep
	next, err = c.r.scan(p, from, to, func(f found) (verdict, error) {
		if grep == nil || grep.Match(f.text) {
			lines++
		}
		return pass, nil
	})
	return lines, next, err
}

// previousPacked is previous within a compressed part: that can be read forward
// only, so the lines of its last blocks are counted in one go.
func (c *chain) previousPacked(p *part) (bool, error) {
	b := &c.back
	if len(b.list) == 0 {
		if err := c.countPacked(p); orGone(err) != nil {
			return false, err
		}
	}
	n := len(b.list)
	if n == 0 {
		return false, nil
	}
	b.begin, b.key = b.list[n-1].begin, b.list[n-1].key
	return true, nil
}

// countPacked counts the lines of the last blocks before off.
func (c *chain) countPacked(p *part) error {
	b := &c.back
	off := p.lower()
	aligned := off == 0
	for off < min(b.off, p.size) {
		if err := c.r.ctx.Err(); err != nil {
			return err
		}
		s := p.segment(off)
		if !p.wanted(&s) {
			off, aligned = s.end, false
			continue
		}
		if !aligned {
			at, err := p.align(off)
			if err != nil {
				return err
			}
			aligned = true
			if off = at; off >= s.end {
				continue
			}
		}
		lines, next, err := c.countLines(p, off, min(s.end, b.off, off+c.r.block))
		if err != nil {
			return err
		}
		if lines > 0 {
			if len(b.list) == 2*packedBlocks {
				b.list = b.list[:copy(b.list, b.list[packedBlocks:])]
			}
			b.list = append(b.list, counted{off, s.key, lines})
		}
		off = next
	}
	return nil
}

package logs

import (
	"container/heap"
	"math"
	"time"
)

// rank is the place of lines among those of other logs.
type rank struct {
	key   int64 // time
	order int   // of the log, for equal times
}

func (a rank) less(b rank) bool { return a.key < b.key || a.key == b.key && a.order < b.order }

var lastRank = rank{math.MaxInt64, math.MaxInt}

// queue is a heap of logs by the rank of what comes next in each.
type queue struct {
	chains []*chain
	rank   func(*chain) rank
	down   bool // the highest rank first
}

func (q *queue) Len() int      { return len(q.chains) }
func (q *queue) Swap(i, j int) { q.chains[i], q.chains[j] = q.chains[j], q.chains[i] }
func (q *queue) Push(x any)    { q.chains = append(q.chains, x.(*chain)) }
func (q *queue) Pop() any {
	last := len(q.chains) - 1
	c := q.chains[last]
	q.chains = q.chains[:last]
	return c
}

func (q *queue) Less(i, j int) bool {
	a, b := q.rank(q.chains[i]), q.rank(q.chains[j])
	if q.down {
		return b.less(a)
	}
	return a.less(b)
}

// second is the rank of the one behind the first.
func (q *queue) second() rank {
	r := lastRank
	for _, c := range q.chains[min(1, len(q.chains)):min(3, len(q.chains))] {
		if x := q.rank(c); x.less(r) {
			r = x
		}
	}
	return r
}

// settle puts the first where it belongs by now, or takes it out.
func (q *queue) settle(more bool) {
	if more {
		heap.Fix(q, 0)
	} else {
		heap.Pop(q)
	}
}

// merge gives all lines that the logs have, by time, and flushes.
func (r *reader) merge(chains []*chain) error {
	q := &queue{rank: func(c *chain) rank { return rank{c.seg.key, c.order} }}
	for _, c := range chains {
		if more, err := c.advance(); err != nil {
			return err
		} else if more {
			q.chains = append(q.chains, c)
		}
	}
	heap.Init(q)
	for q.Len() > 0 {
		c := q.chains[0]
		if err := r.turn(c, q.second()); err != nil {
			return err
		}
		more, err := c.advance()
		if err != nil {
			return err
		}
		q.settle(more)
	}
	return r.flush()
}

// turn gives lines of c: a block at most, and none that ranks behind limit.
func (r *reader) turn(c *chain, limit rank) error {
	p, seg := c.parts[c.at], c.seg
	next, err := r.scan(p, c.off, c.reach(p, limit), func(f found) (verdict, error) {
		if f.begin >= seg.end {
			seg = p.segment(f.begin)
			if !p.wanted(&seg) || limit.less(rank{seg.key, c.order}) {
				return stop, nil
			}
		}
		if r.q.Grep != nil && !r.q.Grep.Match(f.text) {
			return pass, nil
		}
		if c.skip > 0 {
			c.skip--
			return pass, nil
		}
		return keep, r.give(Line{
			Index: c.index, Stream: seg.stream, Run: seg.run, Time: seg.time,
			Text: f.text, Cut: f.cut, File: p.made, End: f.end,
		})
	})
	c.off = next
	return c.lost(err)
}

// reach is up to where lines may be given in this turn: through all segments that
// follow one another, are wanted and rank within limit, but not much more than a block.
func (c *chain) reach(p *part, limit rank) int64 {
	hint := p.hint
	to := c.seg.end
	for to-c.off < c.r.block && to < min(c.upper, p.size) {
		s := p.segment(to)
		if !p.wanted(&s) || limit.less(rank{s.key, c.order}) {
			break
		}
		to = s.end
	}
	p.hint = hint
	return min(to, c.off+c.r.block, c.upper)
}

// give appends a line to the batch.
func (r *reader) give(line Line) error {
	r.batch = append(r.batch, line)
	r.given++
	if len(r.batch) >= batchLines {
		return r.flush()
	}
	return nil
}

// miss says that lines are missing.
func (r *reader) miss(c *chain, what string) error {
	line := Line{Index: c.index, Stream: c.stream, Missed: true, Text: []byte(what)}
	if c.at > 0 && c.at <= len(c.parts) { // what comes behind
		line.File = c.parts[c.at-1].made
	}
	if line.File != 0 {
		line.Time = time.Unix(0, line.File)
	}
	return r.give(line)
}

// flush hands the batch over.
func (r *reader) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	err := r.emit(r.batch)
	clear(r.batch)
	r.batch = r.batch[:0]
	return err
}

package rpc

import (
	"slices"
	"time"
)

// LogPosition is how far logs of one pool were read. The zero value is the
// beginning. It is for one goroutine at a time.
type LogPosition struct {
	began    time.Time // when it was first asked; zero: not yet
	complete bool      // an answer came to its end
	count    int64     // lines
	limit    int64     // how many of the last lines were asked for; <0: all
	newest   time.Time // of the lines seen
	oldest   time.Time
	marks    map[Text][]logMark // by worker
}

// logMark is the last line that was seen of one file.
type logMark struct {
	stream    string // of the file; StreamSelf until a worker's own line was seen in it
	file, end int64
	time      time.Time
}

// marksKept is of how many files of each stream the last line is remembered.
const marksKept = 2

func (p *LogPosition) seen() bool { return p.count > 0 }

// frozen is the position of now, which does not move.
func (p *LogPosition) frozen() *LogPosition {
	f := *p
	f.marks = make(map[Text][]logMark, len(p.marks))
	for worker, marks := range p.marks {
		f.marks[worker] = slices.Clone(marks)
	}
	return &f
}

// has tells whether a line was seen before, or left out because only the last
// lines were asked for. Within one file that is a matter of offsets, whatever the
// clock did; of any other file it is judged by when that was made and by the time.
func (p *LogPosition) has(l *LogLine) bool {
	if !p.seen() {
		return false
	}
	var last logMark
	for _, m := range p.marks[l.Worker] {
		switch {
		case m.file == l.File:
			return l.End <= m.end
		case m.stream == l.Stream || l.Stream == StreamSelf: // superd's words lie in the files of both streams
			last.file = max(last.file, m.file)
			if m.time.After(last.time) {
				last.time = m.time
			}
		}
	}
	switch {
	case p.limit >= 0 && !l.Time.IsZero() && l.Time.Before(p.oldest):
		return true
	case last == logMark{}:
		return p.limit >= 0 && p.count >= p.limit && l.Time.Equal(p.oldest)
	}
	return l.File < last.file && !l.Time.After(last.time)
}

// note moves the position behind a line.
func (p *LogPosition) note(l *LogLine) {
	p.count++
	if t := l.Time.Time; !t.IsZero() {
		if p.oldest.IsZero() || t.Before(p.oldest) {
			p.oldest = t
		}
		if t.After(p.newest) {
			p.newest = t
		}
	}
	marks := p.marks[l.Worker]
	for i := range marks {
		if m := &marks[i]; m.file == l.File {
			m.end, m.time = max(m.end, l.End), l.Time.Time
			if l.Stream != StreamSelf {
				m.stream = l.Stream
			}
			return
		}
	}
	if p.marks == nil {
		p.marks = map[Text][]logMark{}
	}
	p.marks[l.Worker] = append(forgetOld(marks, l.Stream), logMark{l.Stream, l.File, l.End, l.Time.Time})
}

// forgetOld makes room for one more file of a stream.
func forgetOld(marks []logMark, stream string) []logMark {
	count, oldest := 0, -1
	for i, m := range marks {
		if m.stream != stream {
			continue
		}
		count++
		if oldest < 0 || m.file < marks[oldest].file {
			oldest = i
		}
	}
	if count < marksKept {
		return marks
	}
	return slices.Delete(marks, oldest, oldest+1)
}

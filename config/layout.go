package config

import (
	"sort"
	"strings"
)

// The TOML library gives values, but places only for its own errors. This file
// finds the places: a scanner over the same text that knows just enough of
// TOML's grammar to say where each key and each value begins. It accepts what
// is not TOML too (the library refuses that), never fails and always ends.

const (
	maxDepth    = 32 // nested arrays and inline tables
	maxKeyParts = 32 // parts of one dotted key
)

// spot is where a key and its value begin (byte offsets), with what lies below.
type spot struct {
	key, val int
	kids     map[string]*spot // of a table
	elems    []*spot          // of an array, an array of tables included
}

func (s *spot) kid(name string, at int) *spot {
	if s.kids == nil {
		s.kids = make(map[string]*spot)
	}
	k := s.kids[name]
	if k == nil {
		k = &spot{key: at, val: at}
		s.kids[name] = k
	}
	return k
}

// current is where a header's path goes on below an array of tables: its newest element.
func (s *spot) current() *spot {
	if n := len(s.elems); n > 0 {
		return s.elems[n-1]
	}
	return s
}

// statement is one header or key with its value, as far as it could be followed.
type statement struct {
	start, end int
	name       string // the whole dotted key; of what is none, its table's
	header     bool
	complete   bool // it was followed to its proper end
}

// layout is the places of a whole document.
type layout struct {
	root       *spot
	statements []statement
	// deep is the offset at which nesting exceeded its bound, else -1. The
	// library recurses without one, so such a text must not reach it.
	deep int
}

// failed is the statement to which an error at an offset belongs, or -1. The
// library may notice an unfinished one as late as in the next.
func (l *layout) failed(at int) int {
	i := sort.Search(len(l.statements), func(i int) bool { return l.statements[i].start > at }) - 1
	for j := range max(i, 0) {
		if !l.statements[j].complete {
			return j
		}
	}
	return i
}

// keyAt is the key of that statement, or empty.
func (l *layout) keyAt(at int) string {
	if i := l.failed(at); i >= 0 {
		return l.statements[i].name
	}
	return ""
}

type scanner struct {
	src   string
	pos   int
	depth int
	deep  int
}

// scanLayout finds the places in src.
func scanLayout(src string) *layout {
	s := &scanner{src: src, deep: -1}
	l := &layout{root: &spot{}}
	table, tableName := l.root, ""
	for s.skipBlank(); s.pos < len(s.src); s.skipBlank() {
		st := statement{start: s.pos}
		if s.peek() == '[' {
			st.header = true
			var parts []keyPart
			table, parts, st.complete = s.header(l.root, table)
			if st.complete {
				tableName = dotted("", parts)
			}
			st.name = dotted("", parts)
		} else {
			var parts []keyPart
			parts, st.complete = s.keyValue(table)
			st.name = dotted(tableName, parts)
		}
		st.complete = s.restOfLine() && st.complete
		st.end = s.pos
		l.statements = append(l.statements, st)
	}
	l.deep = s.deep
	return l
}

func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

// skipSpace goes over blanks within a line.
func (s *scanner) skipSpace() {
	for s.pos < len(s.src) && (s.src[s.pos] == ' ' || s.src[s.pos] == '\t') {
		s.pos++
	}
}

// skipBlank goes over blanks, ends of lines and comments.
func (s *scanner) skipBlank() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		case '#':
			s.skipLine()
		default:
			return
		}
	}
}

// skipLine goes to the end of the line, which it leaves for others.
func (s *scanner) skipLine() {
	if i := strings.IndexByte(s.src[s.pos:], '\n'); i >= 0 {
		s.pos += i
	} else {
		s.pos = len(s.src)
	}
}

// restOfLine goes to the end of the line and tells whether nothing but a comment was there.
func (s *scanner) restOfLine() bool {
	s.skipSpace()
	c := s.peek()
	clean := s.pos >= len(s.src) || c == '#' || c == '\n' || c == '\r'
	s.skipLine()
	return clean
}

// header reads [a.b] or [[a.b]] and gives the table that the next keys belong to.
func (s *scanner) header(root, table *spot) (*spot, []keyPart, bool) {
	start := s.pos
	s.pos++
	array := s.peek() == '['
	if array {
		s.pos++
	}
	parts, ok := s.dottedKey()
	if s.peek() != ']' || !ok {
		return table, parts, false
	}
	s.pos++
	if array {
		if s.peek() != ']' {
			return table, parts, false
		}
		s.pos++
	}
	at := root
	for i, p := range parts {
		at = at.current().kid(p.name, start)
		if i < len(parts)-1 {
			continue
		}
		if array {
			at.elems = append(at.elems, &spot{key: start, val: start})
		} else {
			// A header that only implied this table may have come before.
			at.key, at.val = start, start
		}
	}
	return at.current(), parts, true
}

// keyValue reads a.b = value into table.
func (s *scanner) keyValue(table *spot) ([]keyPart, bool) {
	parts, ok := s.dottedKey()
	if !ok || s.peek() != '=' {
		return parts, false
	}
	s.pos++
	at := table
	for _, p := range parts {
		at = at.kid(p.name, p.at)
	}
	s.skipSpace()
	at.val = s.pos
	return parts, s.value(at)
}

// dotted is a whole key as messages show it.
func dotted(table string, parts []keyPart) string {
	for _, p := range parts {
		table = join(table, p.name)
	}
	return table
}

type keyPart struct {
	name string
	at   int
}

// dottedKey reads the parts of a key; it is not ok without at least one of them.
func (s *scanner) dottedKey() (parts []keyPart, ok bool) {
	for {
		s.skipSpace()
		part := keyPart{at: s.pos}
		switch c := s.peek(); {
		case c == '"' || c == '\'':
			raw, closed := s.quoted()
			if !closed {
				return parts, false
			}
			part.name = unquoteKey(raw)
		default:
			for s.pos < len(s.src) && isBare(s.src[s.pos]) {
				s.pos++
			}
			part.name = s.src[part.at:s.pos]
			if part.name == "" {
				return parts, false
			}
		}
		parts = append(parts, part)
		if len(parts) > maxKeyParts && s.deep < 0 {
			s.deep = part.at
		}
		s.skipSpace()
		if s.peek() != '.' {
			return parts, true
		}
		s.pos++
	}
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// value goes over a value, noting the places of what is in it.
func (s *scanner) value(at *spot) bool {
	switch s.peek() {
	case '"', '\'':
		_, closed := s.quoted()
		return closed
	case '[', '{':
		if s.depth++; s.depth > maxDepth {
			if s.deep < 0 {
				s.deep = s.pos
			}
			s.pos = len(s.src)
			return false
		}
		defer func() { s.depth-- }()
		if s.peek() == '[' {
			return s.array(at)
		}
		return s.inlineTable(at)
	}
	start := s.pos
	if i := strings.IndexAny(s.src[s.pos:], ",]}#\n"); i >= 0 {
		s.pos += i
	} else {
		s.pos = len(s.src)
	}
	return strings.TrimSpace(s.src[start:s.pos]) != ""
}

func (s *scanner) array(at *spot) bool {
	s.pos++
	for {
		s.skipBlank()
		if s.peek() == ']' {
			s.pos++
			return true
		}
		elem := &spot{key: s.pos, val: s.pos}
		at.elems = append(at.elems, elem)
		if !s.value(elem) || !s.comma(']') {
			return false
		}
	}
}

func (s *scanner) inlineTable(at *spot) bool {
	s.pos++
	for {
		s.skipBlank()
		if s.peek() == '}' {
			s.pos++
			return true
		}
		if _, ok := s.keyValue(at); !ok || !s.comma('}') {
			return false
		}
	}
}

// comma goes over the comma after an element, or stands at the closing bracket.
func (s *scanner) comma(closing byte) bool {
	s.skipBlank()
	if s.peek() == ',' {
		s.pos++
		return true
	}
	return s.peek() == closing
}

package config

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// place is where something stands in a file.
type place struct {
	file      string
	line, col int // from 1; 0: the file as a whole
	offset    int // in bytes; orders places of one file
}

// String is the short form that messages and sources use.
func (p place) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// before orders places of one file.
func (p place) before(q place) bool { return p.offset < q.offset }

// kind is the TOML type of a node.
type kind int

const (
	kindTable kind = iota
	kindArray
	kindString
	kindInteger
	kindFloat
	kindBool
	kindTime
)

// node is one value of a document with its name and its places.
type node struct {
	kind kind
	name string // the whole dotted key, as a message shows it
	key  place  // where its key stands, or its table's header
	at   place  // where its value stands

	table   map[string]*node
	list    []*node
	text    string
	integer int64
	float   float64
	truth   bool
}

// keys are a table's keys in the order of the text.
func (n *node) keys() []string {
	keys := make([]string, 0, len(n.table))
	for k := range n.table {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		a, b := n.table[keys[i]], n.table[keys[j]]
		if a.key.offset != b.key.offset {
			return a.key.before(b.key)
		}
		return keys[i] < keys[j]
	})
	return keys
}

// get finds what a dotted path of plain names leads to, or nil. A nil n has nothing.
func (n *node) get(path string) *node {
	for n != nil {
		name, rest, more := strings.Cut(path, ".")
		if n.kind != kindTable {
			return nil
		}
		n, path = n.table[name], rest
		if !more {
			return n
		}
	}
	return nil
}

// element is the i-th of n's elements if n is a list of count of them, else n
// itself: what stands for all of them.
func (n *node) element(i, count int) *node {
	if len(n.list) == count {
		return n.list[i]
	}
	return n
}

// found says what stands there, for the first half of a message.
func (n *node) found() string {
	switch n.kind {
	case kindTable:
		return "found a table"
	case kindArray:
		return "found an array"
	case kindString:
		return "found " + quote(n.text)
	case kindInteger:
		return fmt.Sprintf("found %d", n.integer)
	case kindFloat:
		return "found " + strconv.FormatFloat(n.float, 'g', -1, 64)
	case kindBool:
		return fmt.Sprintf("found %t", n.truth)
	}
	return "found a date or time"
}

// quote is a value in a message: in TOML's quotes and of bounded length.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "..."
	}
	return tomlString(s)
}

// tomlString is s as a basic string of TOML. Text that is not UTF-8 cannot be
// written in TOML at all and becomes the replacement character.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !unicode.IsPrint(r) && r < 1<<16:
			fmt.Fprintf(&b, `\u%04X`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// tomlKey is one part of a key, quoted where it has to be.
func tomlKey(name string) string {
	for i := range len(name) {
		if !isBare(name[i]) {
			return tomlString(name)
		}
	}
	if name == "" {
		return `""`
	}
	return name
}

// join appends a part to a dotted key.
func join(parent, name string) string {
	if parent == "" {
		return tomlKey(name)
	}
	return parent + "." + tomlKey(name)
}

// document is one file's text on its way to nodes.
type document struct {
	file  string
	src   string
	lines []int // offsets at which lines begin
}

func newDocument(file, src string) *document {
	d := &document{file: file, src: strings.TrimPrefix(src, "\ufeff"), lines: []int{0}}
	for i := range len(d.src) {
		if d.src[i] == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	return d
}

func (d *document) place(offset int) place {
	offset = max(0, min(offset, len(d.src)))
	line := sort.SearchInts(d.lines, offset+1)
	return place{file: d.file, line: line, col: offset - d.lines[line-1] + 1, offset: offset}
}

// maxSyntaxErrors is how many of them one file may have before the rest of it is left alone.
const maxSyntaxErrors = 20

// parse gives the document's tree. A statement that is not TOML is reported and
// blanked out, so that what is wrong elsewhere is found in the same round.
func (d *document) parse(r *reporter) *node {
	text := d.src
	for range maxSyntaxErrors {
		l := scanLayout(text)
		if l.deep >= 0 {
			r.partial = true
			r.add(d.place(l.deep), "", "found arrays, tables or keys nested too deep; allowed: %d levels", maxDepth)
			return nil
		}
		values, at, err := decode(text)
		if err == nil {
			return d.build(values, l.root)
		}
		r.partial = true
		r.add(d.place(at), l.keyAt(at), "not valid TOML: %s", err)
		rest, ok := blank(text, l, at)
		if !ok {
			return nil
		}
		text = rest
	}
	return nil
}

// decode calls the library; at is the offset of its error. A panic of the
// library is an error like any other.
func decode(text string) (values map[string]any, at int, err error) {
	defer func() {
		if p := recover(); p != nil {
			values, at, err = nil, 0, errors.New("it cannot be parsed")
		}
	}()
	_, err = toml.Decode(text, &values)
	var pe toml.ParseError
	if errors.As(err, &pe) {
		return nil, pe.Position.Start, errors.New(lowerFirst(strings.TrimSuffix(pe.Message, ".")))
	}
	return values, 0, err
}

func lowerFirst(s string) string {
	if r, size := utf8.DecodeRuneInString(s); size > 0 && !strings.HasPrefix(s, "TOML") {
		return string(unicode.ToLower(r)) + s[size:]
	}
	return s
}

// blank overwrites with spaces the statement at an offset; of a header also
// what belongs to it, since that would seem to be another table's.
func blank(text string, l *layout, at int) (string, bool) {
	i := l.failed(at)
	if i < 0 {
		return "", false
	}
	st := l.statements[i]
	end := st.end
	if !st.complete {
		// Where it really ends nobody knows: go on after the line of the error.
		end = at
		if nl := strings.IndexByte(text[min(at, len(text)):], '\n'); nl >= 0 {
			end = at + nl
		} else {
			end = len(text)
		}
	}
	if st.header {
		for i++; i < len(l.statements) && !l.statements[i].header; i++ {
			end = max(end, l.statements[i].end)
		}
	}
	if end <= st.start {
		return "", false
	}
	clean := []byte(text)
	changed := false
	for j := st.start; j < end; j++ {
		if clean[j] != '\n' && clean[j] != ' ' {
			clean[j] = ' '
			changed = true
		}
	}
	return string(clean), changed
}

func (d *document) build(values map[string]any, at *spot) *node {
	root := &node{kind: kindTable, key: d.place(0), at: d.place(0)}
	d.fill(root, values, at)
	return root
}

// fill gives n the value v. Where the scanner has no place, the parent's is near enough.
func (d *document) fill(n *node, v any, at *spot) {
	switch v := v.(type) {
	case map[string]any:
		n.kind, n.table = kindTable, make(map[string]*node, len(v))
		for name, value := range v {
			child := at
			if s := at.kids[name]; s != nil {
				child = s
			}
			kid := &node{name: join(n.name, name), key: d.place(child.key), at: d.place(child.val)}
			d.fill(kid, value, child)
			n.table[name] = kid
		}
	case []map[string]any:
		n.kind = kindArray
		for i, value := range v {
			n.list = append(n.list, d.element(n, i, value, at))
		}
	case []any:
		n.kind = kindArray
		for i, value := range v {
			n.list = append(n.list, d.element(n, i, value, at))
		}
	case string:
		n.kind, n.text = kindString, v
	case int64:
		n.kind, n.integer = kindInteger, v
	case float64:
		n.kind, n.float = kindFloat, v
	case bool:
		n.kind, n.truth = kindBool, v
	case time.Time:
		n.kind = kindTime
	}
}

func (d *document) element(parent *node, i int, value any, at *spot) *node {
	child := at
	if i < len(at.elems) {
		child = at.elems[i]
	}
	n := &node{name: parent.name, key: d.place(child.key), at: d.place(child.val)}
	d.fill(n, value, child)
	return n
}

func itoa(n int) string { return strconv.Itoa(n) }

package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// template is a text with substitutions, taken apart. Adjacent parts of plain
// text are one part.
type template []part

type partKind int

const (
	partText    partKind = iota
	partPool             // ${pool}
	partRelease          // ${release}
	partNumber           // ${index}, ${alt}, ${9000+2*index+alt}
	partName             // ${NAME}
)

type part struct {
	kind partKind
	text string // of partText: the text; of the others: what stood in the braces
	sum  [][]factor
}

// factor is a number, or index or alt.
type factor struct {
	name  string // empty: number
	value int64
}

const templateHelp = "allowed: ${pool}, ${index}, ${alt}, sums and products of these such as ${9000+index}, ${release} and ${NAME}"

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// looksMeant is what in braces is taken for a substitution, be it a wrong one: a
// name, a sum, or something else about the index. Anything else is somebody else's text.
var looksMeant = regexp.MustCompile(`^([A-Za-z0-9_+* ]*|(index|alt)\b.*)$`)

// parseTemplate takes a text apart. "$$" is a dollar, and a dollar before
// anything that cannot be meant as a substitution stands for itself.
func parseTemplate(s string) (template, error) {
	var t template
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t = append(t, part{kind: partText, text: text.String()})
			text.Reset()
		}
	}
	for s != "" {
		plain, rest, dollar := strings.Cut(s, "$")
		text.WriteString(plain)
		s = rest
		switch {
		case !dollar:
		case strings.HasPrefix(s, "$"):
			text.WriteByte('$')
			s = s[1:]
		case strings.HasPrefix(s, "{"):
			inside, after, closed := strings.Cut(s[1:], "}")
			if !closed || !looksMeant.MatchString(inside) {
				text.WriteByte('$') // a shell's ${NAME:-default} and its like
				continue
			}
			p, err := parseSubstitution(inside)
			if err != nil {
				return nil, err
			}
			flush()
			t = append(t, p)
			s = after
		default:
			text.WriteByte('$')
		}
	}
	flush()
	return t, nil
}

func parseSubstitution(inside string) (part, error) {
	switch inside {
	case "pool":
		return part{kind: partPool, text: inside}, nil
	case "release":
		return part{kind: partRelease, text: inside}, nil
	case "index", "alt":
	default:
		if variableName.MatchString(inside) {
			return part{kind: partName, text: inside}, nil
		}
	}
	sum, ok := parseSum(inside)
	if !ok {
		return part{}, fmt.Errorf("found %s, which is no substitution; %s, and %s for the text itself",
			quote("${"+inside+"}"), templateHelp, quote("$${"+inside+"}"))
	}
	p := part{kind: partNumber, text: inside, sum: sum}
	if _, ok := p.number(2*maxCount, 1); !ok {
		return part{}, fmt.Errorf("found %s, which exceeds %d for some worker; allowed: smaller numbers", quote("${"+inside+"}"), math.MaxInt64)
	}
	return p, nil
}

func parseSum(s string) ([][]factor, bool) {
	var sum [][]factor
	for _, term := range strings.Split(s, "+") {
		var product []factor
		for _, word := range strings.Split(term, "*") {
			word = strings.Trim(word, " ")
			if word == "index" || word == "alt" {
				product = append(product, factor{name: word})
				continue
			}
			n, err := strconv.ParseUint(word, 10, 63)
			if err != nil {
				return nil, false
			}
			product = append(product, factor{value: int64(n)})
		}
		sum = append(sum, product)
	}
	return sum, true
}

// number is the value of a partNumber, and whether it is within an int64.
func (p part) number(index, alt int) (int64, bool) {
	var total int64
	for _, product := range p.sum {
		value := int64(1)
		for _, f := range product {
			n := f.value
			switch f.name {
			case "index":
				n = int64(index)
			case "alt":
				n = int64(alt)
			}
			if n != 0 && value > math.MaxInt64/n {
				return 0, false
			}
			value *= n
		}
		if total > math.MaxInt64-value {
			return 0, false
		}
		total += value
	}
	return total, true
}

// perWorker tells whether the number differs from worker to worker, or from run
// to run of one.
func (p part) perWorker() bool {
	for _, product := range p.sum {
		for _, f := range product {
			if f.name != "" {
				return true
			}
		}
	}
	return false
}

// scope is what substitutions are made from.
type scope struct {
	pool       string
	index, alt int
	release    string
	// variable gives a variable of the worker's environment.
	variable func(name string) (string, error)
}

// maxText is how long one argument or variable may get, as in the kernel
// (MAX_ARG_STRLEN, execve(2)). It also ends values that double each other.
const maxText = 128 << 10

func (t template) expand(sc *scope) (string, error) {
	var b strings.Builder
	for _, p := range t {
		if b.Len() > maxText {
			break
		}
		switch p.kind {
		case partText:
			b.WriteString(p.text)
		case partPool:
			b.WriteString(sc.pool)
		case partRelease:
			b.WriteString(sc.release)
		case partNumber:
			n, ok := p.number(sc.index, sc.alt)
			if !ok {
				return "", fmt.Errorf("${%s} exceeds %d", p.text, math.MaxInt64)
			}
			b.WriteString(strconv.FormatInt(n, 10))
		case partName:
			v, err := sc.variable(p.text)
			if err != nil {
				return "", err
			}
			b.WriteString(v)
		}
	}
	if b.Len() > maxText {
		return "", fmt.Errorf("it becomes longer than %d bytes", maxText)
	}
	return b.String(), nil
}

// names are the variables that the template refers to.
func (t template) names() []string {
	var names []string
	for _, p := range t {
		if p.kind == partName {
			names = append(names, p.text)
		}
	}
	return names
}

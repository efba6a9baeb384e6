package config

import (
	"strconv"
	"strings"
)

// quoted goes over a string of any of the four forms and gives its source text.
// One that is not closed ends with its line, or with the text if it may span lines.
func (s *scanner) quoted() (raw string, closed bool) {
	start, quote := s.pos, s.src[s.pos]
	if triple := strings.Repeat(string(quote), 3); strings.HasPrefix(s.src[s.pos:], triple) {
		s.pos += 3
		for s.pos < len(s.src) {
			switch {
			case quote == '"' && s.src[s.pos] == '\\':
				s.pos = min(s.pos+2, len(s.src))
			case strings.HasPrefix(s.src[s.pos:], triple):
				// Up to two quotes may stand right before the closing three.
				s.pos += 3
				for n := 0; n < 2 && s.peek() == quote; n++ {
					s.pos++
				}
				return s.src[start:s.pos], true
			default:
				s.pos++
			}
		}
		return s.src[start:], false
	}
	for s.pos++; s.pos < len(s.src) && s.src[s.pos] != '\n'; {
		switch {
		case s.src[s.pos] == quote:
			s.pos++
			return s.src[start:s.pos], true
		case quote == '"' && s.src[s.pos] == '\\' && s.pos+1 < len(s.src) && s.src[s.pos+1] != '\n':
			s.pos += 2
		default:
			s.pos++
		}
	}
	return s.src[start:s.pos], false
}

// unquoteKey is the name that a quoted key stands for. An escape that is none
// stays as it is: the library refuses the text.
func unquoteKey(raw string) string {
	body := raw[1 : len(raw)-1]
	if raw[0] == '\'' || !strings.Contains(body, `\`) {
		return body
	}
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' || i+1 == len(body) {
			b.WriteByte(body[i])
			continue
		}
		i++
		if c, ok := simpleEscapes[body[i]]; ok {
			b.WriteByte(c)
			continue
		}
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[body[i]]
		if n, err := strconv.ParseUint(body[i+1:min(i+1+digits, len(body))], 16, 32); digits > 0 && err == nil {
			b.WriteRune(rune(n))
			i += digits
			continue
		}
		b.WriteByte('\\')
		b.WriteByte(body[i])
	}
	return b.String()
}

var simpleEscapes = map[byte]byte{
	'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r', 'e': 0x1b, '"': '"', '\\': '\\',
}

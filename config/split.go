package config

import (
	"errors"
	"strings"
)

// SplitCommand splits a command line into words by the quoting rules of sh(1),
// and does nothing else that a shell does: no variables, no globs, no
// operators. Single quotes keep everything, double quotes everything but a
// backslash before one of "$`\ and the end of a line; elsewhere a backslash
// keeps the next character. A word that begins with # begins no comment.
func SplitCommand(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	in := false // a word has begun, be it an empty one in quotes
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\n', '\r':
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		case '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("a single quote is not closed")
			}
			word.WriteString(line[i+1 : i+1+end])
			in = true
			i += 1 + end
		case '"':
			n, err := doubleQuoted(line[i+1:], &word)
			if err != nil {
				return nil, err
			}
			in = true
			i += n
		case '\\':
			i++
			if i == len(line) {
				return nil, errors.New("a backslash stands at the end")
			}
			if line[i] != '\n' {
				word.WriteByte(line[i])
				in = true
			}
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}

// doubleQuoted reads what follows a double quote and tells how much of it, the
// closing quote included.
func doubleQuoted(s string, word *strings.Builder) (int, error) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return i + 1, nil
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '\n':
			i++
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"$`\\", s[i+1]) >= 0:
			i++
			word.WriteByte(s[i])
		default:
			word.WriteByte(s[i])
		}
	}
	return 0, errors.New("a double quote is not closed")
}

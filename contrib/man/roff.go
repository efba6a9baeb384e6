package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// roff collects a page.
type roff struct {
	strings.Builder
	fresh bool // right after a heading, which keeps its own distance
}

func (w *roff) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// text writes lines that are to be filled, which no request may come out of.
func (w *roff) text(lines ...string) {
	for _, line := range lines {
		w.line("%s", safe(inline(line)))
	}
}

// safe keeps a line of text from being taken for a request.
func safe(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

func (w *roff) blocks(list []block) {
	for _, b := range list {
		switch b.kind {
		case heading:
			w.heading(&b)
		case verbatim:
			if !w.fresh {
				w.line(".PP")
			}
			w.line(".RS 4\n.EX")
			for _, line := range b.lines {
				w.line("%s", safe(escapeCode(line)))
			}
			w.line(".EE\n.RE")
		case bullets:
			for _, item := range b.lines {
				w.line(`.IP \(bu 2`)
				w.text(strings.Split(item, "\n")...)
			}
		case table:
			w.table(b.rows)
		default:
			if !w.fresh {
				w.line(".PP")
			}
			w.text(strings.Split(joinSpans(b.lines), "\n")...)
		}
		w.fresh = b.kind == heading && (b.level > 1 || w.fresh)
	}
}

// heading leaves out the title, which the page has already. Names of tables in
// the configuration stay as they are written.
func (w *roff) heading(b *block) {
	text := b.lines[0]
	switch {
	case b.level == 2 && !strings.HasPrefix(text, "["):
		w.line(".SH %s", escape(strings.ToUpper(text)))
	case b.level == 2:
		w.line(".SH %s", escape(text))
	case b.level > 2:
		w.line(".SS %s", inline(text))
	}
}

// table writes rows as terms and what they mean: a page has no room for columns.
func (w *roff) table(rows [][]string) {
	head := rows[0]
	if strings.Contains(head[0], " ") && head[1] == "" { // it says what the table is about
		if !w.fresh {
			w.line(".PP")
		}
		w.text(head[0] + ":")
	}
	for _, row := range rows[1:] {
		w.line(".TP")
		term, rest := row[0], row[1:]
		names := head[1:]
		if names[0] == "default" {
			switch value := rest[0]; value {
			case "–":
			case "required":
				term += " (required)"
			default:
				term += " (default: " + value + ")"
			}
			rest, names = rest[1:], names[1:]
		}
		w.text(bold(term))
		var parts []string
		for i, cell := range rest {
			switch {
			case cell == "" || cell == "–":
			case i == len(rest)-1:
				if n := len(parts); n > 0 && unicode.IsUpper([]rune(cell)[0]) {
					parts[n-1] = strings.TrimSuffix(parts[n-1], ";") + "."
				}
				parts = append(parts, cell)
			default:
				parts = append(parts, strings.TrimSpace(names[i]+" "+cell)+";")
			}
		}
		w.text(strings.Join(parts, "\n"))
	}
}

// bold sets the first word of a term in bold, if nothing in it is code.
func bold(term string) string {
	if strings.ContainsAny(term, "`*") {
		return term
	}
	first, rest, _ := strings.Cut(term, " ")
	return strings.TrimSpace("**" + first + "** " + rest)
}

// span is what is set in another type within a line.
var span = regexp.MustCompile("`[^`]+`|\\*\\*[^*]+(?:`[^`]*`[^*]*)*\\*\\*|\\*[^*\\s][^*]*\\*|\\[(?:`[^`]+`|[^\\]]+)\\]\\([^)\\s]+\\)")

// joinSpans puts a span that goes over two lines on one.
func joinSpans(lines []string) string {
	return span.ReplaceAllStringFunc(strings.Join(lines, "\n"), func(s string) string { return strings.ReplaceAll(s, "\n", " ") })
}

// manuals are the pages that our documents become.
var manuals = map[string]string{"superctl.md": "superctl(1)", "configuration.md": "superd.toml(5)", "operations.md": "superd(8)"}

// inline sets the spans of a line.
func inline(text string) string {
	var b strings.Builder
	for {
		at := span.FindStringIndex(text)
		if at == nil {
			b.WriteString(escape(text))
			return b.String()
		}
		b.WriteString(escape(text[:at[0]]))
		s := text[at[0]:at[1]]
		switch {
		case s[0] == '`':
			b.WriteString(`\fB` + escapeCode(s[1:len(s)-1]) + `\fP`)
		case strings.HasPrefix(s, "**"):
			b.WriteString(`\fB` + strings.ReplaceAll(escape(s[2:len(s)-2]), "`", "") + `\fP`)
		case s[0] == '*':
			b.WriteString(`\fI` + escape(s[1:len(s)-1]) + `\fP`)
		default:
			b.WriteString(link(s))
		}
		text = text[at[1]:]
	}
}

// link is [text](target).
func link(s string) string {
	text, target, _ := strings.Cut(s[1:len(s)-1], "](")
	file, _, _ := strings.Cut(target, "#")
	switch {
	case strings.HasPrefix(target, "https://"):
		return inline(text) + " (" + escape(target) + ")"
	case manuals[file] != "":
		return manuals[file]
	}
	return inline(text)
}

// option is a flag in running text, whose hyphens are typed.
var option = regexp.MustCompile(`(^|[\s(])--?[a-z][a-z-]*`)

// escape makes a text mean itself.
func escape(text string) string {
	text = strings.ReplaceAll(text, `\`, `\e`)
	text = option.ReplaceAllStringFunc(text, func(s string) string { return strings.ReplaceAll(s, "-", `\-`) })
	return signs(text)
}

// escapeCode does so where every sign is one that is typed.
func escapeCode(text string) string {
	return signs(strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text))
}

// signs writes what is not ASCII by its number.
func signs(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

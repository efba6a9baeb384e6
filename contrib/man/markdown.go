package main

import (
	"regexp"
	"strings"
)

// kind is what a block of Markdown is.
type kind int

const (
	paragraph kind = iota
	heading
	verbatim
	bullets
	table
)

// block is a piece of a document, as far as our documents go: no list in a list,
// no block in a table.
type block struct {
	kind  kind
	level int        // of a heading: 1 for the title
	lines []string   // of a paragraph or verbatim; one for each bullet
	rows  [][]string // of a table, its head first
}

var (
	bulletLine  = regexp.MustCompile(`^- +`)
	headingLine = regexp.MustCompile(`^(#+) +(.*)$`)
	comment     = regexp.MustCompile(`(?s)<!--.*?-->\n*`)
	// cellEnd is a | that ends a cell, not one that is part of its text.
	cellEnd = regexp.MustCompile(`[^\\]\|`)
)

// parse cuts a document into blocks.
func parse(text string) []block {
	lines := strings.Split(comment.ReplaceAllString(text, ""), "\n")
	var list []block
	for i := 0; i < len(lines); {
		line := lines[i]
		switch {
		case strings.TrimSpace(line) == "":
			i++
		case strings.HasPrefix(line, "```"):
			end := i + 1
			for end < len(lines) && !strings.HasPrefix(lines[end], "```") {
				end++
			}
			list = append(list, block{kind: verbatim, lines: lines[i+1 : end]})
			i = end + 1
		case strings.HasPrefix(line, "    "):
			b := block{kind: verbatim}
			for ; i < len(lines) && strings.HasPrefix(lines[i], "    "); i++ {
				b.lines = append(b.lines, lines[i][4:])
			}
			list = append(list, b)
		case headingLine.MatchString(line):
			m := headingLine.FindStringSubmatch(line)
			list = append(list, block{kind: heading, level: len(m[1]), lines: m[2:]})
			i++
		case strings.HasPrefix(line, "|"):
			b := block{kind: table}
			for ; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
				if !strings.HasPrefix(lines[i], "| ---") {
					b.rows = append(b.rows, cells(lines[i]))
				}
			}
			list = append(list, b)
		case bulletLine.MatchString(line):
			b := block{kind: bullets}
			for ; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
				if bulletLine.MatchString(lines[i]) {
					b.lines = append(b.lines, bulletLine.ReplaceAllString(lines[i], ""))
				} else {
					b.lines[len(b.lines)-1] += "\n" + strings.TrimSpace(lines[i])
				}
			}
			list = append(list, b)
		default:
			b := block{kind: paragraph}
			for ; i < len(lines) && goesOn(lines[i]); i++ {
				b.lines = append(b.lines, lines[i])
			}
			list = append(list, b)
		}
	}
	return list
}

// goesOn tells whether a line belongs to the paragraph above it.
func goesOn(line string) bool {
	return strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "```") && !strings.HasPrefix(line, "|") &&
		!headingLine.MatchString(line) && !bulletLine.MatchString(line)
}

// cells cuts a line of a table.
func cells(line string) []string {
	line = strings.TrimPrefix(line, "|")
	var list []string
	for {
		at := cellEnd.FindStringIndex(line)
		if at == nil {
			return list
		}
		list = append(list, strings.ReplaceAll(strings.TrimSpace(line[:at[1]-1]), `\|`, "|"))
		line = line[at[1]:]
	}
}

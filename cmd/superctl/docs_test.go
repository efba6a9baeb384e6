package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docsHead and docsTail stand around the commands in docs/superctl.md.
const docsHead = `# superctl

<!-- Written by go test ./cmd/superctl -run Docs -update, from what the commands
say of themselves. -->

%s## Options of every command

%s
## Exit codes

%s
%s`

const docsTail = `## Environment

| variable | |
| --- | --- |
| ` + "`SUPERD_SOCKET`" + ` | superd's control socket, if no ` + "`-s`" + ` is given. Without either: ` + "`/run/superd/control.sock`, then `$XDG_RUNTIME_DIR/superd/control.sock`" + ` |
| ` + "`XDG_RUNTIME_DIR`" + ` | where a user's own superd has its socket |
| ` + "`NO_COLOR`" + ` | anything: no colours, as when the output is no terminal |
| ` + "`COLUMNS`" + ` | how wide tables may be, instead of the terminal's width |
| ` + "`TERM`" + ` | ` + "`dumb`" + `: nothing is drawn over what is on the screen |
`

// reference is docs/superctl.md.
func reference(root *cobra.Command) string {
	about, codes := exitCodes(root.Long)
	var commands strings.Builder
	for _, g := range root.Groups() {
		fmt.Fprintf(&commands, "## %s\n\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				documentCommand(&commands, c)
			}
		}
	}
	return fmt.Sprintf(docsHead, paragraphs(about), flagTable(root.PersistentFlags()), codes, commands.String()) + docsTail
}

// exitCodes takes "Exit codes: 0 done; 1 it failed." out of a text, as a table.
func exitCodes(text string) (rest, table string) {
	before, after, found := strings.Cut(text, "Exit codes: ")
	list, rest, ended := strings.Cut(strings.ReplaceAll(after, "\n", " "), ". ")
	if !found || !ended {
		panic("superctl's help has no list of exit codes any more")
	}
	var b strings.Builder
	b.WriteString("| code | |\n| --- | --- |\n")
	for _, item := range strings.Split(list, "; ") {
		number, meaning, _ := strings.Cut(item, " ")
		fmt.Fprintf(&b, "| %s | %s |\n", number, inTable(meaning))
	}
	fmt.Fprintf(&b, "\n%s\n", rest)
	return before, b.String()
}

// documentCommand writes a command and those below it.
func documentCommand(b *strings.Builder, c *cobra.Command) {
	if c.Hidden || c.Name() == "help" {
		return
	}
	if c.Runnable() {
		fmt.Fprintf(b, "### %s\n\n```\n%s\n```\n\n", c.CommandPath(), strings.TrimSuffix(c.UseLine(), " [flags]"))
		if !strings.HasPrefix(c.Long, c.Short) {
			fmt.Fprintf(b, "%s.\n\n", c.Short)
		}
		b.WriteString(paragraphs(c.Long))
		if flags := flagTable(c.NonInheritedFlags()); flags != "" {
			fmt.Fprintf(b, "%s\n", flags)
		}
		if c.Example != "" {
			fmt.Fprintf(b, "```sh\n%s\n```\n\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
		}
	}
	for _, sub := range c.Commands() {
		documentCommand(b, sub)
	}
}

// twoColumns is a line of a list in a help text: a word, a gap, its meaning.
var twoColumns = regexp.MustCompile(`^(\S+(?: \S+)*?) {2,}(\S.*)$`)

// paragraphs makes Markdown of a help text: what is set in two columns there
// becomes a table.
func paragraphs(text string) string {
	var b strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(block, "\n")
		if !twoColumns.MatchString(lines[0]) {
			b.WriteString(code(block) + "\n\n")
			continue
		}
		var rows []string
		for _, line := range lines {
			if m := twoColumns.FindStringSubmatch(line); m != nil {
				rows = append(rows, "`"+m[1]+"` | "+inTable(m[2]))
			} else {
				rows[len(rows)-1] += " " + inTable(strings.TrimSpace(line))
			}
		}
		b.WriteString("| | |\n| --- | --- |\n")
		for _, row := range rows {
			fmt.Fprintf(&b, "| %s |\n", row)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// quoted are what help texts put into quotes, and flags.
var quoted = regexp.MustCompile(`(^|[\s(])(?:'([^'\n]+)'|(--?[a-z][a-z-]*))`)

// code sets those in the type of code.
func code(text string) string {
	return quoted.ReplaceAllStringFunc(text, func(s string) string {
		m := quoted.FindStringSubmatch(s)
		return m[1] + "`" + m[2] + m[3] + "`"
	})
}

// inTable is a text as a table's cell.
func inTable(text string) string { return strings.ReplaceAll(code(text), "|", "\\|") }

// flagTable lists flags, empty for none.
func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + strings.ToUpper(kind)
		}
		fmt.Fprintf(&b, "| %s` | %s |\n", name, inTable(usage))
	})
	if b.Len() == 0 {
		return ""
	}
	return "| option | |\n| --- | --- |\n" + b.String()
}

// TestDocs: docs/superctl.md is what the commands say of themselves.
func TestDocs(t *testing.T) {
	a := newApp(&bytes.Buffer{}, &bytes.Buffer{}, func(string) string { return "" })
	got := reference(a.root())
	path := filepath.Join("..", "..", "docs", "superctl.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if written, err := os.ReadFile(path); err != nil || string(written) != got {
		t.Errorf("docs/superctl.md is not what the commands say (%v); go test ./cmd/superctl -run Docs -update", err)
	}
}

// TestDocsCoverage: every command explains itself and shows an example, and
// every variable that is heeded is named.
func TestDocsCoverage(t *testing.T) {
	a := newApp(&bytes.Buffer{}, &bytes.Buffer{}, func(string) string { return "" })
	var each func(*cobra.Command)
	each = func(c *cobra.Command) {
		if c.Runnable() && (c.Short == "" || c.Long == "" || !strings.Contains(c.Example, c.CommandPath())) {
			t.Errorf("%s lacks a short or a long explanation, or an example", c.CommandPath())
		}
		if c.HasParent() && c.Parent() == c.Root() && c.GroupID == "" {
			t.Errorf("%s is in no group", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			each(sub)
		}
	}
	each(a.root())
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\benv\("([A-Z_]+)"\)`).FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(asked, m[1]) {
				asked = append(asked, m[1])
			}
		}
	}
	if len(asked) < 5 {
		t.Errorf("only %v were found", asked)
	}
	for _, name := range asked {
		if !strings.Contains(docsTail, "| `"+name+"` |") {
			t.Errorf("docs/superctl.md does not tell of $%s", name)
		}
	}
}

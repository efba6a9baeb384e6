// Command man writes the manual pages from the documentation: superctl(1) from
// docs/superctl.md, superd(8) from docs/operations.md and superd.toml(5) from
// docs/configuration.md. Run it in the top folder; make install does.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// page is a manual page.
type page struct {
	name     string
	section  int
	about    string // after the name
	source   string // of the body
	synopsis []string
	intro    string // Markdown, before the body
	see      string
}

var pages = []page{
	{
		name: "superctl", section: 1, about: "show and control the pools of superd", source: "docs/superctl.md",
		synopsis: []string{"superctl [-s SOCKET] [--json] [--timeout DURATION] COMMAND [ARGUMENT...]"},
		see:      "superd(8), superd.toml(5)",
	},
	{
		name: "superd.toml", section: 5, about: "configuration of superd", source: "docs/configuration.md",
		see: "superd(8), superctl(1)",
	},
	{
		name: "superd", section: 8, about: "keep pools of worker processes running", source: "docs/operations.md",
		synopsis: []string{"superd [run] [-c FILE]", "superd check [-c FILE]", "superd init", "superd leftovers [-c FILE]", "superd version"},
		intro:    superdIntro,
		see:      "superctl(1), superd.toml(5), systemd(1)",
	},
}

const superdIntro = `superd keeps pools of worker processes running: it starts them, restarts them within
limits, stops them by the signals and waits that they need, rolls new code through
them, and survives its own death. Its command line is superctl(1).

| | |
| --- | --- |
| ` + "`run`" + ` | run superd in the foreground; also what it does without a command |
| ` + "`check`" + ` | check the configuration and say everything that is wrong with it. (superctl check is another thing: it asks a superd that runs for the health of its pools.) |
| ` + "`init`" + ` | print a commented configuration file to start from |
| ` + "`leftovers`" + ` | end what a superd has left that was killed and that nobody starts again; where one lives it touches nothing |
| ` + "`version`" + ` | print superd's version |
| ` + "`-c`, `--config FILE`" + ` | the configuration file |
`

func main() {
	version := flag.String("version", "", "superd's version")
	out := flag.String("o", "bin/man", "the folder to write to")
	flag.Parse()
	if err := writePages(".", *out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// writePages writes all pages to a folder. top is where docs is.
func writePages(top, out, version string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, p := range pages {
		body, err := os.ReadFile(filepath.Join(top, p.source))
		if err != nil {
			return err
		}
		text := p.roff(string(body), version)
		if err := os.WriteFile(filepath.Join(out, fmt.Sprintf("%s.%d", p.name, p.section)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// roff is the page in the language of man(7).
func (p *page) roff(body, version string) string {
	var w roff
	w.line(`.\" Written by contrib/man from %s.`, p.source)
	w.line(`.TH %s %d "" "%s" "superd"`, strings.ToUpper(p.name), p.section, escape(strings.TrimSpace("superd "+version)))
	w.line(`.SH NAME`)
	w.line(`%s \- %s`, p.name, escape(p.about))
	if len(p.synopsis) > 0 {
		w.line(`.SH SYNOPSIS`)
		for i, s := range p.synopsis {
			if i > 0 {
				w.line(`.br`)
			}
			w.text(s)
		}
	}
	w.line(`.SH DESCRIPTION`)
	w.fresh = true
	w.blocks(parse(p.intro))
	w.blocks(parse(body))
	w.line(`.SH SEE ALSO`)
	w.line(`%s`, p.see)
	return w.String()
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// written gives the pages as they are made of the documents, by name.
func written(t *testing.T) (dir string, files []string) {
	t.Helper()
	dir = t.TempDir()
	if err := writePages("../..", dir, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v %v", files, err)
	}
	return dir, files
}

// TestPagesAreClean: no program that reads manual pages has anything to say
// against ours.
func TestPagesAreClean(t *testing.T) {
	_, files := written(t)
	for _, c := range []struct {
		pack    string
		command []string
	}{
		{"man-db", []string{"man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"}},
		{"groff-base", []string{"groff", "-man", "-Tutf8", "-ww", "-z"}},
		{"mandoc", []string{"mandoc", "-T", "lint", "-W", "warning"}},
	} {
		t.Run(c.command[0], func(t *testing.T) {
			if _, err := exec.LookPath(c.command[0]); err != nil {
				t.Skipf("%s is not installed (sudo apt-get install -y %s)", c.command[0], c.pack)
			}
			for _, file := range files {
				cmd := exec.Command(c.command[0], append(c.command[1:], file)...)
				cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=")
				var out, errs bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &errs
				err := cmd.Run()
				said := errs.String()
				if c.command[0] == "mandoc" {
					// A page that is made when it is installed has no date of its own.
					said = regexp.MustCompile(`(?m)^.*missing date, using "": TH\n`).ReplaceAllString(out.String()+said, "")
				} else if err != nil {
					t.Errorf("%s: %v", file, err)
				}
				if said != "" {
					t.Errorf("%s", said)
				}
			}
		})
	}
}

// TestPagesRead: what a reader looks for is there, as it would be typed.
func TestPagesRead(t *testing.T) {
	if _, err := exec.LookPath("man"); err != nil {
		t.Skip("man is not installed (sudo apt-get install -y man-db)")
	}
	dir, _ := written(t)
	read := map[string]string{}
	for i := range pages {
		file := fmt.Sprintf("%s.%d", pages[i].name, pages[i].section)
		cmd := exec.Command("man", "-l", filepath.Join(dir, file))
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=200", "MAN_KEEP_FORMATTING=", "MANPAGER=cat", "GROFF_NO_SGR=1")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		read[file] = regexp.MustCompile(".\b").ReplaceAllString(string(out), "")
	}
	for page, wanted := range map[string][]string{
		"superctl.1": {"superctl - show and control", "-s, --socket SOCKET", "superctl check [POOL...]", "2 CRITICAL", "--no-wait",
			`jq 'select(.type == "worker.exited")'`, "$XDG_RUNTIME_DIR/superd/control.sock", "superd(8), superd.toml(5)"},
		"superd.toml.5": {"[pool.NAME.restart]", "command ● (required)", `umask ● (default: "022")`, "kill_timeout", "${9000+index}", "see superd(8)"},
		"superd.8":      {"superd check [-c FILE]", "TERM, INT", "keeper.sock", "WHAT HAPPENS WHEN", "MONITORING WITH SUPERCTL CHECK", "KillMode=process"},
	} {
		flat := strings.Join(strings.Fields(read[page]), " ")
		for _, w := range wanted {
			if !strings.Contains(flat, w) {
				t.Errorf("%s has no %q", page, w)
			}
		}
		for _, rest := range []string{"](", "| ---", "<!--", "```"} {
			if at := strings.Index(flat, rest); at >= 0 {
				t.Errorf("%s has Markdown in it: %q", page, flat[max(0, at-40):min(len(flat), at+40)])
			}
		}
		if !strings.Contains(flat, "superd 1.2.3") {
			t.Errorf("%s does not say of which version it is", page)
		}
	}
}

// TestSuperdCommands: superd(8) has each command and flag that superd has.
func TestSuperdCommands(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "superd")
	build := exec.Command("go", "build", "-o", bin, "../../cmd/superd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	help, err := exec.Command(bin, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(help), "Available Commands:\n")
	names := regexp.MustCompile(`(?m)^  ([a-z]+) |(--[a-z]+)`).FindAllStringSubmatch(list, -1)
	if !found || len(names) < 6 {
		t.Fatalf("superd's help reads\n%s", help)
	}
	for _, m := range names {
		name := m[1] + m[2]
		if name != "help" && name != "--help" && !strings.Contains(superdIntro, "`"+name) && !strings.Contains(superdIntro, name+" ") {
			t.Errorf("superd(8) does not tell of %s", name)
		}
	}
}

// TestRoff: the pieces of Markdown that our documents have.
func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		"# Title\n\nSome *text*\nwith `-s` and --json.\n":             "Some \\fItext\\fP\nwith \\fB\\-s\\fP and \\-\\-json.\n",
		".profile and\n'quoted\n":                                     "\\&.profile and\n\\&'quoted\n",
		"a **bold `x` word**, a\\b, – and [a b](x.md)":                "a \\fBbold x word\\fP, a\\eb, \\[u2013] and a b\n",
		"see [here](operations.md#x), [`n`](https://example.org/a-b)": "see superd(8), \\fBn\\fP (https://example.org/a-b)\n",
		"**over\ntwo lines** x":                                       "\\fBover two lines\\fP x\n",
		"## How it is\n\ntext\n\nmore":                                ".SH HOW IT IS\ntext\n.PP\nmore\n",
		"## [pool.NAME]\n\n### Sub `x`":                               ".SH [pool.NAME]\n.SS Sub \\fBx\\fP\n",
		"x\n\n```sh\n.a 'b' ~c\n\\d\n```\n":                           "x\n.PP\n.RS 4\n.EX\n\\&.a \\(aqb\\(aq \\(tic\n\\ed\n.EE\n.RE\n",
		"x:\n\n    code -f\n\ny":                                      "x:\n.PP\n.RS 4\n.EX\ncode \\-f\n.EE\n.RE\n.PP\ny\n",
		"- one\n  more\n- two":                                        ".IP \\(bu 2\none\nmore\n.IP \\(bu 2\ntwo\n",
		"<!-- not\nthis -->\n| key | default | meaning |\n| --- | --- | --- |\n| `a` ● | `1` | x\\|y |\n| `b` | – | z |\n| `c` | required | z |": ".TP\n\\fBa\\fP \\[u25CF] (default: \\fB1\\fP)\nx|y\n" +
			".TP\n\\fBb\\fP\nz\n.TP\n\\fBc\\fP (required)\nz\n",
		"| exit code of x | |\n| --- | --- |\n| 0 | good |":                "exit code of x:\n.TP\n\\fB0\\fP\ngood\n",
		"| n | state | when |\n| --- | --- | --- |\n| 0 | OK | Always |\n": ".TP\n\\fB0\\fP\nstate OK.\nAlways\n",
	} {
		w := roff{fresh: true}
		w.blocks(parse(text))
		if w.String() != want {
			t.Errorf("%q is\n%swant\n%s", text, w.String(), want)
		}
	}
}

// TestInstall: make install puts pages, completions and programs where they are
// looked for.
func TestInstall(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed (sudo apt-get install -y make)")
	}
	dir := t.TempDir()
	cmd := exec.Command("make", "-C", "../..", "install", "BIN="+dir+"/bin", "DESTDIR="+dir+"/root", "PREFIX=/usr", "VERSION=9.8.7")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{
		"bin/superd", "bin/superctl",
		"share/man/man1/superctl.1", "share/man/man5/superd.toml.5", "share/man/man8/superd.8",
		"lib/systemd/system/superd.service", "lib/systemd/system/superd.socket",
		"share/bash-completion/completions/superctl", "share/zsh/site-functions/_superctl", "share/fish/vendor_completions.d/superctl.fish",
	} {
		info, err := os.Stat(filepath.Join(dir, "root/usr", name))
		if err != nil {
			t.Error(err)
			continue
		}
		want := os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			want = 0o755
		}
		if info.Mode() != want {
			t.Errorf("%s is %v, want %v", name, info.Mode(), want)
		}
	}
	if out, err := exec.Command(filepath.Join(dir, "root/usr/bin/superctl"), "version").Output(); err != nil || string(out) != "superctl 9.8.7\n" {
		t.Errorf("%q %v", out, err)
	}
	if unit, err := os.ReadFile(filepath.Join(dir, "root/usr/lib/systemd/system/superd.service")); err != nil ||
		!strings.Contains(string(unit), "\nExecStart=/usr/bin/superd run\n") || strings.Contains(string(unit), "/usr/local") {
		t.Errorf("the unit starts another superd (%v):\n%s", err, unit)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "root/usr/share/man/man1/superctl.1")); err != nil || !strings.Contains(string(page), `"superd 9.8.7"`) {
		t.Errorf("the page is of another version (%v)", err)
	}
}

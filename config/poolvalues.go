package config

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/superd/superd/signals"
)

// The values that only pools have: what they may be, and how they are read.

// namePattern and maxName are what a pool, a job and a group of pools may be called.
// A length inside of an expression would cost each start of superd a millisecond, and
// that is part of every worker's.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

const maxName = 63

func isName(s string) bool { return len(s) <= maxName && namePattern.MatchString(s) }

const nameHelp = `up to 63 of a-z, 0-9, "_" and "-", not beginning with "_" or "-"`

func tNames() typ[[]string] {
	return tList("a list of names", func(s string) string {
		if !isName(s) {
			return nameHelp
		}
		return ""
	})
}

// accountPattern leaves out what would be another field of /etc/passwd, an
// option of getent, or a path.
var accountPattern = regexp.MustCompile(`^[^-\s:/@,][^\s:/,]*$`)

const maxAccount = 256 // bytes

func isAccount(s string) bool { return len(s) <= maxAccount && accountPattern.MatchString(s) }

func tAccount() typ[string] {
	return tString("a user's or group's name or number", isAccount)
}

func tRoles() typ[[]string] {
	return tList(`a list of users, and of groups such as "@ops"`, func(s string) string {
		if !isAccount(strings.TrimPrefix(s, "@")) {
			return `a user such as "deploy", or a group such as "@ops"`
		}
		return ""
	})
}

// tCommand is an argv, or a string that is split into one.
func tCommand() typ[[]string] {
	list := tList(`a list of strings, or a string that is split like a shell would`, func(string) string { return "" })
	t := typ[[]string]{allowed: list.allowed, show: showList}
	t.read = func(n *node, r *reporter) ([]string, bool) {
		words, good := []string(nil), false
		if n.kind == kindString && !strings.ContainsRune(n.text, 0) {
			var err error
			if words, err = SplitCommand(n.text); err != nil {
				r.at(n, "found %s, which cannot be split: %v; allowed: balanced quotes, or a list of strings", quote(n.text), err)
				return nil, false
			}
			good = true
		} else if words, good = list.read(n, r); !good {
			return nil, false
		}
		if len(words) == 0 || words[0] == "" {
			r.at(n, "found no program; allowed: a command with a program's name in the first place")
			return nil, false
		}
		return words, checkTemplates(n, words, r)
	}
	return t
}

// checkTemplates reports texts whose ${...} cannot be read, each at its own
// place where n is the list of them.
func checkTemplates(n *node, texts []string, r *reporter) bool {
	good := true
	for i, text := range texts {
		if _, err := parseTemplate(text); err != nil {
			r.at(n.element(i, len(texts)), "%v", err)
			good = false
		}
	}
	return good
}

func tDirectory() typ[string] {
	t := tString("an absolute path", func(s string) bool {
		return filepath.IsAbs(s) || strings.HasPrefix(s, "${")
	})
	read := t.read
	t.read = func(n *node, r *reporter) (string, bool) {
		s, ok := read(n, r)
		return s, ok && checkTemplates(n, []string{s}, r)
	}
	return t
}

func tEnvFiles() typ[[]EnvFile] {
	list := tOneOrMore(tList(`an absolute path or a list of them, each with a leading "-" if it may be missing`, func(s string) string {
		if !filepath.IsAbs(strings.TrimPrefix(s, "-")) {
			return `an absolute path, with a leading "-" if it may be missing`
		}
		return ""
	}))
	t := typ[[]EnvFile]{allowed: list.allowed}
	t.show = func(files []EnvFile) string {
		var words []string
		for _, f := range files {
			if f.Optional {
				words = append(words, "-"+f.Path)
			} else {
				words = append(words, f.Path)
			}
		}
		return showList(words)
	}
	t.read = func(n *node, r *reporter) ([]EnvFile, bool) {
		words, ok := list.read(n, r)
		var files []EnvFile
		for _, w := range words {
			path, optional := strings.CutPrefix(w, "-")
			files = append(files, EnvFile{Path: path, Optional: optional})
		}
		return files, ok
	}
	return t
}

// patternPattern is a variable's name with stars in it.
var patternPattern = regexp.MustCompile(`^[^=\s]+$`)

func tPatterns() typ[[]string] {
	return tList(`a list of variables, with * for any text`, func(s string) string {
		if !patternPattern.MatchString(s) {
			return `a variable such as "LANG" or "LC_*"`
		}
		return ""
	})
}

func tFileList() typ[[]string] {
	return tList("a list of files and globs", func(s string) string {
		if _, err := filepath.Match(s, ""); s == "" || err != nil {
			return "a path or a glob"
		}
		return ""
	})
}

// tEither is a choice of two, of which the second is true.
func tEither(no, yes string) typ[bool] {
	words := tEnum(no, yes)
	t := typ[bool]{allowed: words.allowed}
	t.show = func(b bool) string {
		if b {
			return words.show(yes)
		}
		return words.show(no)
	}
	t.read = func(n *node, r *reporter) (bool, bool) {
		w, ok := words.read(n, r)
		return w == yes, ok
	}
	return t
}

// tLimit is a resource limit that counts.
func tLimit(high int64) typ[uint64] {
	number := tInt(1, high)
	return typ[uint64]{
		allowed: number.allowed,
		show:    func(v uint64) string { return strconv.FormatUint(v, 10) },
		read: func(n *node, r *reporter) (uint64, bool) {
			v, ok := number.read(n, r)
			return uint64(v), ok
		},
	}
}

func tCPU() typ[float64] {
	return tFloat(0, 4096, true, "a number of processors above 0, such as 0.9")
}

func tSuccessExit() typ[[]ExitMatch] {
	t := typ[[]ExitMatch]{allowed: `a list of exit codes from 0 to 255 and of signals, such as [0, 75, "TERM"]`}
	t.show = func(list []ExitMatch) string {
		words := make([]string, len(list))
		for i, m := range list {
			words[i] = strconv.Itoa(m.Code)
			if m.Signal != 0 {
				words[i] = tomlString(signals.Name(m.Signal))
			}
		}
		return "[" + strings.Join(words, ", ") + "]"
	}
	t.read = func(n *node, r *reporter) ([]ExitMatch, bool) {
		if n.kind != kindArray {
			return t.wrong(n, r)
		}
		var list []ExitMatch
		good := true
		for _, e := range n.list {
			switch e.kind {
			case kindString:
				sig, ok := tSignal().read(e, r)
				list, good = append(list, ExitMatch{Signal: sig}), good && ok
			case kindInteger:
				code, ok := tInt(0, 255).read(e, r)
				list, good = append(list, ExitMatch{Code: code}), good && ok
			default:
				_, good = t.wrong(e, r)
			}
		}
		return list, good
	}
	return t
}

// checkEnv never shows a value: it may be a password.
func checkEnv(n *node, r *reporter) {
	if n.kind != kindTable {
		r.at(n, "%s; allowed: a table of strings", n.found())
		return
	}
	for _, name := range n.keys() {
		v := n.table[name]
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			r.add(v.key, v.name, `found a name that no variable can have; allowed: a name without "="`)
		case strings.HasPrefix(name, "SUPERD_"):
			r.add(v.key, v.name, "found a name that superd itself sets; allowed: names without SUPERD_ in front")
		case v.kind == kindString && strings.ContainsRune(v.text, 0):
			r.at(v, "found a NUL character; allowed: text without it")
		case v.kind == kindInteger || v.kind == kindBool || v.kind == kindFloat:
			text := strings.TrimPrefix(v.found(), "found ")
			r.at(v, "found %s without quotes; allowed: a string, such as %s", text, tomlString(text))
		case v.kind != kindString:
			r.at(v, "%s; allowed: a string", v.found())
		default:
			checkTemplates(v, []string{v.text}, r)
		}
	}
}

// notForwarded are signals that cannot be passed on, and why.
var notForwarded = map[syscall.Signal]string{
	syscall.SIGKILL: "no process can catch it",
	syscall.SIGSTOP: "no process can catch it",
	syscall.SIGTERM: "it stops superd, and each pool by its own stop sequence",
	syscall.SIGINT:  "it stops superd, and each pool by its own stop sequence",
	syscall.SIGCHLD: "the kernel sends it by itself",
	syscall.SIGPIPE: "the kernel sends it by itself",
	syscall.SIGURG:  "superd's runtime uses it",
	syscall.SIGPROF: "superd's runtime uses it",
	syscall.SIGSEGV: "it says that superd itself has failed",
	syscall.SIGBUS:  "it says that superd itself has failed",
	syscall.SIGFPE:  "it says that superd itself has failed",
	syscall.SIGILL:  "it says that superd itself has failed",
	syscall.SIGTRAP: "it says that superd itself has failed",
	syscall.SIGABRT: "it says that superd itself has failed",
	syscall.SIGSYS:  "it says that superd itself has failed",
}

func readForward(n *node, r *reporter) []Forward {
	if n.kind != kindTable {
		r.at(n, `%s; allowed: a table such as { USR1 = "USR1" }`, n.found())
		return nil
	}
	var list []Forward
	by := make(map[syscall.Signal]string)
	for _, name := range n.keys() {
		v := n.table[name]
		from, err := signals.Parse(name)
		if err != nil {
			r.add(v.key, v.name, "%v", err)
			continue
		}
		if why := notForwarded[from]; why != "" {
			r.add(v.key, v.name, "found %s, which cannot be passed on: %s; allowed: signals such as USR1, HUP or WINCH", signals.Name(from), why)
			continue
		}
		if other := by[from]; other != "" {
			r.add(v.key, v.name, "found %s twice, here and as %s; allowed: once", signals.Name(from), other)
			continue
		}
		by[from] = v.name
		if to, ok := tSignal().read(v, r); ok {
			list = append(list, Forward{From: from, To: to})
		}
	}
	return list
}

func checkSockets(n *node, r *reporter) {
	if n.kind != kindTable {
		r.at(n, `%s; allowed: a table such as { http = "tcp://127.0.0.1:9292" }`, n.found())
		return
	}
	addr := tString(`"tcp://HOST:PORT" or "unix:///PATH"`, isSocketAddress)
	for _, name := range n.keys() {
		v := n.table[name]
		// LISTEN_FDNAMES separates names by colons (sd_listen_fds_with_names(3)).
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
			r.add(v.key, v.name, "found the name %s; allowed: up to 255 printable characters without a colon", quote(name))
		}
		addr.read(v, r)
	}
}

func isSocketAddress(s string) bool {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		return filepath.IsAbs(path)
	}
	hostPort, ok := strings.CutPrefix(s, "tcp://")
	return ok && isHostPort(hostPort)
}

// isHostPort wants a port by number.
func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// substituteProbe puts something harmless in place of each ${...}, so that what
// stands around can be checked.
func substituteProbe(s string) string {
	t, err := parseTemplate(s)
	if err != nil {
		return s
	}
	var b strings.Builder
	for _, p := range t {
		if p.kind == partText {
			b.WriteString(p.text)
		} else {
			fmt.Fprint(&b, 1)
		}
	}
	return b.String()
}

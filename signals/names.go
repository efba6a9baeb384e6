package signals

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// The real-time signals as programs know them. The kernel counts them from 32
// (signal(7)), but glibc keeps 32 and 33 for its threads and calls 34 SIGRTMIN;
// its numbering is the one that manuals and kill(1) use.
const (
	RTMin syscall.Signal = 34
	RTMax syscall.Signal = 64
)

// names are the signals of Linux without SIG, in the kernel's numbering of
// x86 and ARM. Each signal's preferred name is the first one with its number.
var names = []struct {
	name string
	sig  syscall.Signal
}{
	{"HUP", syscall.SIGHUP},
	{"INT", syscall.SIGINT},
	{"QUIT", syscall.SIGQUIT},
	{"ILL", syscall.SIGILL},
	{"TRAP", syscall.SIGTRAP},
	{"ABRT", syscall.SIGABRT},
	{"BUS", syscall.SIGBUS},
	{"FPE", syscall.SIGFPE},
	{"KILL", syscall.SIGKILL},
	{"USR1", syscall.SIGUSR1},
	{"SEGV", syscall.SIGSEGV},
	{"USR2", syscall.SIGUSR2},
	{"PIPE", syscall.SIGPIPE},
	{"ALRM", syscall.SIGALRM},
	{"TERM", syscall.SIGTERM},
	{"STKFLT", syscall.SIGSTKFLT},
	{"CHLD", syscall.SIGCHLD},
	{"CONT", syscall.SIGCONT},
	{"STOP", syscall.SIGSTOP},
	{"TSTP", syscall.SIGTSTP},
	{"TTIN", syscall.SIGTTIN},
	{"TTOU", syscall.SIGTTOU},
	{"URG", syscall.SIGURG},
	{"XCPU", syscall.SIGXCPU},
	{"XFSZ", syscall.SIGXFSZ},
	{"VTALRM", syscall.SIGVTALRM},
	{"PROF", syscall.SIGPROF},
	{"WINCH", syscall.SIGWINCH},
	{"IO", syscall.SIGIO},
	{"PWR", syscall.SIGPWR},
	{"SYS", syscall.SIGSYS},
	{"RTMIN", RTMin},
	{"RTMAX", RTMax},
	{"IOT", syscall.SIGABRT},
	{"CLD", syscall.SIGCHLD},
	{"POLL", syscall.SIGIO},
}

var byName, byNumber = indexNames()

func indexNames() (byName map[string]syscall.Signal, byNumber map[syscall.Signal]string) {
	byName, byNumber = make(map[string]syscall.Signal), make(map[syscall.Signal]string)
	for _, n := range names {
		byName[n.name] = n.sig
		if _, taken := byNumber[n.sig]; !taken {
			byNumber[n.sig] = n.name
		}
	}
	// RTMAX is printed like all other real-time signals, counted from RTMIN.
	delete(byNumber, RTMax)
	return byName, byNumber
}

// Parse reads a signal: a name in any case, with or without SIG ("TERM",
// "sigterm"), a number from 1 to 64, or a real-time signal ("RTMIN", "RTMIN+3",
// "RTMAX-2", counted as glibc does from 34 to 64). The error says what was
// found, and which name is nearest to a misspelt one.
func Parse(s string) (syscall.Signal, error) {
	if s == "" {
		return 0, fmt.Errorf("the signal name is empty; allowed: a name such as TERM, or a number from 1 to 64")
	}
	if isDigits(s) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > int(RTMax) {
			return 0, fmt.Errorf("signal number %s is out of range; allowed: 1 to %d", clip(s), RTMax)
		}
		return syscall.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig, ok := byName[name]; ok {
		return sig, nil
	}
	if strings.HasPrefix(name, "RTMIN+") || strings.HasPrefix(name, "RTMAX-") {
		return parseRealTime(s, name)
	}
	if near := Nearest(name, nameList()); near != "" {
		return 0, fmt.Errorf("unknown signal %s; did you mean %s?", quote(s), near)
	}
	return 0, fmt.Errorf("unknown signal %s; allowed: a name such as TERM, or a number from 1 to 64", quote(s))
}

// parseRealTime reads RTMIN+n and RTMAX-n; name is s in capitals without SIG.
func parseRealTime(s, name string) (syscall.Signal, error) {
	digits := name[len("RTMIN+"):]
	span := int(RTMax - RTMin)
	n, err := strconv.Atoi(digits)
	if !isDigits(digits) || err != nil || n > span {
		return 0, fmt.Errorf("unknown signal %s; allowed: RTMIN+0 to RTMIN+%d and RTMAX-0 to RTMAX-%d", quote(s), span, span)
	}
	if strings.HasPrefix(name, "RTMAX") {
		return RTMax - syscall.Signal(n), nil
	}
	return RTMin + syscall.Signal(n), nil
}

// Name is how a signal is printed: without SIG ("TERM"), real-time ones counted
// from RTMIN ("RTMIN+3"), and the number for what has no name. Parse reads it back
// for every signal from 1 to 64.
func Name(sig syscall.Signal) string {
	if name, ok := byNumber[sig]; ok {
		return name
	}
	if sig > RTMin && sig <= RTMax {
		return fmt.Sprintf("RTMIN+%d", int(sig-RTMin))
	}
	return strconv.Itoa(int(sig))
}

func nameList() []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.name
	}
	return list
}

// isDigits is strconv's notion of a number without its signs and underscores.
func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// clip keeps a message readable, whatever it was that somebody typed.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

func quote(s string) string { return strconv.Quote(clip(s)) }

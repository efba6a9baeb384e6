package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/superd/superd/signals"
)

// typ is how values of one sort are written: what is allowed, how a node is
// read, and how a value is shown in TOML. read reports what is wrong by itself
// and is not ok then.
type typ[T any] struct {
	allowed string
	read    func(n *node, r *reporter) (T, bool)
	show    func(T) string
}

// wrong reports that n is not what was allowed.
func (t typ[T]) wrong(n *node, r *reporter) (T, bool) {
	var zero T
	r.at(n, "%s; allowed: %s", n.found(), t.allowed)
	return zero, false
}

func tBool() typ[bool] {
	t := typ[bool]{allowed: "true or false", show: strconv.FormatBool}
	t.read = func(n *node, r *reporter) (bool, bool) {
		if n.kind != kindBool {
			return t.wrong(n, r)
		}
		return n.truth, true
	}
	return t
}

func tInt(low, high int64) typ[int] {
	t := typ[int]{allowed: fmt.Sprintf("a whole number from %d to %d", low, high), show: strconv.Itoa}
	t.read = func(n *node, r *reporter) (int, bool) {
		if n.kind != kindInteger || n.integer < low || n.integer > high {
			return t.wrong(n, r)
		}
		return int(n.integer), true
	}
	return t
}

// tFloat is a number from low to high; above says that low itself is too little.
func tFloat(low, high float64, above bool, allowed string) typ[float64] {
	t := typ[float64]{allowed: allowed}
	t.show = func(f float64) string {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	t.read = func(n *node, r *reporter) (float64, bool) {
		f := n.float
		switch n.kind {
		case kindInteger:
			f = float64(n.integer)
		case kindFloat:
		default:
			return t.wrong(n, r)
		}
		if math.IsNaN(f) || f < low || f > high || above && f == low {
			return t.wrong(n, r)
		}
		return f, true
	}
	return t
}

// tString is any string that check finds nothing against; check's message may
// be empty for the general one.
func tString(allowed string, check func(string) bool) typ[string] {
	t := typ[string]{allowed: allowed, show: tomlString}
	t.read = func(n *node, r *reporter) (string, bool) {
		if n.kind != kindString || strings.ContainsRune(n.text, 0) || !check(n.text) {
			return t.wrong(n, r)
		}
		return n.text, true
	}
	return t
}

func tEnum[T ~string](values ...T) typ[T] {
	names := make([]string, len(values))
	quoted := make([]string, len(values))
	for i, v := range values {
		names[i], quoted[i] = string(v), tomlString(string(v))
	}
	t := typ[T]{allowed: orList(quoted), show: func(v T) string { return tomlString(string(v)) }}
	t.read = func(n *node, r *reporter) (T, bool) {
		if n.kind != kindString || !slices.Contains(names, n.text) {
			return t.wrong(n, r)
		}
		return T(n.text), true
	}
	return t
}

// orList is "a", "b" or "c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// tDuration is a duration of at least low.
func tDuration(low time.Duration) typ[time.Duration] {
	t := typ[time.Duration]{show: func(d time.Duration) string { return tomlString(signals.FormatDuration(d)) }}
	t.allowed = `a duration such as "10s"`
	if low > 0 {
		t.allowed += " of at least " + signals.FormatDuration(low)
	}
	t.read = func(n *node, r *reporter) (time.Duration, bool) {
		if n.kind != kindString {
			return t.wrong(n, r)
		}
		d, err := signals.ParseDuration(n.text)
		if err != nil {
			r.at(n, "%v", err)
			return 0, false
		}
		if d < low {
			return t.wrong(n, r)
		}
		return d, true
	}
	return t
}

// wait is a duration or forever.
type wait struct {
	d       time.Duration
	forever bool
}

func tWait() typ[wait] {
	t := typ[wait]{allowed: `a duration such as "10s", or "forever"`}
	t.show = func(w wait) string {
		if w.forever {
			return tomlString(signals.Forever)
		}
		return tomlString(signals.FormatDuration(w.d))
	}
	t.read = func(n *node, r *reporter) (wait, bool) {
		if n.kind != kindString {
			return t.wrong(n, r)
		}
		if n.text == signals.Forever {
			return wait{forever: true}, true
		}
		d, err := signals.ParseDuration(n.text)
		if err != nil {
			r.at(n, "%v, or %q", err, signals.Forever)
			return wait{}, false
		}
		return wait{d: d}, true
	}
	return t
}

// tSize is a number of bytes, with K, M, G or T for powers of 1024.
func tSize(low int64) typ[int64] {
	t := typ[int64]{allowed: `a size such as "64K", "500M" or "2G"`, show: func(n int64) string { return tomlString(formatSize(n)) }}
	if low == 0 {
		t.allowed += `, or "0"`
	}
	t.read = func(n *node, r *reporter) (int64, bool) {
		size, ok := int64(0), n.kind == kindString
		if ok {
			size, ok = parseSize(n.text)
		}
		if !ok || size < low {
			return t.wrong(n, r)
		}
		return size, true
	}
	return t
}

const sizeUnits = "KMGT"

func parseSize(s string) (int64, bool) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte(sizeUnits, s[len(s)-1]); i >= 0 {
			shift = 10 * (i + 1)
			s = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || s[0] == '+' || n > math.MaxInt64>>shift {
		return 0, false
	}
	return int64(n) << shift, true
}

func formatSize(n int64) string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		if shift := 10 * (i + 1); n > 0 && n%(1<<shift) == 0 {
			return fmt.Sprintf("%d%c", n>>shift, sizeUnits[i])
		}
	}
	return strconv.FormatInt(n, 10)
}

// unlimited is RLIM_INFINITY (getrlimit(2)).
const unlimited = math.MaxUint64

func tCore() typ[uint64] {
	size := tSize(0)
	t := typ[uint64]{allowed: size.allowed + `, or "unlimited"`}
	t.show = func(n uint64) string {
		if n == unlimited {
			return `"unlimited"`
		}
		return size.show(int64(n))
	}
	t.read = func(n *node, r *reporter) (uint64, bool) {
		if n.kind == kindString && n.text == "unlimited" {
			return unlimited, true
		}
		if n.kind == kindString {
			if v, ok := parseSize(n.text); ok {
				return uint64(v), true
			}
		}
		return t.wrong(n, r)
	}
	return t
}

func tUmask() typ[os.FileMode] {
	t := typ[os.FileMode]{allowed: `an octal string from "000" to "777", such as "022"`}
	t.show = func(m os.FileMode) string { return fmt.Sprintf(`"%03o"`, uint32(m)) }
	octal := regexp.MustCompile(`^0?[0-7]{1,3}$`)
	t.read = func(n *node, r *reporter) (os.FileMode, bool) {
		if n.kind != kindString || !octal.MatchString(n.text) {
			return t.wrong(n, r)
		}
		m, err := strconv.ParseUint(n.text, 8, 32)
		if err != nil {
			return t.wrong(n, r)
		}
		return os.FileMode(m), true
	}
	return t
}

func tSignal() typ[syscall.Signal] {
	t := typ[syscall.Signal]{allowed: `a signal such as "TERM"`, show: func(s syscall.Signal) string { return tomlString(signals.Name(s)) }}
	t.read = func(n *node, r *reporter) (syscall.Signal, bool) {
		if n.kind != kindString {
			return t.wrong(n, r)
		}
		sig, err := signals.Parse(n.text)
		if err != nil {
			r.at(n, "%v", err)
			return 0, false
		}
		return sig, true
	}
	return t
}

func tSequence() typ[signals.Sequence] {
	lines := tList(`a list of steps such as ["TERM 10s", "KILL"]`, func(string) string { return "" })
	t := typ[signals.Sequence]{allowed: lines.allowed}
	t.show = func(s signals.Sequence) string { return showList(s.Strings()) }
	t.read = func(n *node, r *reporter) (signals.Sequence, bool) {
		steps, ok := lines.read(n, r)
		if !ok {
			return nil, false
		}
		seq, err := signals.ParseSequence(steps)
		if err != nil {
			at := n
			var step *signals.StepError
			if errors.As(err, &step) && step.Step < len(n.list) {
				at, err = n.list[step.Step], step.Err
			}
			r.at(at, "%v", err)
			return nil, false
		}
		return seq, true
	}
	return t
}

// tList is an array of strings; check says what is wrong with one of them, or nothing.
func tList(allowed string, check func(string) string) typ[[]string] {
	t := typ[[]string]{allowed: allowed, show: showList}
	t.read = func(n *node, r *reporter) ([]string, bool) {
		if n.kind != kindArray {
			return t.wrong(n, r)
		}
		var list []string
		good := true
		for _, e := range n.list {
			if e.kind != kindString || strings.ContainsRune(e.text, 0) {
				t.wrong(e, r)
				good = false
				continue
			}
			if bad := check(e.text); bad != "" {
				r.at(e, "%s; allowed: %s", e.found(), bad)
				good = false
				continue
			}
			list = append(list, e.text)
		}
		return list, good
	}
	return t
}

func showList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = tomlString(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// tOneOrMore is a list, or one string alone that stands for a list of one.
func tOneOrMore(list typ[[]string]) typ[[]string] {
	t := list
	t.read = func(n *node, r *reporter) ([]string, bool) {
		if n.kind == kindString {
			return list.read(&node{kind: kindArray, name: n.name, key: n.key, at: n.at, list: []*node{n}}, r)
		}
		return list.read(n, r)
	}
	return t
}

func tPath() typ[string] {
	return tString("an absolute path", filepath.IsAbs)
}

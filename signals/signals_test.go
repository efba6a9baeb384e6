package signals

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want syscall.Signal
	}{
		{"TERM", syscall.SIGTERM}, {"SIGTERM", syscall.SIGTERM}, {"sigterm", syscall.SIGTERM},
		{"term", syscall.SIGTERM}, {"Usr1", syscall.SIGUSR1}, {"15", syscall.SIGTERM},
		{"015", syscall.SIGTERM}, {"1", syscall.SIGHUP}, {"64", 64}, {"33", 33},
		{"IOT", syscall.SIGABRT}, {"CLD", syscall.SIGCHLD}, {"POLL", syscall.SIGIO},
		{"RTMIN", 34}, {"RTMAX", 64}, {"RTMIN+0", 34}, {"RTMIN+3", 37}, {"sigrtmin+30", 64},
		{"RTMAX-0", 64}, {"RTMAX-30", 34}, {"SIGRTMAX-1", 63}, {"STKFLT", 16}, {"WINCH", 28},
	} {
		got, err := Parse(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("Parse(%q) = %d, %v; want %d", tc.in, got, err, tc.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", "the signal name is empty; allowed: a name such as TERM, or a number from 1 to 64"},
		{"0", "signal number 0 is out of range; allowed: 1 to 64"},
		{"65", "signal number 65 is out of range; allowed: 1 to 64"},
		{"99999999999999999999", "signal number 99999999999999999999 is out of range; allowed: 1 to 64"},
		{"-9", `unknown signal "-9"; allowed: a name such as TERM, or a number from 1 to 64`},
		{"TREM", `unknown signal "TREM"; did you mean TERM?`},
		{"SIGTRM", `unknown signal "SIGTRM"; did you mean TERM?`},
		{"user1", `unknown signal "user1"; did you mean USR1?`},
		{"bogus-name", `unknown signal "bogus-name"; allowed: a name such as TERM, or a number from 1 to 64`},
		{"RTMIN+31", `unknown signal "RTMIN+31"; allowed: RTMIN+0 to RTMIN+30 and RTMAX-0 to RTMAX-30`},
		{"RTMIN+", `unknown signal "RTMIN+"; allowed: RTMIN+0 to RTMIN+30 and RTMAX-0 to RTMAX-30`},
		{"RTMIN+-1", `unknown signal "RTMIN+-1"; allowed: RTMIN+0 to RTMIN+30 and RTMAX-0 to RTMAX-30`},
		{"SIGSIGTERM", `unknown signal "SIGSIGTERM"; allowed: a name such as TERM, or a number from 1 to 64`},
		{"TERM ", `unknown signal "TERM "; did you mean TERM?`},
	} {
		if _, err := Parse(tc.in); err == nil || err.Error() != tc.want {
			t.Errorf("Parse(%q): %v; want %s", tc.in, err, tc.want)
		}
	}
}

func TestNameIsReadBack(t *testing.T) {
	for n := syscall.Signal(1); n <= 64; n++ {
		got, err := Parse(Name(n))
		if err != nil || got != n {
			t.Errorf("Parse(Name(%d)) = Parse(%q) = %d, %v", n, Name(n), got, err)
		}
	}
	for sig, want := range map[syscall.Signal]string{
		syscall.SIGTERM: "TERM", syscall.SIGABRT: "ABRT", syscall.SIGIO: "IO",
		34: "RTMIN", 37: "RTMIN+3", 64: "RTMIN+30", 32: "32", 33: "33",
	} {
		if got := Name(sig); got != want {
			t.Errorf("Name(%d) = %q; want %q", sig, got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want time.Duration
		out  string
	}{
		{"500ms", 500 * time.Millisecond, "500ms"}, {"10s", 10 * time.Second, "10s"},
		{"8m", 8 * time.Minute, "8m"}, {"24h", 24 * time.Hour, "1d"}, {"10d", 240 * time.Hour, "10d"},
		{"1h30m", 90 * time.Minute, "1h30m"}, {"1d2h3m4s5ms", 26*time.Hour + 3*time.Minute + 4005*time.Millisecond, "1d2h3m4s5ms"},
		{"0s", 0, "0s"}, {"0ms", 0, "0s"}, {"90s", 90 * time.Second, "1m30s"}, {"3650d", MaxDuration, "3650d"},
		{"1m500ms", 60500 * time.Millisecond, "1m500ms"}, {"007s", 7 * time.Second, "7s"},
	} {
		got, err := ParseDuration(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", tc.in, got, err, tc.want)
		}
		if s := FormatDuration(got); s != tc.out {
			t.Errorf("FormatDuration(%v) = %q; want %q", got, s, tc.out)
		}
	}
	for d, want := range map[time.Duration]string{-1: "-0s", math.MinInt64: "-106751d23h47m16s854ms", time.Microsecond: "0s"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q; want %q", d, got, want)
		}
	}
}

func TestDurationErrors(t *testing.T) {
	const help = `; allowed: "500ms", "10s", "8m", "24h", "10d", or several such as "1h30m"`
	for _, tc := range []struct{ in, want string }{
		{"", "the duration is empty" + help},
		{"10", `"10" lacks a unit` + help},
		{"1h30", `"1h30" lacks a unit` + help},
		{"-5s", `"-5s" is no duration` + help},
		{"+5s", `"+5s" is no duration` + help},
		{"1.5h", `"1.5h" lacks a unit` + help},
		{"10 s", `"10 s" lacks a unit` + help},
		{"s", `"s" is no duration` + help},
		{"forever", `"forever" is no duration` + help},
		{"10sec", `"10sec" has the unknown unit "sec"` + help},
		{"10M", `"10M" lacks a unit` + help},
		{"30m1h", `"30m1h" has its units out of order` + help},
		{"1s1s", `"1s1s" has its units out of order` + help},
		{"3651d", `"3651d" is too long; allowed: up to "3650d"`},
		{"3650d1ms", `"3650d1ms" is too long; allowed: up to "3650d"`},
		{"99999999999999999999s", `"99999999999999999999s" is too long; allowed: up to "3650d"`},
	} {
		if _, err := ParseDuration(tc.in); err == nil || err.Error() != tc.want {
			t.Errorf("ParseDuration(%q): %v; want %s", tc.in, err, tc.want)
		}
	}
}

func TestSequences(t *testing.T) {
	for _, tc := range []struct {
		in, out []string
		total   time.Duration
		ends    bool
	}{
		{[]string{"TSTP 5s", "TERM 8m", "KILL"}, []string{"TSTP 5s", "TERM 8m", "KILL"}, 485 * time.Second, true},
		{[]string{"KILL"}, []string{"KILL"}, 0, true},
		{[]string{"sigkill"}, []string{"KILL"}, 0, true},
		{[]string{"9"}, []string{"KILL"}, 0, true},
		{[]string{"QUIT forever"}, []string{"QUIT forever"}, 0, false},
		{[]string{"TERM 10s", " rtmin+3   forever "}, []string{"TERM 10s", "RTMIN+3 forever"}, 10 * time.Second, false},
		{[]string{"CONT 0s", "TERM 10d", "KILL"}, []string{"CONT 0s", "TERM 10d", "KILL"}, 240 * time.Hour, true},
	} {
		seq, err := ParseSequence(tc.in)
		if err != nil {
			t.Errorf("ParseSequence(%q): %v", tc.in, err)
			continue
		}
		if got := seq.Strings(); !reflect.DeepEqual(got, tc.out) {
			t.Errorf("ParseSequence(%q).Strings() = %q; want %q", tc.in, got, tc.out)
		}
		if total, ends := seq.Total(); total != tc.total || ends != tc.ends {
			t.Errorf("Total of %q = %v, %v; want %v, %v", tc.in, total, ends, tc.total, tc.ends)
		}
		data, err := json.Marshal(seq)
		if err != nil {
			t.Fatal(err)
		}
		var back Sequence
		if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, seq) {
			t.Errorf("%s read back as %v, %v; want %v", data, back, err, seq)
		}
	}
}

func TestSequenceErrors(t *testing.T) {
	const help = `; allowed: steps such as "TERM 10s", the last of them "KILL" or one that waits "forever"`
	for _, tc := range []struct {
		in   []string
		want string
	}{
		{nil, "there are no steps" + help},
		{[]string{""}, `step 1: found ""` + help},
		{[]string{"TERM 10s now", "KILL"}, `step 1: found "TERM 10s now"` + help},
		{[]string{"TERM 10s"}, `step 1: the sequence ends in "TERM 10s"; allowed: an end in "KILL", or in "TERM forever"`},
		{[]string{"TERM"}, `step 1: the sequence ends in "TERM"; allowed: an end in "KILL", or in "TERM forever"`},
		{[]string{"TERM", "KILL"}, `step 1: "TERM" does not say how long to wait; allowed: for instance "TERM 10s"`},
		{[]string{"TERM forever", "KILL"}, `step 1: "TERM forever" waits forever, but steps follow it; allowed: forever in the last step alone`},
		{[]string{"KILL", "TERM forever"}, `step 1: KILL is not the last step; allowed: KILL at the end alone`},
		{[]string{"TERM 1s", "KILL 5s"}, `step 2: "KILL 5s" waits after KILL; allowed: KILL alone, since nothing can come after it`},
		{[]string{"TERM 1s", "KILL forever"}, `step 2: "KILL forever" waits after KILL; allowed: KILL alone, since nothing can come after it`},
		{[]string{"TERM 10", "KILL"}, `step 1: "10" lacks a unit; allowed: "500ms", "10s", "8m", "24h", "10d", or several such as "1h30m"`},
		{[]string{"TREM 10s", "KILL"}, `step 1: unknown signal "TREM"; did you mean TERM?`},
		{make([]string, 17), `there are 17 steps; allowed: at most 16`},
	} {
		if _, err := ParseSequence(tc.in); err == nil || err.Error() != tc.want {
			t.Errorf("ParseSequence(%q): %v; want %s", tc.in, err, tc.want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"command", "count", "user", "umask"}
	for in, want := range map[string]string{
		"comand": "command", "commnad": "command", "coutn": "count", "xyz": "", "": "",
		"use": "user", strings.Repeat("a", 100): "",
	} {
		if got := Nearest(in, words); got != want {
			t.Errorf("Nearest(%q) = %q; want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"TERM", "SIGHUP", "9", "RTMIN+3", "RTMAX-30", "", "SIG", "RTMIN+99999999999999999999", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := Parse(s)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if sig < 1 || sig > 64 {
			t.Fatalf("Parse(%q) = %d", s, sig)
		}
		if back, err := Parse(Name(sig)); err != nil || back != sig {
			t.Errorf("%q: %d is printed as %q and read back as %d, %v", s, sig, Name(sig), back, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"10s", "1h30m", "3650d", "0s", "1", "-1s", "9223372036854775807ms", "1d1d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 || d > MaxDuration {
			t.Fatalf("ParseDuration(%q) = %d", s, d)
		}
		if back, err := ParseDuration(FormatDuration(d)); err != nil || back != d {
			t.Errorf("%q: %v is printed as %q and read back as %v, %v", s, d, FormatDuration(d), back, err)
		}
	})
}

func FuzzParseSequence(f *testing.F) {
	for _, s := range []string{"TERM 10s\nKILL", "QUIT forever", "KILL", "TERM\nKILL", "KILL\nKILL", "\n", "RTMIN+3 1d\nTERM forever"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		seq, err := ParseSequence(strings.Split(s, "\n"))
		if err != nil {
			return
		}
		last := seq[len(seq)-1]
		if last.Signal != syscall.SIGKILL && !last.Forever {
			t.Fatalf("%q ends in %v", s, last)
		}
		if total, ends := seq.Total(); total < 0 || ends == last.Forever {
			t.Fatalf("%q: total %v, %v", s, total, ends)
		}
		back, err := ParseSequence(seq.Strings())
		if err != nil || !reflect.DeepEqual(back, seq) {
			t.Errorf("%q is printed as %q and read back as %v, %v", s, seq.Strings(), back, err)
		}
	})
}

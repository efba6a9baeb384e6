package config

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superd/superd/signals"
)

// Values of [superd], jobs, probes and notifications.

// superdKeys are the keys of [superd].
var superdKeys = []key{
	accepted("runtime_dir", 0, tPath()),
	accepted("state_dir", 0, tPath()),
	accepted("log_dir", 0, tPath()),
	accepted("include", 0, tIncludes()),
	accepted("watch", 0, tBool()),
	accepted("viewers", 0, tRoles()),
	accepted("operators", 0, tRoles()),
	accepted("shutdown_timeout", 0, tDuration(time.Millisecond)),
	accepted("metrics", 0, tString(`"HOST:PORT", or "" for none`, func(s string) bool { return s == "" || isHostPort(s) })),
}

func tIncludes() typ[[]string] {
	return tOneOrMore(tList("a list of files and globs", func(s string) string {
		if _, err := path.Match(s, ""); s == "" || err != nil {
			return "a path or a glob"
		}
		return ""
	}))
}

func tRegexp() typ[string] {
	return tString("a regular expression (RE2 syntax)", func(s string) bool {
		_, err := regexp.Compile(s)
		return s != "" && err == nil
	})
}

func tHostPort() typ[string] {
	return tString(`"HOST:PORT"`, func(s string) bool { return isHostPort(substituteProbe(s)) })
}

func tURL() typ[string] {
	return tString(`an address such as "http://127.0.0.1:8080/health"`, func(s string) bool {
		u, err := url.Parse(substituteProbe(s))
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	})
}

// eventKinds are the first halves of events' types.
var eventKinds = []string{"superd", "keeper", "config", "pool", "worker", "deployment", "job", "check", "log", "notify", "events"}

var eventPattern = regexp.MustCompile(`^[a-z*]+(\.[a-z_*]+)?$`)

func checkEventPattern(s string) string {
	kind, _, _ := strings.Cut(s, ".")
	if !eventPattern.MatchString(s) || !strings.Contains(kind, "*") && !slices.Contains(eventKinds, kind) {
		return `an event such as "worker.failed", with * for any text`
	}
	return ""
}

func tTimezone() typ[string] {
	return tString(`a time zone such as "Europe/Berlin"`, func(s string) bool {
		_, err := time.LoadLocation(s)
		return s != "" && err == nil
	})
}

// tSchedule is a cron expression of five fields, a word such as @daily, or @every DURATION.
func tSchedule() typ[string] {
	t := tString(`five fields of cron such as "30 4 * * mon-fri", "@hourly", or "@every 5m"`, func(string) bool { return true })
	read := t.read
	t.read = func(n *node, r *reporter) (string, bool) {
		s, ok := read(n, r)
		if !ok {
			return "", false
		}
		if err := checkSchedule(s); err != nil {
			r.at(n, "%s: %v; allowed: %s", n.found(), err, t.allowed)
			return "", false
		}
		return s, true
	}
	return t
}

var scheduleWords = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}

func checkSchedule(s string) error {
	if every, ok := strings.CutPrefix(s, "@every "); ok {
		d, err := signals.ParseDuration(strings.TrimSpace(every))
		if err == nil && d < time.Second {
			err = fmt.Errorf("less than a second")
		}
		return err
	}
	if strings.HasPrefix(s, "@") {
		if !slices.Contains(scheduleWords, s) {
			return fmt.Errorf("unknown word")
		}
		return nil
	}
	fields := strings.Fields(s)
	if len(fields) != len(cronFields) {
		return fmt.Errorf("%d fields instead of 5", len(fields))
	}
	var values [5][]int
	for i, f := range cronFields {
		var err error
		if values[i], err = f.values(fields[i]); err != nil {
			return err
		}
	}
	if fields[4] == "*" && !anyDay(values[2], values[3]) {
		return fmt.Errorf("no such day ever comes")
	}
	return nil
}

// anyDay tells whether one of the days exists in one of the months.
func anyDay(days, months []int) bool {
	longest := [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	for _, m := range months {
		if slices.Min(days) <= longest[m] {
			return true
		}
	}
	return false
}

type cronField struct {
	name      string
	low, high int
	words     []string // names for low, low+1, ...
}

var cronFields = [5]cronField{
	{name: "minute", low: 0, high: 59},
	{name: "hour", low: 0, high: 23},
	{name: "day", low: 1, high: 31},
	{name: "month", low: 1, high: 12, words: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{name: "weekday", low: 0, high: 7, words: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// values are what a field such as "1-5,10-50/10" stands for.
func (f cronField) values(text string) ([]int, error) {
	var list []int
	for _, part := range strings.Split(text, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		low, high := f.low, f.high
		if span != "*" {
			from, to, isRange := strings.Cut(span, "-")
			var ok1, ok2 bool
			low, ok1 = f.number(from)
			high, ok2 = low, ok1
			if isRange {
				high, ok2 = f.number(to)
			} else if stepped {
				high = f.high
			}
			if !ok1 || !ok2 || low > high {
				return nil, fmt.Errorf("the %s %s is not within %d to %d", f.name, quote(part), f.low, f.high)
			}
		}
		step := 1
		if stepped {
			var err error
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 || step > f.high {
				return nil, fmt.Errorf("the %s %s has no step from 1 to %d", f.name, quote(part), f.high)
			}
		}
		for v := low; v <= high; v += step {
			list = append(list, v)
		}
	}
	return list, nil
}

func (f cronField) number(s string) (int, bool) {
	if i := slices.Index(f.words, strings.ToLower(s)); i >= 0 {
		return f.low + i, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return int(n), err == nil && int(n) >= f.low && int(n) <= f.high
}

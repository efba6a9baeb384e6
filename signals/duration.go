package signals

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxDuration is the longest duration that ParseDuration accepts: ten years.
// The bound keeps sums of several of them, and of an instant and one of them,
// far away from the range of time.Duration.
const MaxDuration = 3650 * 24 * time.Hour

// units from the longest to the shortest, the order in which they may follow
// each other.
var units = []struct {
	name string
	size time.Duration
}{
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
}

const durationHelp = `allowed: "500ms", "10s", "8m", "24h", "10d", or several such as "1h30m"`

// ParseDuration reads "500ms", "10s", "8m", "24h", "10d" and what is put together
// of these from the longer to the shorter unit, such as "1h30m". A bare number,
// a sign, a fraction and anything longer than MaxDuration are errors.
func ParseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, fmt.Errorf("the duration is empty; %s", durationHelp)
	}
	var total time.Duration
	next := 0 // the longest unit that may still come
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		letters := len(rest) - digits - len(strings.TrimLeft(rest[digits:], "abcdefghijklmnopqrstuvwxyz"))
		number, unit := rest[:digits], rest[digits:digits+letters]
		rest = rest[digits+letters:]
		if number == "" {
			return 0, fmt.Errorf("%s is no duration; %s", quote(s), durationHelp)
		}
		if unit == "" {
			return 0, fmt.Errorf("%s lacks a unit; %s", quote(s), durationHelp)
		}
		i := unitIndex(unit)
		if i < 0 {
			return 0, fmt.Errorf("%s has the unknown unit %s; %s", quote(s), quote(unit), durationHelp)
		}
		if i < next {
			return 0, fmt.Errorf("%s has its units out of order; %s", quote(s), durationHelp)
		}
		next = i + 1
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > int64(MaxDuration/units[i].size) || total > MaxDuration-time.Duration(n)*units[i].size {
			return 0, fmt.Errorf("%s is too long; allowed: up to %q", quote(s), FormatDuration(MaxDuration))
		}
		total += time.Duration(n) * units[i].size
	}
	return total, nil
}

func unitIndex(name string) int {
	for i, u := range units {
		if u.name == name {
			return i
		}
	}
	return -1
}

// FormatDuration is the shortest form that ParseDuration reads back: "8m",
// "1h30m", "10d". What is less than a millisecond is dropped.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		// Not readable by ParseDuration, but the truth where one is printed.
		// The shift by one keeps the most negative value from staying negative.
		return "-" + FormatDuration(-(d + 1))
	}
	var b strings.Builder
	for _, u := range units {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

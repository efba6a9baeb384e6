package core

import (
	"slices"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"pgregory.net/rapid"
)

// TestWindowAgainstAllIntervals compares windowOpens with the dumb way: try every
// instant, and for each count the restarts in every interval there is.
func TestWindowAgainstAllIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &config.Restart{Attempts: rapid.IntRange(1, 5).Draw(t, "attempts"),
			Interval: time.Duration(rapid.IntRange(1, 20).Draw(t, "interval"))}
		w := &Worker{}
		now := Time{Boot: 1}
		for range rapid.IntRange(0, 12).Draw(t, "restarts") {
			now.Boot += time.Duration(rapid.IntRange(0, 8).Draw(t, "wait"))
			opens := w.windowOpens(r, now)
			if want := opensDumbly(w.Window, r, now.Boot); opens != want {
				t.Fatalf("window %v, %d in %d, at %d: opens at %d, want %d", w.Window, r.Attempts, r.Interval, now.Boot, opens, want)
			}
			now.Boot = opens
			w.Window = append(w.inWindow(r.Interval, now), now.Boot)
		}
	})
}

// opensDumbly tries every instant.
func opensDumbly(stamps []time.Duration, r *config.Restart, at time.Duration) time.Duration {
	for ; ; at++ {
		all := append(slices.Clone(stamps), at)
		fits := true
		for from := time.Duration(0); from <= at; from++ {
			n := 0
			for _, stamp := range all {
				if stamp >= from && stamp < from+r.Interval {
					n++
				}
			}
			fits = fits && n <= r.Attempts
		}
		if fits {
			return at
		}
	}
}

// TestBackoffAgainstDoubling compares backoff with doubling step by step.
func TestBackoffAgainstDoubling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &config.Restart{Delay: time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "delay"))}
		r.MaxDelay = r.Delay + time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "more"))
		failures := rapid.IntRange(0, 200).Draw(t, "failures")
		want := r.Delay
		for i := 1; i < failures && want < r.MaxDelay; i++ {
			if want > r.MaxDelay-want {
				want = r.MaxDelay
			} else {
				want *= 2
			}
			if want == 0 {
				break
			}
		}
		if got := backoff(r, failures); got != want {
			t.Fatalf("delay %v, max_delay %v, %d failures: %v, want %v", r.Delay, r.MaxDelay, failures, got, want)
		}
	})
}

// TestSpread holds that jitter stays within its fraction, and comes from the seed.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		d := time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "wait"))
		fraction := rapid.Float64Range(0, 1).Draw(t, "fraction")
		got := New(seed).spread(d, fraction)
		if limit := time.Duration(float64(d)*fraction) + 1; got < 0 || got < d-limit || got > d+limit {
			t.Fatalf("%v spread by %v is %v", d, fraction, got)
		}
		if again := New(seed).spread(d, fraction); again != got {
			t.Fatalf("the same seed gives %v and %v", got, again)
		}
	})
}

// TestIDsSort holds that IDs are unique and sort by time, also when the clock steps back.
func TestIDsSort(t *testing.T) {
	s, now, last := New(7), bootStart, ""
	for i := range 1000 {
		if i%3 == 0 {
			now.Wall = now.Wall.Add(time.Duration(i%7-3) * time.Second)
		}
		id := s.newID(now)
		if id <= last || len(id) != 20 {
			t.Fatalf("%s follows %s", id, last)
		}
		last = id
	}
}

package core

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkStep starts all workers and has all of them crash: the time is that of
// one event.
func BenchmarkStep(b *testing.B) {
	for _, size := range []struct{ pools, workers int }{{1, 1000}, {1, 10_000}, {1000, 1}, {1000, 10}} {
		b.Run(fmt.Sprintf("pools=%d/workers=%d", size.pools, size.workers), func(b *testing.B) {
			var specs []Spec
			for i := range size.pools {
				c := basePool(fmt.Sprintf("p%d", i))
				c.Count = size.workers
				specs = append(specs, Spec{Config: c, Release: "/"})
			}
			events := 0
			for b.Loop() {
				events += crashAll(specs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
		})
	}
}

// crashAll begins, starts every run, has it become healthy and crash, and starts it again.
func crashAll(specs []Spec) (events int) {
	s, now := New(1), bootStart
	step := func(ev Event) []Action {
		events++
		now.Boot += time.Microsecond
		return s.Step(now, ev)
	}
	runs := spawned(step(Begin{Specs: specs, SameBoot: true}))
	for range 2 {
		for i, run := range runs {
			step(Forked{Run: run, PID: i + 1})
			step(Started{Run: run, PID: i + 1})
		}
		now.Boot += 20 * time.Second
		step(Tick{})
		for _, run := range runs {
			step(Exited{Run: run, End: End{Code: 1}, Gone: true})
		}
		now.Boot += 20 * time.Second
		runs = spawned(step(Tick{}))
	}
	return events
}

func spawned(actions []Action) (runs []string) {
	for _, a := range actions {
		if a, ok := a.(Spawn); ok {
			runs = append(runs, a.Run)
		}
	}
	return runs
}

package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deal is what both sides promise.
type deal struct {
	slots    int
	said     map[string]string // by every life at its start
	signal   string            // that asks it to leave
	longer   int               // seconds of a job that is finished in the graceful time
	done     int               // exit code that is a success, after which nobody comes back; -1: always somebody
	hopeless string            // state of a worker that cannot live
	attempts int               // starts until then
	since    bool              // only those count that come after a start by hand
	orphans  bool              // what a killed worker has started lives on
}

// keeps goes through a worker's whole life and holds that the side keeps the deal.
func (d deal) keeps(t *testing.T, s side, w *workshop) {
	t.Helper()
	all := func() bool { return len(w.alive()) == d.slots }
	every := func(state string) bool {
		for n := range d.slots {
			if s.state(n) != state {
				return false
			}
		}
		return true
	}
	up := func() { t.Helper(); eventually(t, "all are up", func() bool { return all() && every("running") }) }

	s.start()
	up()
	for slot, l := range w.alive() {
		for key, want := range d.said {
			if l.said[key] != want {
				t.Errorf("worker %d has %s=%q, want %q", slot, key, l.said[key], want)
			}
		}
		eventually(t, "the output is in the log", func() bool {
			text, _ := os.ReadFile(s.log(slot))
			return strings.Contains(string(text), fmt.Sprintf("said by %d\n", l.pid))
		})
	}

	// Whoever crashes comes back, in the same slot.
	victim := w.alive()[1]
	if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed one is back", func() bool { l, ok := w.alive()[1]; return ok && l.pid != victim.pid })
	up()
	crashed := w.starts()[w.give("exit 1")]
	eventually(t, "the crashed one is back", func() bool {
		l, ok := w.alive()[crashed.slot]
		return ok && l.pid != crashed.pid
	})
	up()

	// Whoever is done stays away, if this exit code means that.
	finished := w.starts()[w.give(fmt.Sprint("exit ", max(d.done, 0)))]
	left := d.slots
	if d.done < 0 {
		eventually(t, "the finished one is back", func() bool {
			l, ok := w.alive()[finished.slot]
			return ok && l.pid != finished.pid
		})
		up()
	} else {
		left--
		eventually(t, "it is completed", func() bool { return s.state(finished.slot) == "completed" })
	}

	d.leaves(t, s, w, left)
	d.despairs(t, s, w, every)
}

// leaves stops all while one has a long job in hand and another does not listen.
func (d deal) leaves(t *testing.T, s side, w *workshop, left int) {
	t.Helper()
	before := w.alive()
	if len(before) != left {
		t.Errorf("%d are alive before the stop, want %d", len(before), left)
	}
	worker := w.give(fmt.Sprint("work ", d.longer))
	deaf := w.give("deaf")
	child := w.child()
	began := time.Now()
	s.stop()
	took := time.Since(began)

	if !w.has(fmt.Sprint("left ", worker)) {
		t.Errorf("%d was not let finish its job of %d s", worker, d.longer)
	}
	if took < time.Duration(d.longer)*time.Second/2 {
		t.Errorf("the stop took %v, with a job of %d s", took, d.longer)
	}
	var asked []string
	for _, l := range before {
		if l.pid != deaf {
			asked = append(asked, fmt.Sprintf("signal %s %d", d.signal, l.pid))
		}
		if running(l.pid) {
			t.Errorf("%d is alive after the stop", l.pid)
		}
	}
	var got []string
	for _, line := range w.lines() {
		if strings.HasPrefix(line, "signal ") {
			got = append(got, line)
		}
	}
	slices.Sort(asked)
	slices.Sort(got)
	if !slices.Equal(asked, got) {
		t.Errorf("the workers got %q, want %q", got, asked)
	}
	if running(child) != d.orphans {
		t.Errorf("what the killed one has started is alive: %v, want %v", running(child), d.orphans)
	}
	if d.orphans {
		syscall.Kill(child, syscall.SIGKILL)
	}
}

// child is the process that the deaf worker has started.
func (w *workshop) child() (pid int) {
	w.t.Helper()
	eventually(w.t, "the deaf one has a child", func() bool {
		for _, line := range w.lines() {
			fmt.Sscanf(line, "child %d", &pid)
		}
		return pid != 0
	})
	return pid
}

// despairs starts workers that cannot live, and counts how often.
func (d deal) despairs(t *testing.T, s side, w *workshop, every func(string) bool) {
	t.Helper()
	write(t, filepath.Join(w.dir, "poison"), "")
	if err := os.Chmod(filepath.Join(w.dir, "poison"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := w.starts()
	s.start()
	eventually(t, "all are "+d.hopeless, func() bool { return every(d.hopeless) })
	tries := make(map[int]int)
	for pid, l := range w.starts() {
		if _, old := before[pid]; !old || !d.since {
			tries[l.slot]++
		}
	}
	for n := range d.slots {
		if tries[n] != d.attempts {
			t.Errorf("worker %d was started %d times until it was %s, want %d", n, tries[n], d.hopeless, d.attempts)
		}
	}
}

package cmd_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superd/superd/supervisor/proc"
)

// finish ends everything and looks at what all workers have written: into their
// logs, and into their own notes.
func (s *soak) finish() {
	s.must("stop", "--all", "--timeout", "60s")
	s.must("shutdown")
	select {
	case <-s.ended:
	case <-time.After(2 * patience):
		s.fail("superd did not end")
	}
	if left := s.processes(); len(left) > 0 {
		s.fail("processes are left: %v", left)
	}
	s.seen.strangers = nil
	for _, pattern := range []string{"fifos/*", "keeper.sock", "control.sock"} {
		if left, _ := filepath.Glob(s.dir + "/run/" + pattern); len(left) > 0 {
			s.t.Errorf("left over: %v", left)
		}
	}
	if left := s.noted(); len(left) > 0 {
		s.t.Errorf("notes are left of the runs %v", left)
	}
	lines, runs, excused := 0, 0, 0
	for _, p := range s.config.pools {
		paths, _ := filepath.Glob(fmt.Sprintf("%s/slots/%s.*.notes", s.dir, p.name))
		if len(paths) == 0 {
			s.t.Errorf("no worker of %s has ever run", p.name)
		}
		for _, path := range paths {
			notes, err := readNotes(strings.TrimSuffix(path, ".notes"))
			if err != nil {
				s.t.Error(err)
				continue
			}
			if len(notes.doubles) > 0 {
				s.t.Errorf("%s: two at once: %v", filepath.Base(path), notes.doubles)
			}
			index := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(path), ".notes"), p.name+".")
			n, e := s.checkLog(p.name, index, notes)
			lines, excused, runs = lines+n, excused+e, runs+len(notes.runs)
			s.checkRuns(p, index, notes)
		}
	}
	s.report(lines, runs, excused)
	if s.t.Failed() {
		s.fail("something was found at the end")
	}
}

// readLog is all that a worker's log has, its rotated files before it.
func (s *soak) readLog(pool, index string) ([]byte, int, error) {
	base := filepath.Join(s.dir, "log", pool, index+".log")
	var parts []string
	names, _ := filepath.Glob(base + ".*")
	numbers := map[int]string{}
	for _, name := range names {
		number, _ := strings.CutSuffix(strings.TrimPrefix(name, base+"."), ".gz")
		n, err := strconv.Atoi(number)
		if err != nil {
			continue // an index
		}
		if other, twice := numbers[n]; twice { // superd was killed between the two: the file is the truth
			name = min(name, other)
		}
		numbers[n] = name
	}
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(numbers))) {
		parts = append(parts, numbers[n])
	}
	var all []byte
	for _, name := range append(parts, base) {
		data, err := os.ReadFile(name)
		if err == nil && strings.HasSuffix(name, ".gz") {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
				data, err = io.ReadAll(z)
			}
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, data...)
	}
	return all, len(parts), nil
}

// checkLog wants each line that a run has printed to be in the log once and whole
// and in order. It returns how many lines there are, and how many are missing that
// may be: the last ones of a run that ended while neither superd nor a keeper lived.
func (s *soak) checkLog(pool, index string, notes *soakNotes) (lines, excused int) {
	name := pool + "/" + index
	data, rotated, err := s.readLog(pool, index)
	if err != nil {
		s.t.Error(err)
		return 0, 0
	}
	s.seen.rotated += rotated
	next := map[string]int64{}
	for _, run := range notes.runs {
		next[run.id] = 1
	}
	for line := range strings.Lines(string(data)) {
		lines++
		id, rest, _ := strings.Cut(line, " ")
		number, pad, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil || next[id] == 0 || pad != strings.Repeat("x", int(n%60))+"\n":
			s.t.Errorf("%s: line %d is torn or of nobody: %q", name, lines, line)
			return lines, excused
		case n != next[id]:
			s.t.Errorf("%s: line %d: %d of run %s where %d was expected", name, lines, n, id, next[id])
			return lines, excused
		}
		next[id]++
	}
	for _, run := range notes.runs {
		switch missing := run.printed - (next[run.id] - 1); {
		case missing > 0 && s.excused(run):
			excused += int(missing)
		case missing > 0:
			s.t.Errorf("%s: %d of %d lines of run %s are missing, the last of its log (it was at work until %s)", name, missing, run.printed, run.id, s.stamp(run.last))
		case missing < -1: // it was killed between writing and counting
			s.t.Errorf("%s: %d lines of run %s, which printed %d", name, next[run.id]-1, run.id, run.printed)
		}
	}
	return lines, excused
}

// unread is for how long what a worker has printed may lie in its FIFO because superd
// has other things to do.
const unread = int64(time.Second)

// excused tells whether a run may have ended while superd and the keeper were dead.
func (s *soak) excused(run *soakRun) bool {
	return slices.ContainsFunc(s.aways, func(away soakGap) bool {
		away.from -= unread
		return away.has(run.last) && slices.ContainsFunc(s.deaths, func(d soakGap) bool { return d.from <= away.to && away.from <= d.to })
	})
}

// stamp is a time of the workers as steps.log has it.
func (s *soak) stamp(at int64) string {
	return fmt.Sprintf("%.3f", (time.Since(s.begun) - time.Duration(bootNow()-at)).Seconds())
}

// checkRuns looks at what a worker's runs wrote down of themselves.
func (s *soak) checkRuns(p soakPool, index string, notes *soakNotes) {
	name := p.name + "/" + index
	switch p.name {
	case "flaky":
		s.checkWindow(name, notes)
	case "slow":
		s.checkStops(name, notes)
	case "once":
		if len(notes.runs) != 1 {
			s.t.Errorf("%s completed, and was started %d times", name, len(notes.runs))
		}
	case "boxed":
		s.checkCgroups(name, notes)
	case "broken":
		if len(notes.runs) > 1+brokenAttempts {
			s.t.Errorf("%s failed after %d restarts, and was started %d times", name, brokenAttempts, len(notes.runs))
		}
	}
}

// checkCgroups wants none to be left.
func (s *soak) checkCgroups(name string, notes *soakNotes) {
	root, err := proc.CgroupRoot()
	if err != nil {
		s.t.Error(err)
	}
	for _, run := range notes.runs {
		if _, err := os.Stat(filepath.Join(root, "superd-"+run.id)); err == nil {
			s.t.Errorf("%s: the cgroup of run %s is left", name, run.id)
		}
	}
}

// checkWindow wants no interval whatever with more restarts than the window allows.
// The instants are those at which the kernel made the processes, to 10 ms.
func (s *soak) checkWindow(name string, notes *soakNotes) {
	const tick = 10 * time.Millisecond
	runs := notes.runs[1:] // the first start is no restart
	for k := flakyAttempts; k < len(runs); k++ {
		if d := time.Duration(runs[k].start - runs[k-flakyAttempts].start); d < flakyInterval*time.Second-2*tick {
			s.t.Errorf("%s: %d restarts within %s, from %s on", name, flakyAttempts+1, d, s.stamp(runs[k-flakyAttempts].start))
		}
	}
	s.seen.restarts += len(runs)
}

// checkStops wants each step of a stop sequence to come in its turn, and not before
// the wait of the one before is over. How late a worker itself may have been to
// notice is known from its own ticks.
func (s *soak) checkStops(name string, notes *soakNotes) {
	for _, run := range notes.runs {
		slack := time.Duration(run.late) + 250*time.Millisecond
		early := func(what string, from, to int64, wait int) {
			if d := time.Duration(to - from); d < time.Duration(wait)*time.Millisecond-slack {
				s.t.Errorf("%s: %s after %s instead of %d ms, at %s", name, what, d, wait, s.stamp(to))
			}
		}
		var term, last int64
		for _, sig := range run.signals {
			again := sig.name == "TERM" && term != 0 || sig.name == "INT" && last != 0
			switch {
			case again && !slices.ContainsFunc(s.bereft, func(g soakGap) bool { return g.has(sig.at) }):
				s.t.Errorf("%s: %s came again, at %s, and no keeper had died", name, sig.name, s.stamp(sig.at))
			case sig.name == "TERM" && term == 0:
				term = sig.at
			case sig.name == "INT" && term == 0:
				s.t.Errorf("%s: INT before TERM, at %s", name, s.stamp(sig.at))
			case sig.name == "INT" && last == 0:
				early("INT came", term, sig.at, slowTerm)
			}
			if sig.name == "INT" {
				last = sig.at
			}
		}
		switch {
		case last != 0:
			s.seen.stops++
			if !run.left {
				early("its end came", last, run.last, slowInt)
			}
		case term != 0: // it got no further than TERM: it has to have ended by KILL, after INT that it did not see
			early("its end came", term, run.last, slowTerm)
		}
	}
}

// report says what all of it came to.
func (s *soak) report(lines, runs, excused int) {
	c := &s.count
	s.t.Logf("%d kills in %d rounds within %s: superd %d, keeper %d, both %d (%d of all aimed); %d times shutdown --detach; %d commands, exit codes %v",
		c.kills, c.rounds, time.Since(s.begun).Round(time.Second), c.superd, c.keeper, c.both, c.aimed, c.detached, c.commands, c.codes)
	s.t.Logf("%d workers, %d runs, %d lines each once and in order, in %d rotated files; %d restarts within their windows, %d stop sequences; %d last words lost while neither lived; descriptors at most %d in superd, %d in the keeper",
		s.seen.workers, runs, lines, s.seen.rotated, s.seen.restarts, s.seen.stops, excused, s.seen.superdFiles, s.seen.keeperFiles)
	var never []string
	var b strings.Builder
	for _, p := range soakPoints {
		fired, _ := s.aims.table.Fired(p.name)
		fmt.Fprintf(&b, " %s %d/%d", p.name, fired, s.aims.table.Hits(p.name))
		if fired == 0 {
			never = append(never, p.name)
		}
	}
	s.t.Logf("killed/passed at:%s", b.String())
	if s.count.kills >= longSoak && *soakAim == "" && len(never) > 0 {
		s.t.Errorf("nobody was ever killed at %v", never)
	}
}

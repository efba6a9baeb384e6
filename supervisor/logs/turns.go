package logs

import (
	"errors"
	"time"
)

// errNotYet: nothing is wrong, another source is in the middle of a line.
var errNotYet = errors.New("not yet")

// contended tells whether another source of the file has something to write.
func (f *logFile) contended(s *source) bool {
	for _, x := range f.sources {
		if x != s && (x.queued || !x.heldSince.IsZero()) {
			return true
		}
	}
	return false
}

// turn tells whether s, with n bytes waiting, may write now. Sources change
// between two lines. One that waits for another's line to end waits no longer than
// holdTime or holdBytes; then superd ends that line itself, which the index shows
// as its own byte.
func (d *device) turn(s *source, n int) (bool, error) {
	f := s.file
	if f.owner == s {
		return true, nil
	}
	ended, err := f.lineEnded()
	if err != nil {
		return false, err
	}
	if !ended {
		if f.owner != nil && !f.owner.gone || f.absent != nil {
			if s.heldSince.IsZero() {
				s.heldSince = d.now
			}
			if n < holdBytes && d.now.Sub(s.heldSince) < holdTime {
				d.waits[f] = true
				return false, nil
			}
		}
		if err := f.appendWhole([]byte{'\n'}, d.now); err != nil {
			return false, err
		}
	}
	f.owner, f.absent = s, nil
	s.heldSince = time.Time{}
	return true, nil
}

// callHeld lets those try again that wait for f's line to end.
func (d *device) callHeld(f *logFile) {
	for _, s := range f.sources {
		if !s.heldSince.IsZero() {
			d.enqueue(s)
		}
	}
}

// deadline is when the file wants to be looked at though nothing comes; zero: never.
func (f *logFile) deadline() time.Time {
	if f.trouble != nil {
		return f.retryAt
	}
	var t time.Time
	for _, s := range f.sources {
		if !s.heldSince.IsZero() {
			if at := s.heldSince.Add(holdTime); t.IsZero() || at.Before(t) {
				t = at
			}
		}
	}
	return t
}

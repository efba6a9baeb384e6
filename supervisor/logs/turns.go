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

// turn tells whether s may write now. Sources change between two lines. One that
// waits for another's line to end waits no longer than holdTime, or until that
// line has grown by holdBytes; then superd ends the line itself, which the index
// shows as its own byte.
func (d *device) turn(s *source) (bool, error) {
	f := s.file
	if f.owner == s {
		return true, nil
	}
	ended, err := f.lineEnded()
	if err != nil {
		return false, err
	}
	if !ended {
		if f.mustWait(s, d.now) {
			d.waits[f] = true
			return false, nil
		}
		if err := f.appendWhole([]byte{'\n'}, d.now); err != nil {
			return false, err
		}
	}
	f.owner, f.absent = s, nil
	return true, nil
}

// mustWait tells whether the line at the file's end may still be ended by the
// source that began it.
func (f *logFile) mustWait(s *source, now time.Time) bool {
	if f.absent == nil && (f.owner == nil || f.owner.gone) {
		return false
	}
	if s.heldSince.IsZero() {
		s.heldSince, s.heldSize = now, f.size
	}
	return now.Sub(s.heldSince) < holdTime && f.size-s.heldSize < holdBytes
}

// begins tells whether data, the head of a line that has not ended yet, may be
// written though another source waits: it would have to wait for the end. It may
// if the line began earlier, if it is long, or if its end does not come.
func (d *device) begins(s *source, data []byte) (bool, error) {
	f := s.file
	if len(data) >= holdBytes || !f.contended(s) {
		return true, nil
	}
	if ended, err := f.lineEnded(); err != nil || !ended {
		return err == nil, err
	}
	if s.heldSince.IsZero() {
		s.heldSince, s.heldSize = d.now, f.size
	}
	d.waits[f] = true
	return d.now.Sub(s.heldSince) >= holdTime, nil
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

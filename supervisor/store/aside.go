package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// maxBroken is how many broken files are kept: a disk that damages each new
	// one must not fill up with them.
	maxBroken = 5
	// maxStarts is how often superd may die while it reads the file, one start
	// after the other, until it no longer tries: not every kind of damage ends in
	// an error, and no file may keep superd from coming up.
	maxStarts = 3
)

// setAside renames the file, for people to look at, so that a new one can take
// its place.
func (d *disk) setAside(why error) error {
	broken := d.path() + ".broken-" + time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Rename(d.path(), broken); err != nil {
		return fmt.Errorf("%w; and it cannot be set aside: %w", why, err)
	}
	d.rewrite = true
	d.notes = append(d.notes, fmt.Sprintf("cannot read %s: %v (set aside as %s)", d.path(), why, filepath.Base(broken)))
	old, _ := filepath.Glob(d.path() + ".broken-*")
	slices.Sort(old)
	for len(old) > maxBroken {
		os.Remove(old[0])
		old = old[1:]
	}
	return nil
}

func (d *disk) startsPath() string { return d.path() + ".starts" }

// countStart notes, by one more byte in a small file, that the state is about to
// be read. The file goes when that is done; what is in it at a start are the
// starts that did not get so far.
func (d *disk) countStart() error {
	f, err := os.OpenFile(d.startsPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil // a disk that cannot be written is told by what comes next
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() >= maxStarts {
		if _, err := os.Lstat(d.path()); err == nil {
			d.startDone()
			return unreadable(errors.New("superd ended three times while it was reading it"))
		}
	}
	f.Write([]byte{'.'})
	return nil
}

func (d *disk) startDone() { os.Remove(d.startsPath()) }

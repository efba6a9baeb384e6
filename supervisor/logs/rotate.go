package logs

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const rotateRetry = 10 * time.Second // after a rotation that failed

// rotatedName is the i-th rotated file of name; 1 is the newest.
func rotatedName(name string, i int) string { return fmt.Sprintf("%s.%d", name, i) }

// rotate moves the full file aside and opens a fresh one. What cannot be renamed
// goes on growing and is tried again later.
func (d *device) rotate(f *logFile) error {
	f.checked = time.Time{}
	if err := d.prepare(f); err != nil || f.size < f.keys.MaxSize {
		return err // somebody has already moved or cut it
	}
	f.idx.end(f.size)
	d.renames.Lock()
	err := shift(f.folder.fd, f.name, f.keys.Keep)
	d.renames.Unlock()
	if err != nil {
		f.rotateAt = d.now.Add(rotateRetry)
		d.m.opt.Notify(f.notice(Notice{Kind: Rotated, Err: fmt.Errorf("cannot rotate %s: %w; it goes on growing", f.path(), err)}))
		return nil
	}
	d.shut(f)
	f.size = 0
	hook("rotated")
	if err := d.open(f); err != nil {
		return err
	}
	hook("reopened")
	d.m.opt.Notify(f.notice(Notice{Kind: Rotated}))
	if f.keys.Compress {
		d.packer.queue(f)
	}
	return nil
}

// shift renames name to name.1, name.1 to name.2 and so on up to the first number
// that is free, at most keep; what lies beyond keep is removed. It begins at the
// far end, so that whatever stops it in the middle leaves a free number and loses
// nothing; the next rotation fills the gap.
func shift(dir int, name string, keep int) error {
	for i := keep + 1; taken(dir, rotatedName(name, i)); i++ { // keep was larger once
		if err := discardRotated(dir, rotatedName(name, i)); err != nil {
			return err
		}
	}
	free := 1
	for free <= keep && taken(dir, rotatedName(name, free)) {
		free++
	}
	if free > keep && keep > 0 {
		free = keep
		if err := discardRotated(dir, rotatedName(name, keep)); err != nil {
			return err
		}
		hook("shift")
	}
	for i := free; i > 1; i-- {
		if err := renameRotated(dir, rotatedName(name, i-1), rotatedName(name, i)); err != nil {
			return err
		}
		hook("shift")
	}
	if keep <= 0 {
		return discardRotated(dir, name)
	}
	if err := rename(dir, name+".idx", rotatedName(name, 1)+".idx"); err != nil {
		return err
	}
	hook("shift")
	return rename(dir, name, rotatedName(name, 1))
}

// taken tells whether a rotated file is there, compressed or not.
func taken(dir int, name string) bool { return exists(dir, name) || exists(dir, name+".gz") }

func exists(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// discardRotated removes a rotated file in whatever form.
func discardRotated(dir int, name string) error {
	for _, suffix := range []string{".idx", ".gz", ""} {
		if err := unix.Unlinkat(dir, name+suffix, 0); err != nil && err != unix.ENOENT {
			return fmt.Errorf("cannot remove %s: %w", name+suffix, err)
		}
	}
	return nil
}

// renameRotated gives a rotated file its next number. Beside a file a compressed
// form can only be a left-over of superd's death: the file is the truth.
func renameRotated(dir int, from, to string) error {
	if exists(dir, from) && exists(dir, from+".gz") {
		if err := unix.Unlinkat(dir, from+".gz", 0); err != nil {
			return fmt.Errorf("cannot remove %s: %w", from+".gz", err)
		}
	}
	for _, suffix := range []string{".idx", ".gz", ""} {
		if err := rename(dir, from+suffix, to+suffix); err != nil {
			return err
		}
	}
	return nil
}

// rename within a folder; a file that is not there is no error.
func rename(dir int, from, to string) error {
	if err := unix.Renameat(dir, from, dir, to); err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot rename %s to %s: %w", from, to, err)
	}
	return nil
}

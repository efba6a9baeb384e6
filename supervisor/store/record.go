package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// minRecord is the least room that a named record gets, in bytes, so that one
// that grows a little does not need a new file each time.
const minRecord = 512

// PutFile stores a named record of any length up to 16 MiB. As long as it fits
// into the room that the record has, it is overwritten in place, copy by copy,
// and cannot run out of space; beyond that a file with twice the room takes its
// place by a rename. When it fails, what was stored before is still there. Names
// are those of [Dir.Table], and apart from tables' names.
func (d *Dir) PutFile(name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	d.recordMu.Lock()
	defer d.recordMu.Unlock()
	if err := d.putRecord(name+recordSuffix, data); err != nil {
		return fmt.Errorf("cannot write record %s in %s: %w", name, d.path, err)
	}
	return nil
}

func (d *Dir) putRecord(file string, data []byte) error {
	old, err := d.open(file)
	if err != nil {
		return err
	}
	var sequence uint64
	if old != nil {
		defer old.Close()
		if len(data) <= old.size {
			return old.Put(0, data)
		}
		sequence = old.state[0].sequence
	}
	size := minRecord
	for size < len(data) {
		size *= 2
	}
	if err := checkGeometry(1, size); err != nil {
		return err
	}
	t, err := d.replace(file, 1, size, map[int]recordCopy{0: {sequence: sequence + 1, data: data}})
	if err != nil {
		return err
	}
	return t.Close()
}

// GetFile gives a named record, and whether there is one. The error is ErrDamaged
// when no whole copy is left; PutFile and RemoveFile still work then.
func (d *Dir) GetFile(name string) ([]byte, bool, error) {
	if err := checkName(name); err != nil {
		return nil, false, err
	}
	d.recordMu.Lock()
	defer d.recordMu.Unlock()
	t, err := d.open(name + recordSuffix)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read record %s in %s: %w", name, d.path, err)
	}
	if t == nil {
		return nil, false, nil
	}
	defer t.Close()
	return t.Get(0)
}

// RemoveFile deletes a named record; that there is none is no error.
func (d *Dir) RemoveFile(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	d.recordMu.Lock()
	defer d.recordMu.Unlock()
	if err := unix.Unlinkat(int(d.file.Fd()), name+recordSuffix, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove record %s in %s: %w", name, d.path, err)
	}
	return nil
}

// Files lists the names of the records that are there, in no order.
func (d *Dir) Files() ([]string, error) { return d.names(recordSuffix) }

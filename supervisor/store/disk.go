package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"syscall"
	"time"

	"github.com/superd/superd/supervisor/aim"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// The state file has three top-level buckets: aboutBucket with the version,
// valuesBucket with one bucket for each of State's, and historyBucket. Each value
// has a CRC-32C of bucket, key and value before it (4 bytes, little endian): bbolt
// checks nothing but its first pages.
const (
	stateFile    = "state.db"
	lockPatience = 2 * time.Second
)

// stateVersion is a variable for the tests alone, which build a superd of a later
// version (-ldflags "-X ...").
var stateVersion = "1"

var (
	aboutBucket  = []byte("superd")
	versionKey   = []byte("version")
	valuesBucket = []byte("values")
)

// errUnreadable is a file that is of no use: damaged, foreign, or of another version.
var errUnreadable = errors.New("unreadable")

// disk is the state's file. It belongs to the writer goroutine alone.
type disk struct {
	dir  string
	db   *bolt.DB // nil: not open
	file *os.File // of db
	read bool     // its values were given to State once
	// fresh: there was no file, or nothing in it, when it was opened for the first time.
	fresh bool
	// rewrite: the file is new, and everything in memory must go into it.
	rewrite bool
	renewed bool // the file has vanished, and no new one was written yet
	notes   []string
	// former is a file that has vanished and whose histories are not carried over yet.
	former     *bolt.DB
	formerFile *os.File
}

func (d *disk) path() string { return d.dir + "/" + stateFile }

// takeNotes gives what went wrong for good since it was last asked.
func (d *disk) takeNotes() []string {
	notes := d.notes
	d.notes = nil
	return notes
}

// ensure opens the file unless it is open. The first time it gives the values in
// it, even beside an error: a file that can be read but not written, or read in
// part, is better than nothing.
func (d *disk) ensure() (map[stateKey][]byte, error) {
	if d.lost() {
		d.vanished()
	}
	if d.db != nil {
		return nil, nil
	}
	values, err := d.open()
	if errors.Is(err, errUnreadable) {
		if err = d.setAside(err); err == nil {
			_, err = d.open()
		}
	}
	if d.read {
		values = nil
	}
	d.read = d.read || err == nil || len(values) > 0
	return values, err
}

// lost tells that the file's name is gone or means another file.
func (d *disk) lost() bool { return d.db != nil && !SameFile(d.path(), d.file) }

// vanished gives up a file that somebody removed or replaced: everything in memory
// must go into a new one.
func (d *disk) vanished() {
	if d.former == nil {
		d.former, d.formerFile = d.db, d.file
		d.db, d.file = nil, nil
	}
	d.close()
	d.read, d.rewrite = true, true // memory knows better than whatever is there now
	d.renewed = true
}

// open opens the file and reads it all, which is also how it is checked.
func (d *disk) open() (map[stateKey][]byte, error) {
	if err := d.folder(); err != nil {
		return nil, fmt.Errorf("cannot use the state folder %s: %w", d.dir, err)
	}
	if !d.read {
		if err := d.countStart(); err != nil {
			return nil, err
		}
		defer d.startDone()
	}
	err := d.openBolt(false)
	if errors.Is(err, ErrLocked) && d.takeOver() == nil {
		err = d.openBolt(false)
	}
	if err != nil && !errors.Is(err, errUnreadable) && !errors.Is(err, ErrLocked) && !d.read {
		if d.openBolt(true) == nil { // what cannot be written may yet be read
			values, _, wrong := d.values()
			d.close()
			if errors.Is(wrong, ErrNewer) {
				return nil, wrong
			}
			return values, err
		}
	}
	if err != nil {
		return nil, err
	}
	values, empty, err := d.values()
	if err != nil {
		return values, err
	}
	d.rewrite = d.rewrite || empty
	return values, nil
}

// folder makes the folder when it is missing, and refuses one that others could
// have put a file of their own into.
func (d *disk) folder() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkFolder(f)
}

// openBolt opens the file for bbolt. The error is errUnreadable, ErrLocked, or
// what the host has against it.
func (d *disk) openBolt(readOnly bool) error {
	var file *os.File
	opts := &bolt.Options{
		Timeout:      lockPatience,
		ReadOnly:     readOnly,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(path string, flags int, perm os.FileMode) (f *os.File, err error) {
			file, err = openStateFile(path, flags, perm)
			if err == nil && !d.read {
				fi, err := file.Stat()
				d.fresh = err == nil && fi.Size() == 0
			}
			return file, err
		},
	}
	var db *bolt.DB
	err := guard(func() (err error) {
		db, err = bolt.Open(d.path(), 0o600, opts)
		return err
	})
	if err == nil {
		d.db, d.file = db, file
		return nil
	}
	if file != nil {
		file.Close() // bbolt did, unless it panicked
	}
	var errno syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("cannot open %s: %w", d.path(), ErrLocked)
	case errors.Is(err, errUnreadable), errors.Is(err, errForeign):
	case errors.As(err, &errno) && errno != unix.ELOOP && errno != unix.EISDIR && errno != unix.ENXIO:
		return fmt.Errorf("cannot open the state: %w", err)
	}
	return unreadable(err)
}

func openStateFile(path string, flags int, perm os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || (st.Uid != 0 && int(st.Uid) != os.Geteuid()) {
		f.Close()
		return nil, errForeign
	}
	return f, nil
}

// values reads everything. Beside an error it gives what could be read before it,
// or what is whole among values that are damaged. empty is a file with nothing in it.
func (d *disk) values() (all map[stateKey][]byte, empty bool, err error) {
	all = make(map[stateKey][]byte)
	damaged := 0
	err = guard(func() error {
		return d.db.View(func(tx *bolt.Tx) error {
			about, values := tx.Bucket(aboutBucket), tx.Bucket(valuesBucket)
			if first, _ := tx.Cursor().First(); first == nil {
				empty = true
				return nil
			}
			if about == nil || values == nil {
				return unreadable(errors.New("not a state of superd's"))
			}
			v := about.Get(versionKey)
			if err := newerState(string(v)); err != nil {
				return fmt.Errorf("cannot read %s: %w", d.path(), err)
			}
			if string(v) != stateVersion {
				return unreadable(fmt.Errorf("it has format %.20q, this superd reads %q", v, stateVersion))
			}
			return values.ForEachBucket(func(bucket []byte) error {
				return values.Bucket(bucket).ForEach(func(key, stored []byte) error {
					if value, ok := decodeValue(bucket, key, stored); ok {
						all[stateKey{string(bucket), string(key)}] = value
					} else {
						damaged++
					}
					return nil
				})
			})
		})
	})
	if err == nil && damaged > 0 {
		err = unreadable(fmt.Errorf("%d of its values are damaged", damaged))
	}
	switch {
	case errors.Is(err, ErrNewer):
		d.close() // it is sound, and its lock has to go: whoever can read it is waiting
	case err != nil:
		d.abandon()
	}
	return all, empty, err
}

// commit writes a batch (nil: delete) and entries of histories in one transaction,
// and syncs it. After an error the file is closed, since what bbolt holds of it may
// not be what is there.
func (d *disk) commit(batch map[stateKey][]byte, entries map[string]*queue) error {
	err := guard(func() error {
		if d.former != nil { // values first: without them the file is none of superd's
			err := d.db.Update(func(tx *bolt.Tx) error { return putBatch(tx, batch) })
			if err == nil {
				err = d.carryOver()
			}
			if err != nil {
				return err
			}
		}
		return d.db.Update(func(tx *bolt.Tx) error {
			aim.At("state.begun")
			err := putBatch(tx, batch)
			if err == nil {
				err = putHistories(tx, entries)
			}
			aim.At("state.put")
			return err
		})
	})
	aim.At("state.written")
	switch {
	case err == nil:
		d.rewrite = false
		return nil
	case errors.Is(err, errUnreadable):
		d.abandon()
		if aside := d.setAside(err); aside != nil {
			return aside
		}
		return err
	}
	d.close()
	return fmt.Errorf("cannot write %s: %w", d.path(), err)
}

func putBatch(tx *bolt.Tx, batch map[stateKey][]byte) error {
	about, err := tx.CreateBucketIfNotExists(aboutBucket)
	if err != nil {
		return err
	}
	if string(about.Get(versionKey)) != stateVersion {
		if err := about.Put(versionKey, []byte(stateVersion)); err != nil {
			return err
		}
	}
	values, err := tx.CreateBucketIfNotExists(valuesBucket)
	if err != nil {
		return err
	}
	for k, value := range batch {
		b, err := values.CreateBucketIfNotExists([]byte(k.bucket))
		if err != nil {
			return err
		}
		if value == nil {
			err = b.Delete([]byte(k.key))
		} else {
			err = b.Put([]byte(k.key), encodeValue(k, value))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// close gives the file back, and its lock.
func (d *disk) close() {
	if d.db == nil {
		return
	}
	if err := guard(d.db.Close); err != nil {
		d.file.Close()
	}
	d.db, d.file = nil, nil
}

// abandon gives up a file after a fault: bbolt may hold its own locks for ever, and
// closing would wait for them. Its mapping stays; the descriptor and the lock go.
func (d *disk) abandon() {
	d.file.Close()
	d.db, d.file = nil, nil
}

// guard turns a panic into errUnreadable: the fault of reading a damaged page
// (with debug.SetPanicOnFault), or bbolt's own word on one.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = unreadable(fmt.Errorf("%v", p))
		}
	}()
	return f()
}

func unreadable(why error) error {
	if errors.Is(why, errUnreadable) {
		return why
	}
	return unreadableError{why}
}

// unreadableError is an errUnreadable that says nothing but why.
type unreadableError struct{ error }

func (unreadableError) Is(target error) bool { return target == errUnreadable }

func encodeValue(k stateKey, value []byte) []byte {
	b := make([]byte, 4, 4+len(value))
	binary.LittleEndian.PutUint32(b, valueSum([]byte(k.bucket), []byte(k.key), value))
	return append(b, value...)
}

// decodeValue copies a value out of the file's mapping.
func decodeValue(bucket, key, stored []byte) (value []byte, ok bool) {
	if len(stored) < 4 {
		return nil, false
	}
	value = append([]byte{}, stored[4:]...)
	return value, binary.LittleEndian.Uint32(stored) == valueSum(bucket, key, value)
}

func valueSum(bucket, key, value []byte) uint32 {
	name := bytes.Join([][]byte{bucket, key, nil}, []byte{0})
	return crc32.Update(crc32.Checksum(name, castagnoli), castagnoli, value)
}

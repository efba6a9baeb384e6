package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/superd/superd/supervisor/aim"
	"golang.org/x/sys/unix"
)

// The endings of the files in a folder of records. A name with newSuffix is one
// that was not finished: it is removed when the folder is opened.
const (
	tableSuffix  = ".table"
	recordSuffix = ".record"
	newSuffix    = ".new"
	brokenSuffix = ".broken"
)

// Dir is a folder of runtime records, of which superd must be the only user: the
// lock of the runtime folder sees to that. All methods are safe for concurrent use.
type Dir struct {
	path string
	file *os.File

	recordMu sync.Mutex // one named record at a time

	mu     sync.Mutex
	damage []string
}

// OpenDir opens the folder and makes it (0700, not its parents) when it is not
// there. It is an error when it is a symlink, or belongs to another user.
func OpenDir(path string) (*Dir, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot make the folder of records: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the folder of records: %w", err)
	}
	err = f.Chmod(0o700)
	if err == nil {
		err = checkFolder(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot use %s for records: %w", path, err)
	}
	d := &Dir{path: path, file: f}
	names, err := d.names(newSuffix)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot list %s: %w", path, err)
	}
	for _, name := range names {
		unix.Unlinkat(int(f.Fd()), name+newSuffix, 0) // unfinished; at worst it is overwritten later
	}
	return d, nil
}

// Path is the folder's path, as given to OpenDir.
func (d *Dir) Path() string { return d.path }

// Lost tells that the folder's name is gone or means another folder: somebody
// removed or replaced it, and what is put into this one cannot be found again.
// The remedy is to open it anew and put everything once more.
func (d *Dir) Lost() bool { return !SameFile(d.path, d.file) }

// Close releases the folder. Open tables stay usable, but for Grow and Remove.
func (d *Dir) Close() error { return d.file.Close() }

// Damage lists what could not be read and was set aside under another name, in
// words; nil when nothing was.
func (d *Dir) Damage() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.damage...)
}

// Table opens the table of that name, or makes it with so many slots of so many
// bytes each. One that is there and smaller grows, one that is larger stays so:
// with 0 and 0 it is what is there, or else the smallest, to be grown later.
// A file that is no table is set aside as NAME.table.broken, listed by Damage,
// and replaced by an empty table. A name has letters, digits, '.', '_' and '-'.
func (d *Dir) Table(name string, slots, size int) (*Table, error) {
	slots, size = max(slots, 1), max(size, 1)
	if err := checkGeometry(slots, size); err != nil {
		return nil, fmt.Errorf("cannot make table %s: %w", name, err)
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	t, err := d.open(name + tableSuffix)
	if err == nil && t == nil {
		t, err = d.replace(name+tableSuffix, slots, size, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open table %s in %s: %w", name, d.path, err)
	}
	if err := t.Grow(slots, size); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Tables lists the names of the tables that are there, in no order.
func (d *Dir) Tables() ([]string, error) { return d.names(tableSuffix) }

// open opens a table file. It returns nil and no error when there is none, or
// none that could be read; what could not be read was set aside.
func (d *Dir) open(file string) (*Table, error) {
	f, length, err := openRegular(d.file, file, unix.O_RDWR)
	switch {
	case err == unix.ENOENT:
		return nil, nil
	case err == unix.ELOOP || err == unix.EISDIR || err == errForeign || err == unix.ENXIO:
		return nil, d.setAside(file, errForeign)
	case err != nil:
		return nil, err
	}
	head := make([]byte, tableHeader)
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	slots, size, err := decodeTableHeader(head)
	if err == nil && length < tableLength(slots, size) {
		err = fmt.Errorf("%d bytes are missing", tableLength(slots, size)-length)
	}
	if err != nil {
		f.Close()
		return nil, d.setAside(file, err)
	}
	t := d.newTable(file, f, slots, size)
	if err := t.load(); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (d *Dir) newTable(file string, f *os.File, slots, size int) *Table {
	return &Table{dir: d, name: file, file: f, slots: slots, size: size,
		state: make([]slotMark, slots), buf: make([]byte, copyHeader+size)}
}

// replace makes a table file with the records given (by slot), and gives it its
// name only when all of it is there.
func (d *Dir) replace(file string, slots, size int, records map[int]recordCopy) (*Table, error) {
	fresh := file + newSuffix
	if err := unix.Unlinkat(int(d.file.Fd()), fresh, 0); err != nil && err != unix.ENOENT {
		return nil, err
	}
	f, err := openIn(d.file, fresh, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, err
	}
	t := d.newTable(file, f, slots, size)
	err = t.fill(records)
	if err == nil {
		aim.At("store.filled")
		err = unix.Renameat(int(d.file.Fd()), fresh, int(d.file.Fd()), file)
	}
	if err != nil {
		f.Close()
		unix.Unlinkat(int(d.file.Fd()), fresh, 0)
		return nil, err
	}
	aim.At("store.renamed")
	return t, nil
}

// fill allocates a new table's file and writes its header and first records.
func (t *Table) fill(records map[int]recordCopy) error {
	if err := allocate(t.file, tableLength(t.slots, t.size)); err != nil {
		return err
	}
	if _, err := t.file.WriteAt(encodeTableHeader(t.slots, t.size), 0); err != nil {
		return err
	}
	for slot, c := range records {
		if _, err := t.file.WriteAt(encodeCopy(t.buf, slot, c), t.offset(slot)); err != nil {
			return err
		}
		t.state[slot] = slotMark{sequence: c.sequence, next: 1}
	}
	return nil
}

// setAside renames what cannot be used, for people to look at. An older one that
// was set aside under the same name goes.
func (d *Dir) setAside(file string, why error) error {
	err := unix.Renameat(int(d.file.Fd()), file, int(d.file.Fd()), file+brokenSuffix)
	if err != nil {
		return fmt.Errorf("%s: %w; and it cannot be set aside: %w", file, why, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.damage = append(d.damage, fmt.Sprintf("cannot read %s/%s: %v (set aside as %s)", d.path, file, why, file+brokenSuffix))
	return nil
}

// names lists the files with an ending, without it.
func (d *Dir) names(suffix string) ([]string, error) {
	f, err := openIn(d.file, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	var names []string
	for _, name := range all {
		if base, ok := strings.CutSuffix(name, suffix); ok && base != "" {
			names = append(names, base)
		}
	}
	return names, err
}

// checkName keeps names within the folder. None can be that of an unfinished file:
// each gets an ending.
func checkName(name string) error {
	if name == "" || len(name) > 128 || name[0] == '.' {
		return fmt.Errorf("cannot use %q as a record's name: 1 to 128 characters, not a leading dot", name)
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("cannot use %q as a record's name: letters, digits, '.', '_' and '-' only", name)
		}
	}
	return nil
}

package logs

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pauseBound is how long the log devices are waited for while notes move to new
// files. One whose disk hangs is between two notes anyhow.
const pauseBound = 200 * time.Millisecond

// Mend makes the folders and notes in RuntimeDir again that somebody has deleted
// while they were used, and names them. The names of the FIFOs cannot be had
// again: they are read on, and the next superd gets them from the keeper, or from
// the workers. It is called again when it failed.
func (m *Manager) Mend() (made []string, err error) {
	var errs []error
	if _, err := os.Lstat(m.fifos); err != nil {
		if err := privateDir(m.fifos); err != nil {
			errs = append(errs, fmt.Errorf("cannot keep FIFOs: %w", err))
		} else {
			made = append(made, "fifos")
		}
	}
	if m.notes.lost() {
		resume := m.pause()
		err := m.notes.mend()
		resume()
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot keep position notes: %w", err))
		} else {
			made = append(made, "notes")
		}
	}
	return made, errors.Join(errs...)
}

// pause has the log devices stand still between two batches until resume is called.
func (m *Manager) pause() (resume func()) {
	m.mu.Lock()
	devices := make([]*device, 0, len(m.disks))
	for _, d := range m.disks {
		devices = append(devices, d)
	}
	m.mu.Unlock()
	stands := make(chan struct{}, len(devices))
	goOn := make(chan struct{})
	for _, d := range devices {
		d.post(func() { stands <- struct{}{}; <-goOn })
	}
	late := time.After(pauseBound)
	for range devices {
		select {
		case <-stands:
		case <-late:
			return func() { close(goOn) }
		}
	}
	return func() { close(goOn) }
}

// lost tells that a file of notes is not there by its name any more.
func (t *noteTable) lost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.files {
		if !t.there(i) {
			return true
		}
	}
	_, err := os.Lstat(t.dir)
	return err != nil
}

func (t *noteTable) there(i int) bool {
	var st unix.Stat_t
	return unix.Lstat(t.path(i), &st) == nil && fileID{st.Dev, st.Ino} == t.ids[i]
}

// mend writes the notes that are lost to new files, and puts these in the place
// of the old ones in memory: whoever has a note goes on writing to it.
func (t *noteTable) mend() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := privateDir(t.dir); err != nil {
		return err
	}
	for i, mem := range t.files {
		if t.there(i) {
			continue
		}
		id, err := remap(t.path(i), mem)
		if err != nil {
			return err
		}
		t.ids[i] = id
	}
	return nil
}

// remap writes mem to a new file at path and maps that where mem is.
func remap(path string, mem []byte) (fileID, error) {
	fresh := path + ".new"
	os.Remove(fresh) // of another attempt
	f, err := os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fileID{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	err = unix.Fallocate(int(f.Fd()), 0, 0, int64(len(mem)))
	if err == nil {
		_, err = f.WriteAt(mem, 0)
	}
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err == nil {
		err = mapOver(mem, int(f.Fd()))
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		os.Remove(fresh)
		return fileID{}, fmt.Errorf("cannot write %s again: %w", path, err)
	}
	return fileID{st.Dev, st.Ino}, nil
}

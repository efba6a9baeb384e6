package logs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/config"
)

// Recover goes on with a run that an earlier superd began to read. held fetches
// the keeper's read end by its name (RUN.out, RUN.err) and may fail or be nil:
// then the FIFO is opened by its name. What the notes show to be in the file
// already is not written again.
func (m *Manager) Recover(id string, spec Spec, held func(name string) (*os.File, error)) error {
	if !validRun.MatchString(id) {
		return fmt.Errorf("cannot recover a log: %q is not a run ID", id)
	}
	if spec.Target == config.LogNone {
		return nil
	}
	m.mu.Lock()
	known, closed := m.runs[id] != nil, m.closed
	m.mu.Unlock()
	if closed {
		return errors.New("cannot recover a log: logs are closed")
	}
	if known {
		return nil
	}
	r := &run{id: id, spec: spec}
	var errs []error
	for _, stream := range spec.streams() {
		if err := m.findSource(r, stream, held); err != nil {
			errs = append(errs, fmt.Errorf("cannot go on with the log of run %s: %w", id, err))
		}
	}
	if len(r.sources) == 0 {
		return errors.Join(errs...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.start(r); err != nil {
		for _, s := range r.sources {
			m.pipes.Add(-int64(s.capacity))
			s.close() // FIFO and note stay: it may be tried again
		}
		return err
	}
	m.runs[id] = r
	return errors.Join(errs...)
}

// Rehold has another keeper hold what the last one held for the logs: read ends
// under the names of Pipes.Read, and what Options.Hold was called with. Nothing is
// lost if it fails, but a run's last words may be if superd dies as well.
func (m *Manager) Rehold(hold func(name string, f *os.File) error) error {
	var errs []error
	give := func(name string, fd int) error {
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		err := hold(name, f)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot have %s held: %w", name, err))
		}
		return err
	}
	for name, fd := range m.readEnds() {
		give(name, fd)
	}
	m.mu.Lock()
	disks := slices.Collect(maps.Values(m.disks))
	m.mu.Unlock()
	for _, d := range disks {
		d.wasteMu.Lock()
		fd, err := unix.FcntlInt(uintptr(d.waste), unix.F_DUPFD_CLOEXEC, 0)
		d.wasteMu.Unlock()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		id := pipeID(fd)
		if give(d.wasteName(), fd) == nil {
			d.post(func() { d.wasteID = id })
		}
	}
	return errors.Join(errs...)
}

// HoldMissing has the keeper hold the read ends that are not among what it held when
// superd started: the superd before was killed when it had just got that keeper.
func (m *Manager) HoldMissing(held []string, hold func(name string, f *os.File) error) error {
	had := make(map[string]bool, len(held))
	for _, name := range held {
		had[name] = true
	}
	var errs []error
	for name, fd := range m.readEnds() {
		f := os.NewFile(uintptr(fd), name)
		if !had[name] {
			errs = append(errs, hold(name, f))
		}
		f.Close()
	}
	return errors.Join(errs...)
}

// readEnds duplicates the read ends of all runs, by name.
func (m *Manager) readEnds() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	ends := map[string]int{}
	for _, r := range m.runs {
		for _, s := range r.sources {
			if fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
				ends[streamName(r.id, s.stream)] = fd
			}
		}
	}
	return ends
}

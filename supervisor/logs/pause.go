package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Pause has all writers stand still between two batches until resume is called,
// which must not be forgotten: output waits in the FIFOs meanwhile. The error is
// that a disk does not answer within ctx; then all go on, and resume is nil.
//
// A reader of superd's standard output who does not take it is not waited for
// long: what is given to it is in no file, and nothing of it is lost.
func (m *Manager) Pause(ctx context.Context) (resume func(), err error) {
	m.mu.Lock()
	disks := make([]sink, 0, len(m.disks))
	for _, d := range m.disks {
		disks = append(disks, d)
	}
	out := m.out
	m.mu.Unlock()
	release := make(chan struct{})
	var once sync.Once
	resume = func() { once.Do(func() { close(release) }) }
	still := make(chan struct{}, len(disks)+1)
	stand := func() { still <- struct{}{}; <-release }
	for _, k := range disks {
		k.post(stand)
	}
	for range disks {
		select {
		case <-still:
		case <-ctx.Done():
			resume()
			return nil, fmt.Errorf("cannot pause the logs: a disk does not answer: %w", ctx.Err())
		}
	}
	if out == nil {
		return resume, nil
	}
	ctx, cancel := context.WithTimeout(ctx, stallTime/2)
	defer cancel()
	out.post(stand)
	select {
	case <-still:
	case <-ctx.Done():
	}
	return resume, nil
}

// ErrNewer is what position notes are of that a newer superd keeps.
var ErrNewer = errors.New("a newer superd has written them")

// CheckNotes tells whether this superd can go on from the position notes that
// another one keeps in a runtime folder; [ErrNewer]. It changes nothing.
func CheckNotes(runtimeDir string) error {
	files, err := filepath.Glob(filepath.Join(runtimeDir, "notes", "[0-9][0-9][0-9]"))
	if err != nil {
		return err
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err == nil {
			err = checkNotes(data)
		}
		if err != nil {
			return fmt.Errorf("cannot go on from %s: %w", path, err)
		}
	}
	return nil
}

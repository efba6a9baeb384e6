package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/store"
)

// Somebody deletes runtime_dir, or part of it, while superd lives: tmpfiles, a
// cleaner, rm -rf. Everything that was in it is held here or in the keeper, and is
// put back: the lock before all else, so that no second superd may think itself
// alone. state_dir is the business of the store, which is only told to look.

// places is what superd has put into runtime_dir, by identity, and where it is told
// of their end.
type places struct {
	vigil   *vigil
	control identity                    // of the control socket
	keepers map[*keeper.Client]identity // of their sockets
	asked   bool                        // a keeper is making its socket again
	again   bool                        // mending is about to be tried again
	renewed int                         // how often the durable state was written anew
	// unrecorded is how many runs were taken over at the start because they live,
	// after runtime_dir had been deleted.
	unrecorded int
}

// mendPause is how long after a failure mending is tried again.
const mendPause = time.Second

// watchPlaces begins to be told of deletions. It is called once all is in place.
func (s *Supervisor) watchPlaces() {
	s.rememberSockets()
	v, err := newVigil()
	if err != nil {
		s.log.Warn("that runtime_dir or state_dir is deleted would not be noticed", "error", err)
		return
	}
	s.places.vigil = v
	s.watchRuntime()
	s.watchState()
}

func (s *Supervisor) rememberSockets() {
	s.places.control = identify(s.socketPath())
	s.rememberKeepers()
}

func (s *Supervisor) rememberKeepers() {
	s.places.keepers = map[*keeper.Client]identity{}
	for _, c := range s.keepers.list() {
		s.places.keepers[c] = identify(c.Socket())
	}
}

// watchRuntime watches runtime_dir and the folders in it. That of the FIFOs is not
// among them: they come and go with the runs.
func (s *Supervisor) watchRuntime() {
	dir := s.opt.Config.RuntimeDir
	for _, folder := range []string{dir, dir + "/records", dir + "/notes"} {
		err := s.places.vigil.watch(folder, func() { s.inbox.put(s.mend) })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("that it is deleted would not be noticed", "folder", folder, "error", err)
		}
	}
}

// watchState watches state_dir, off the loop: its disk may hang.
func (s *Supervisor) watchState() {
	go func() {
		err := s.places.vigil.watch(s.opt.Config.StateDir, s.records.state.Look)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("that it is deleted would not be noticed", "folder", s.opt.Config.StateDir, "error", err)
		}
	}()
}

// mend puts back what is not in runtime_dir any more.
func (s *Supervisor) mend() {
	if s.quit != nil || s.places.vigil == nil {
		return
	}
	made, err := s.mendRuntime()
	if err != nil {
		s.degrade("runtime_dir", fmt.Sprintf("cannot mend runtime_dir: %v (it is tried again every %s)", err, mendPause))
		s.later(&s.places.again, mendPause, s.mend)
	} else {
		s.degrade("runtime_dir", "")
	}
	if len(made) > 0 {
		s.watchRuntime()
		s.inbox.put(s.mend) // what went before it was watched again
		s.publish(core.Notice{Type: "superd.degraded",
			Message: fmt.Sprintf("%s: deleted by somebody and made again: %s", s.opt.Config.RuntimeDir, strings.Join(made, ", ")),
			Data:    map[string]any{"made": made}})
	}
}

// mendRuntime tells what it has made again.
func (s *Supervisor) mendRuntime() (made []string, err error) {
	mine, err := s.mendLock()
	if err != nil {
		return nil, err
	}
	if mine {
		made = append(made, "lock")
	}
	var errs []error
	if !s.places.control.still(s.socketPath()) {
		if err := s.rebind(); err != nil {
			errs = append(errs, err)
		} else {
			made = append(made, "control.sock")
		}
	}
	if s.records.lost(s.state) {
		if err := s.records.rewrite(s.state); err != nil {
			errs = append(errs, fmt.Errorf("cannot write the records again: %w", err))
		} else {
			made = append(made, "records")
			s.recorded(nil) // what could not be written while they were away is in them
		}
	}
	parts, err := s.logs.Mend()
	made, errs = append(made, parts...), append(errs, err)
	if name := s.mendKeeper(); name != "" {
		made = append(made, name)
	}
	return made, errors.Join(errs...)
}

// mendLock makes runtime_dir and its lock again. Until the lock is superd's nothing
// else is touched: another superd may have come first, and leaves when it finds
// that state_dir has an owner.
func (s *Supervisor) mendLock() (made bool, err error) {
	dir := s.opt.Config.RuntimeDir
	if store.SameFile(dir+"/lock", s.lock) {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return false, err
	}
	lock, err := store.Lock(dir+"/lock", 0)
	if err != nil {
		return false, err
	}
	s.lock.Close() // of a file that nobody can open any more
	s.lock = lock
	return true, nil
}

// rebind makes the control socket again and puts it behind all doors.
func (s *Supervisor) rebind() error {
	old := s.listener
	if err := s.bind(); err != nil {
		s.listener = old
		return err
	}
	s.places.control = identify(s.socketPath())
	err := s.doors.replace(s.listener.(*net.UnixListener))
	old.Close()
	if err != nil {
		return fmt.Errorf("cannot serve the control socket: %w", err)
	}
	return nil
}

// mendKeeper has a keeper make its socket again, off the loop: one at a time, the
// current one first. It tells the socket's name; empty: all have theirs.
func (s *Supervisor) mendKeeper() string {
	current := s.keepers.current()
	if _, err := os.Lstat(filepath.Join(s.opt.Config.RuntimeDir, keeper.PIDName)); err != nil {
		current.WritePID()
	}
	if s.places.asked {
		return ""
	}
	for _, c := range s.keepers.list() {
		if c.Err() == nil && !s.keepers.ended(c) && !s.places.keepers[c].still(c.Socket()) {
			s.places.asked = true
			go s.bindKeeper(c, current)
			return filepath.Base(c.Socket())
		}
	}
	return ""
}

// bindKeeper has a keeper make its socket again, and then looks for the next one.
func (s *Supervisor) bindKeeper(c, current *keeper.Client) {
	err := c.BindAgain(current)
	s.inbox.put(func() {
		s.places.asked = false
		switch {
		case c.Err() != nil: // another one comes, with its own socket
		case err != nil:
			s.degrade("keeper", fmt.Sprintf("%v (without it, the next superd replaces the keeper)", err))
		default:
			s.degrade("keeper", "")
			s.places.keepers[c] = identify(c.Socket())
			s.mend()
		}
	})
}

// forgot says that what was kept in state_dir was taken away while superd did not live:
// there is nothing in it, and yet this is no first start. What was set aside, or cannot
// be read now, is said elsewhere. runs: some were found.
func (s *Supervisor) forgot(runs bool) string {
	if !s.emptied || !runs && !s.records.older {
		return ""
	}
	return fmt.Sprintf("cannot find what was kept in %s: state.db was deleted or emptied, or state_dir is another one than before "+
		"(it is made again from runtime_dir, the keeper and the configuration; the history of exits begins anew)", s.opt.Config.StateDir)
}

// lookAtRenewals tells that the durable state was deleted and written anew.
func (s *Supervisor) lookAtRenewals() {
	n := s.records.state.Renewals()
	if n == s.places.renewed {
		return
	}
	s.places.renewed = n
	if s.places.vigil != nil {
		s.watchState()
	}
	s.publish(core.Notice{Type: "superd.degraded",
		Message: s.opt.Config.StateDir + ": deleted by somebody and made again: state.db",
		Data:    map[string]any{"made": []string{"state.db"}}})
}

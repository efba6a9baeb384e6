package supervisor

import (
	"errors"
	"fmt"
	"os"

	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/store"
)

// rivalled says of a state_dir that is locked who has it, and what to do. That this
// process has it itself, from a recovery whose disk hangs, is another matter.
func (s *Supervisor) rivalled(err error) error {
	dir := s.opt.Config.StateDir
	pid := store.Holder(dir + "/state.db")
	if !errors.Is(err, store.ErrLocked) || pid == os.Getpid() {
		return err
	}
	todo := "end that one, or use another state_dir"
	if stopped(pid) {
		todo = fmt.Sprintf("it is stopped, and kill -CONT %d has it go on; or use another state_dir", pid)
	}
	return fmt.Errorf("%w: %s has locked the state_dir %s, and two cannot share one (%s)", ErrRunning, named(pid), dir, todo)
}

// silent says of a runtime_dir's lock who has it and does not answer, and what to do.
func silent(lock string) error {
	pid := store.Holder(lock)
	todo := "find out who it is by fuser " + lock
	switch {
	case stopped(pid):
		todo = fmt.Sprintf("it is stopped, and kill -CONT %d has it go on", pid)
	case pid != 0:
		todo = fmt.Sprintf("if it hangs, kill -KILL %d ends it, and the next superd takes over what lives", pid)
	}
	return fmt.Errorf("%w: %s has held %s for %s and does not answer (%s)", ErrRunning, named(pid), lock, lockPatience, todo)
}

// named is a process in words; 0: it is not known which.
func named(pid int) string {
	if pid == 0 {
		return "another process"
	}
	return fmt.Sprintf("pid %d (%s)", pid, proc.Describe(pid).Comm)
}

func stopped(pid int) bool {
	state := proc.Describe(pid).State
	return pid != 0 && (state == "T" || state == "t")
}

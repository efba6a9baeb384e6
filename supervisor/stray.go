package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/proc"
)

// When runtime_dir was deleted and neither superd nor the keeper lived on, nothing
// tells of the workers but they themselves. One is known again by the FIFO that it
// writes to: its name has the run's ID in it, it was opened in the folder that was
// closed to all others, through the mount that superd sees, and it belongs to the
// worker's user. Which worker of that user it is, its environment says; by that
// alone nobody is believed. Who cannot be known is left alone, and it is said.

// strays gives such processes back to their workers, and tells which runs those
// are. It looks only when there is nothing else to go by.
func (s *Supervisor) strays(known bool) map[string]bool {
	restored := map[string]bool{}
	if !s.records.bare || known {
		return restored
	}
	dir, err := filepath.EvalSymlinks(s.opt.Config.RuntimeDir)
	var strays []proc.Writer
	if err == nil {
		strays, err = proc.Writers(dir, dir+"/fifos")
	}
	if err != nil {
		s.damage = append(s.damage, fmt.Sprintf("there may be workers that nobody knows of: %v", err))
		return restored
	}
	for _, stray := range strays {
		p, w, err := s.ownerOf(stray)
		if err != nil {
			s.damage = append(s.damage, fmt.Sprintf("pid %d may be a worker of which there is no record: %v (it is left alone)", stray.PID, err))
			continue
		}
		if n, err := strconv.Atoi(stray.Env["SUPERD_REVISION"]); err == nil && p.Revision(n) != nil {
			w.Revision = n
		}
		s.state.Restore(p, w, stray.Run, core.Found{PID: stray.PID, StartTicks: stray.StartTicks, Started: true}, now())
		restored[stray.Run] = true
		s.unrecorded(p, w.Index, stray.Run, stray.PID)
	}
	return restored
}

// ownerOf finds the worker whose run a process is.
func (s *Supervisor) ownerOf(stray proc.Writer) (*core.Pool, *core.Worker, error) {
	if stray.Env["SUPERD_RUN_ID"] != stray.Run {
		return nil, nil, errors.New("its environment does not say which it is")
	}
	index, err := strconv.Atoi(stray.Env["SUPERD_INDEX"])
	if err != nil {
		return nil, nil, errors.New("its environment does not say which it is")
	}
	name := stray.Env["SUPERD_POOL"]
	p := s.state.Pools[name]
	if p == nil {
		p = s.rebuild(name)
	}
	if p == nil || index < 0 || index >= len(p.Workers) {
		return nil, nil, fmt.Errorf("there is no worker %s/%d", name, index)
	}
	// Users that only name services have cannot be looked up yet.
	account, err := config.LookupAccount(context.Background(), p.Config.User, p.Config.Group, nil)
	if err != nil || uint32(account.UID) != stray.UID {
		return nil, nil, fmt.Errorf("it says that it is %s/%d, and its FIFO belongs to user %d", name, index, stray.UID)
	}
	w := p.Workers[index]
	if w.Run != nil {
		return nil, nil, fmt.Errorf("%s/%d has the run %s, pid %d", name, index, w.Run.ID, w.Run.PID)
	}
	return p, w, nil
}

// rebuild makes a pool of the configuration again that has lost all its records;
// nil when there is none of that name.
func (s *Supervisor) rebuild(name string) *core.Pool {
	c := s.opt.Config.Pools[name]
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolvePatience)
	defer cancel()
	return s.state.Rebuild(core.Spec{Config: c, Release: s.release(ctx, c)}, now())
}

// unrecorded says that a run was taken over of which there was no record.
func (s *Supervisor) unrecorded(p *core.Pool, index int, run string, pid int) {
	text := fmt.Sprintf("%s/%d: there was no record of its run %s, pid %d (taken over as it is)", p.Name, index, run, pid)
	if !s.records.bare {
		s.damage = append(s.damage, text)
		return
	}
	s.log.Warn(text)
	s.places.unrecorded++
}

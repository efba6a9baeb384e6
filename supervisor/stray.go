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

// Where the keeper is dead that had a run, and the run's record is lost, nothing tells
// of it but its process: runtime_dir was deleted while neither superd nor the keeper
// lived, or a file of records was damaged. A process is known again by the FIFO that
// it writes to: its name has the run's ID in it, it was opened in the folder that was
// closed to all others, through the mount that superd sees, and it belongs to the
// worker's user. Which worker of that user it is, its environment says; by that
// alone nobody is believed. Who cannot be known is left alone, and it is said.

// search looks for such processes.
type search struct {
	*Supervisor
	found map[string]core.Found // what the keepers have
	// lost: a keeper may have died that nobody has taken account of. Otherwise a run
	// that none of them knows is over, most likely.
	lost bool
}

// strays gives such processes back to their workers, and tells which runs surely live.
// It looks only when there may be any.
func (s *Supervisor) strays(found map[string]core.Found, started bool) map[string]bool {
	live := map[string]bool{}
	q := search{s, found, started || s.missed() || s.records.bare}
	if !q.lost && !s.records.partial {
		return live
	}
	dir, err := filepath.EvalSymlinks(s.opt.Config.RuntimeDir)
	var strays []proc.Writer
	if err == nil {
		strays, err = proc.Writers(dir, dir+"/fifos", func(run string) bool { _, ok := found[run]; return ok })
	}
	if err != nil {
		s.damage = append(s.damage, fmt.Sprintf("there may be workers that nobody knows of: %v", err))
		return live
	}
	recorded := s.recordedRuns()
	for _, stray := range strays {
		if r := recorded[stray.Run]; r != nil { // else what it has left behind
			live[stray.Run] = live[stray.Run] || r.PID == stray.PID && r.StartTicks == stray.StartTicks
			continue
		}
		p, w, err := q.ownerOf(stray)
		if errors.Is(err, errOver) {
			s.log.Warn("a process writes to the output of a run that is over", "pid", stray.PID, "run", stray.Run)
			continue
		}
		if err != nil {
			s.damage = append(s.damage, fmt.Sprintf("pid %d may be a worker of which there is no record: %v (it is left alone)", stray.PID, err))
			continue
		}
		if n, err := strconv.Atoi(stray.Env["SUPERD_REVISION"]); err == nil && p.Revision(n) != nil {
			w.Revision = n
		}
		s.state.Restore(p, w, stray.Run, core.Found{PID: stray.PID, StartTicks: stray.StartTicks, Started: true}, forkedAt(stray.StartTicks), now())
		recorded[stray.Run], live[stray.Run] = w.Run, true
		s.unrecorded(p, w.Index, stray.Run, stray.PID)
	}
	return live
}

// recordedRuns are the runs that all slots have.
func (s *Supervisor) recordedRuns() map[string]*core.Run {
	runs := map[string]*core.Run{}
	for _, p := range s.state.Pools {
		for _, w := range p.Workers {
			if w.Run != nil {
				runs[w.Run.ID] = w.Run
			}
		}
	}
	return runs
}

// errOver is what is wrong with a process that a run has left behind and that nobody
// answers for any more.
var errOver = errors.New("its run is over")

// ownerOf finds the worker whose run a process is.
func (q search) ownerOf(stray proc.Writer) (*core.Pool, *core.Worker, error) {
	if stray.Env["SUPERD_RUN_ID"] != stray.Run {
		return nil, nil, errors.New("its environment does not say which it is")
	}
	index, err := strconv.Atoi(stray.Env["SUPERD_INDEX"])
	if err != nil {
		return nil, nil, errors.New("its environment does not say which it is")
	}
	name := stray.Env["SUPERD_POOL"]
	p := q.state.Pools[name]
	if p == nil {
		p = q.rebuild(name)
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
	return p, w, q.vacant(p, w, stray)
}

// vacant tells why a worker does not get a process back; nil: it does.
func (q search) vacant(p *core.Pool, w *core.Worker, stray proc.Writer) error {
	if q.records.sound[recordName{p.Name, w.Index}] {
		return errOver // what is recorded comes before the deed
	}
	if w.Run == nil {
		if !q.lost && !stray.Named {
			return errOver
		}
		return nil
	}
	if _, known := q.found[w.Run.ID]; known {
		return errOver
	}
	return fmt.Errorf("%s/%d has the run %s, pid %d", p.Name, w.Index, w.Run.ID, w.Run.PID)
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

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/logs"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// listPatience is how long the keeper may take to say what it has.
const listPatience = 10 * time.Second

// find learns what became of the runs of all loaded workers: from the keeper
// where it has them, else from /proc. Their logs are read on from here. held are
// the names of what the keeper holds. started: the current keeper was started just now.
func (s *Supervisor) find(sameBoot, started bool) (found map[string]core.Found, held []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), listPatience)
	defer cancel()
	listed, held, err := s.keepers.List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot learn from the keeper what lives: %w", err)
	}
	ends := s.fetchEnds(held)
	defer ends.close()
	found = make(map[string]core.Found, len(listed))
	for _, r := range listed {
		if !strings.HasPrefix(r.Run, helperPrefix) {
			found[r.Run] = s.foundOf(r)
		}
	}
	for _, r := range listed {
		switch p, i := s.labelled(r.Label); {
		case strings.HasPrefix(r.Run, helperPrefix):
			s.tellKeeper(s.keepers.Sweep(r.Run))
			s.tellKeeper(s.keepers.Acknowledge(r.Run))
		case p == nil && s.opt.leftovers:
			s.tellKeeper(s.keepers.Sweep(r.Run)) // nobody knows how it is to be stopped
		case p == nil && r.Phase == keeper.PhaseRunning && !r.Gone:
			s.damage = append(s.damage, fmt.Sprintf("the keeper has the run %s of %s, pid %d, and there is no such pool (it is left alone)", r.Run, r.Label, r.PID))
		case p == nil:
		case !r.Gone:
			s.restore(p, i, r, found)
		default:
			s.resumeEnded(p, i, r, ends)
		}
	}
	live := s.strays(found, started)
	for _, p := range s.state.Pools {
		for _, w := range p.Workers {
			if w.Run == nil {
				continue
			}
			f, ok := found[w.Run.ID]
			if !ok && !sameBoot && !live[w.Run.ID] {
				continue // its pid is of another boot
			}
			s.resumeLog(p, w, ends)
			if !ok {
				f, ok = s.orphan(p, w)
			}
			if ok {
				found[w.Run.ID] = f
			}
			if ok && f.End == nil && f.Failed == nil && !f.Pending {
				s.adopted++
			}
		}
	}
	return found, held, nil
}

// foundOf puts what the keeper knows of a run into the core's words.
func (s *Supervisor) foundOf(r keeper.RunState) core.Found {
	f := core.Found{PID: r.PID, StartTicks: r.StartTicks, Gone: r.Gone, Signals: r.Signals}
	switch r.Phase {
	case keeper.PhaseFailed:
		f.Failed = &core.Fail{Stage: r.Stage, Reason: r.Reason}
	case keeper.PhaseRunning:
		f.Started = true
	case keeper.PhaseEnded:
		end := s.endOf(r.Run, r.Status, r.PID, r.StartTicks, r.Heard)
		f.Started, f.End = true, &end
	}
	return f
}

// resumeLog reads on where an earlier superd was in the log of a worker's run.
func (s *Supervisor) resumeLog(p *core.Pool, w *core.Worker, ends ends) {
	r := p.Revision(w.Run.Revision)
	if r == nil {
		return
	}
	spec := logSpec(r.Config, w.Index, 0)
	if err := s.logs.Recover(w.Run.ID, spec, s.pipesOf(w.Run, ends)); err != nil && w.Run.PID != 0 {
		s.damage = append(s.damage, err.Error())
	}
}

// pipesOf gives the reading ends of a run's FIFOs by their names: the keeper's, or,
// where the FIFO's own name is gone too, those that its process has.
func (s *Supervisor) pipesOf(r *core.Run, ends ends) func(string) (*os.File, error) {
	return func(name string) (*os.File, error) {
		f, err := ends.take(name)
		if err == nil || r.PID == 0 {
			return f, err
		}
		if _, there := os.Lstat(s.opt.Config.RuntimeDir + "/fifos/" + name); there == nil {
			return nil, err
		}
		return proc.OpenOutput(r.PID, r.StartTicks, name)
	}
}

// labelled is the pool and the worker that a run was started for.
func (s *Supervisor) labelled(label string) (*core.Pool, int) {
	pool, index, ok := strings.Cut(label, "/")
	i, err := strconv.Atoi(index)
	if !ok || err != nil {
		return nil, 0
	}
	p := s.state.Pools[pool]
	if p == nil {
		p = s.rebuild(pool)
	}
	return p, i
}

// restore gives a worker back the run that the keeper has for it and of which
// there is no record: the disk for the records was full when it was started, say.
// A run that is recorded and lives has the slot; the other one is left alone, and
// that is said.
func (s *Supervisor) restore(p *core.Pool, i int, r keeper.RunState, found map[string]core.Found) {
	if i >= len(p.Workers) {
		s.damage = append(s.damage, fmt.Sprintf("%s has the run %s, pid %d, and no worker for it (it is left alone)", p.Name, r.Run, r.PID))
		return
	}
	w := p.Workers[i]
	if w.Run != nil && w.Run.ID == r.Run {
		return
	}
	if w.Run != nil {
		if other, ok := found[w.Run.ID]; ok && !other.Gone {
			s.damage = append(s.damage, fmt.Sprintf("%s/%d has two runs, %s and %s, pid %d (the second is left alone)", p.Name, i, w.Run.ID, r.Run, r.PID))
			return
		}
	}
	s.state.Restore(p, w, r.Run, found[r.Run], forkedAt(r.StartTicks), now())
	s.unrecorded(p, i, r.Run, r.PID)
}

// resumeEnded reads the last words of a run that has ended, and whose worker has
// gone on since.
func (s *Supervisor) resumeEnded(p *core.Pool, i int, r keeper.RunState, ends ends) {
	if i < len(p.Workers) && p.Workers[i].Run != nil && p.Workers[i].Run.ID == r.Run {
		return
	}
	if err := s.logs.Recover(r.Run, logSpec(p.Config, i, 0), ends.take); err != nil {
		s.damage = append(s.damage, err.Error())
	}
}

// orphan finds the process of a run that the keeper does not know, and has it
// watched by the keeper there is now. A run without a recorded pid is found by
// its FIFO, which nobody else can hold: its folder is closed to others.
func (s *Supervisor) orphan(p *core.Pool, w *core.Worker) (core.Found, bool) {
	run := w.Run
	pid, ticks := run.PID, run.StartTicks
	if pid == 0 || ticks == 0 {
		var err error
		if pid, ticks, err = fifoHolder(s.fifo(run.ID, "out")); err != nil {
			return s.unclear(p, w, err), true
		}
	}
	if pid == 0 {
		return core.Found{}, false
	}
	now, err := proc.StartTicks(pid)
	if err != nil && !proc.Absent(err) {
		return s.unclear(p, w, err), true
	}
	if err != nil || now != ticks {
		return core.Found{}, false // ended, or the pid is somebody else's by now
	}
	a := keeper.Adopt{Run: run.ID, PID: pid, StartTicks: ticks, Label: fmt.Sprintf("%s/%d", p.Name, w.Index)}
	if r := p.Revision(run.Revision); r != nil {
		a.KillScope = r.Config.KillScope
	}
	if a.KillScope == config.ScopeCgroup {
		a.Cgroup = s.prepare.cgroupOf(run.ID)
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", pid), &st); err == nil {
		a.UID = st.Uid
	}
	aim.At("adopt.found")
	if err := s.keepers.Adopt(a); err != nil {
		return s.unclear(p, w, err), true
	}
	aim.At("adopt.asked")
	return core.Found{PID: pid, StartTicks: ticks, Started: true}, true
}

// unclear is what is known of a run whose process may live and could not be looked
// at, or be handed to the keeper: it is left as it is, and looked for again. A
// second one must not be started meanwhile.
func (s *Supervisor) unclear(p *core.Pool, w *core.Worker, err error) core.Found {
	s.unsure = true
	s.degrade("orphans", fmt.Sprintf("cannot find out whether %s/%d lives: %v (retrying every %s)", p.Name, w.Index, err, recheckPause))
	return core.Found{Pending: true}
}

// recheckPause is how long after it could not be found out what lives it is tried
// again.
const recheckPause = time.Second

// mayRecheck has what could not be found out be looked for again.
func (s *Supervisor) mayRecheck() {
	if !s.unsure {
		s.degrade("orphans", "")
		return
	}
	s.unsure = false
	s.later(&s.awaited, recheckPause, s.recheck)
}

// recheckSoon has it compared by the loop, once for all who ask before that is begun:
// with a keeper all the spawns are lost that are on their way to it. It may be called
// from anywhere.
func (s *Supervisor) recheckSoon() {
	if s.doubted.Swap(true) {
		return
	}
	s.inbox.put(func() {
		s.doubted.Store(false)
		s.recheck()
	})
}

// fifoHolder is the leader of the session whose standard output is a run's FIFO;
// pid 0: there is none.
func fifoHolder(fifo string) (pid int, ticks uint64, err error) {
	var st unix.Stat_t
	err = unix.Stat(fifo, &st)
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: fifo, Err: err}
	}
	holders, err := proc.HoldersOf(st.Dev, st.Ino)
	if err != nil {
		return 0, 0, err
	}
	for _, pid := range holders {
		stat, err := proc.ReadStat(pid)
		if err != nil && !proc.Absent(err) {
			return 0, 0, err
		}
		if err == nil && stat.SID == pid {
			return pid, stat.StartTicks, nil
		}
	}
	return 0, 0, nil
}

func (s *Supervisor) fifo(run, stream string) string {
	return fifoIn(s.opt.Config.RuntimeDir, run, stream)
}

func fifoIn(dir, run, stream string) string { return dir + "/fifos/" + run + "." + stream }

// prune removes what is left of the logs of runs that nobody knows any more.
func (s *Supervisor) prune(found map[string]core.Found) {
	live := map[string]bool{}
	for run := range found {
		live[run] = true
	}
	for _, p := range s.state.Pools {
		for _, w := range p.Workers {
			if w.Run != nil {
				live[w.Run.ID] = true
			}
		}
	}
	if err := s.logs.Prune(func(run string) bool { return live[run] || s.draining[run] }); err != nil {
		s.log.Warn("some files of old logs stay", "error", err)
	}
}

// recheck compares what the core believes to live with what does.
func (s *Supervisor) recheck() {
	found, err := s.refind()
	if err != nil {
		s.log.Warn("the keeper does not say what lives", "error", err)
		if !errors.Is(err, keeper.ErrLost) { // else the next one will be asked
			s.later(&s.awaited, recheckPause, s.recheck)
		}
		return
	}
	s.step(core.Recheck{Found: found})
	s.agreed()
	s.mayRecheck()
}

// refind learns from the keeper there is now, or from /proc, what lives.
func (s *Supervisor) refind() (map[string]core.Found, error) {
	ctx, cancel := context.WithTimeout(context.Background(), listPatience)
	defer cancel()
	pending := s.prepare.pending() // before it is asked: what is handed over meanwhile is not lost
	listed, _, err := s.keepers.List(ctx)
	if err != nil {
		return nil, err
	}
	found := make(map[string]core.Found, len(listed))
	for _, r := range listed {
		found[r.Run] = s.foundOf(r)
	}
	for _, p := range s.state.Pools {
		for _, w := range p.Workers {
			if w.Run == nil {
				continue
			}
			if _, ok := found[w.Run.ID]; ok {
				continue
			}
			if pending[w.Run.ID] {
				found[w.Run.ID] = core.Found{Pending: true}
			} else if f, ok := s.orphan(p, w); ok {
				found[w.Run.ID] = f
			}
		}
	}
	return found, nil
}

// reopenPipes opens the FIFOs of a run whose log is read already; nil without an
// error: there are none.
func (s *Supervisor) reopenPipes(run string) (*logs.Pipes, error) {
	if _, reading := s.logs.Stats(run); !reading {
		return nil, nil
	}
	p := &logs.Pipes{Read: map[string]*os.File{}}
	for _, stream := range []string{"out", "err"} {
		write, err := os.OpenFile(s.fifo(run, stream), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			p.Close()
			return nil, err
		}
		if p.Stdout == nil {
			p.Stdout = write
		}
		p.Stderr = write
		read, err := os.OpenFile(s.fifo(run, stream), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			p.Close()
			return nil, err
		}
		p.Read[run+"."+stream] = read
	}
	if p.Stdout == nil {
		return nil, nil
	}
	return p, nil
}

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/logs"
	"github.com/superd/superd/supervisor/proc"
)

// execute does one thing that the core has decided.
func (s *Supervisor) execute(at core.Time, a core.Action) {
	switch a := a.(type) {
	case core.SaveExit:
		s.keptExit(s.records.saveExit(newExit(a)))
	case core.SavePool:
		s.show.pool(a.Pool.Name)
		s.mayWatch(a.Pool)
		s.recorded(s.records.savePool(a.Pool))
	case core.SaveWorker:
		s.show.worker(a.Pool, a.Worker)
		s.mayWatch(a.Pool)
		s.recorded(s.records.saveWorker(a.Pool, a.Worker))
	case core.DropWorkers:
		s.show.pool(a.Pool.Name)
		s.recorded(s.records.dropWorkers(a.Pool.Name, a.Count))
	case core.DropPool:
		s.show.pool(a.Name)
		s.recorded(s.records.dropPool(a.Name))
	case core.Spawn:
		aim.At("spawn.recorded")
		s.prepare.spawn(newPreparation(a))
	case core.CancelSpawn:
		s.cancelSpawn(a.Run)
	case core.Signal:
		aim.At("signal.recorded")
		s.signal(a)
	case core.Sweep:
		s.tellKeeper(s.keepers.Sweep(a.Run))
	case core.Forget:
		aim.At("end.recorded")
		s.draining[a.Run] = true
		s.titles.forget(a.Run)
		s.logs.Ended(a.Run) // Drained follows, and the keeper is told then
	case core.Publish:
		s.publishAt(at, a.Notice)
	case core.Answer:
		aim.At("request.done")
		if answer := s.replies[a.Ref]; answer != nil {
			answer <- a.Reply
			delete(s.replies, a.Ref)
		}
	case core.Quit:
		s.quit = &a
	default:
		panic(fmt.Sprintf("supervisor: unknown action %T", a))
	}
}

// signal has a signal sent, and records that it was: a successor that finds another
// keeper could not know, and would count the time after a signal that never came.
func (s *Supervisor) signal(a core.Signal) {
	err := s.keepers.of(a.Run).Signal(a.Run, a.Signal, a.Scope, a.Number)
	aim.At("signal.sent")
	s.tellKeeper(err)
	if err != nil {
		return
	}
	if p, w := s.state.Handed(a.Run, a.Number); w != nil {
		s.recorded(s.records.saveWorker(p, w))
	}
}

// recorded takes note of whether the runtime records can be written. A worker
// that cannot be recorded is supervised all the same: what is at risk is what
// the next superd knows, and that is said.
func (s *Supervisor) recorded(err error) {
	if err == nil && len(s.records.behind) == 0 {
		s.degrade("records", "")
		return
	}
	if err != nil && s.trouble["records"] == "" {
		s.degrade("records", fmt.Sprintf("%v (superd goes on; after a crash it would know less; it is tried again every %s)", err, mendPause))
	}
	s.later(&s.catching, mendPause, s.catchUp)
}

// catchUp writes the runtime records again that could not be written.
func (s *Supervisor) catchUp() {
	s.records.catchUp(s.state)
	s.recorded(nil)
}

// keptExit takes note of whether exits are safe until they are on disk.
func (s *Supervisor) keptExit(err error) {
	why := ""
	if err != nil {
		why = err.Error() + " (superd goes on; were it killed now, the history of exits would lack some)"
	}
	s.degrade("exits", why)
}

// tellKeeper looks at what came of a message to the keeper. That the connection
// is lost shows in its events, and is dealt with there.
func (s *Supervisor) tellKeeper(err error) {
	if err != nil && !errors.Is(err, keeper.ErrLost) {
		s.log.Error("the keeper cannot do as told", "error", err)
	}
}

// publish gives a notice its place in history, and in superd's own log.
func (s *Supervisor) publish(n core.Notice) { s.publishAt(now(), n) }

func (s *Supervisor) publishAt(at core.Time, n core.Notice) {
	e := s.history.add(at.Wall, n)
	s.show.info = true // a snapshot says up to which event it goes
	if !s.log.Enabled(context.Background(), levelOf(n.Type)) {
		return
	}
	attrs := []any{slog.Uint64("seq", e.Seq)}
	if n.Worker != "" {
		attrs = append(attrs, slog.String("worker", n.Worker))
	} else if n.Pool != "" {
		attrs = append(attrs, slog.String("pool", n.Pool))
	}
	if n.Message != "" {
		attrs = append(attrs, slog.String("message", n.Message))
	}
	s.log.Log(context.Background(), levelOf(n.Type), n.Type, attrs...)
}

// levelOf is how loud an event is in superd's own log.
func levelOf(kind string) slog.Level {
	switch kind {
	case "worker.failed", "deployment.failed", "keeper.lost", "config.rejected":
		return slog.LevelError
	case "worker.delayed", "worker.unhealthy", "worker.killed", "superd.degraded", "log.dropped", "log.stalled":
		return slog.LevelWarn
	case "worker.ready", "worker.healthy", "deployment.step", "log.rotated":
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// cancelSpawn gives up a spawn that has not reached the keeper. One that has is
// answered by the keeper.
func (s *Supervisor) cancelSpawn(run string) {
	if why, ok := s.prepare.cancel(run); ok {
		s.inbox.put(func() { s.step(core.SpawnFailed{Run: run, Fail: why}) })
	}
}

// victims are those whom the kernel kills for want of memory.
type victims = proc.OOM

// endOf puts the exit status of a run's process into the core's words. heard is when
// the keeper told of it.
func (s *Supervisor) endOf(run string, st proc.ExitStatus, pid int, ticks uint64, heard time.Time) core.End {
	if st.Unknown {
		return core.End{Unknown: true}
	}
	e := core.End{Code: st.Code, Core: st.Core}
	if st.Signal != 0 {
		e.Signal = signals.Name(st.Signal)
		e.OOM = st.Signal == syscall.SIGKILL && s.state.Unexplained(run) && s.oom.Killed(pid, ticks, heard)
	}
	return e
}

// reportStuck tells of processes that KILL does not end.
func (s *Supervisor) reportStuck(ev keeper.Event) {
	for _, l := range ev.Leftovers {
		s.step(core.Warned{Run: ev.Run, Message: fmt.Sprintf("pid %s does not go", l)})
	}
}

// logSpec is what the logs need to know of a run.
func logSpec(c *config.Pool, index int, gid int) logs.Spec {
	return logs.Spec{Pool: c.Name, Index: index, Worker: fmt.Sprintf("%s/%d", c.Name, index), GID: gid, Log: c.Log}
}

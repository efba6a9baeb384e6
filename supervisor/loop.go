package supervisor

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/logs"
)

// batch is how many events are dealt with before readers get a new snapshot.
const batch = 256

// drainPatience is how long the last lines of the last runs are waited for.
const drainPatience = 5 * time.Second

// Run is the loop. It ends when everything was stopped as told, or left alone
// as told, and returns superd's exit code.
func (s *Supervisor) Run() (code int) {
	defer close(s.done)
	go s.rest.watch(s.done)
	s.succeed()
	s.prepare.begin()
	go s.learnFirstNames()
	for s.quit == nil {
		s.publishState()
		s.watchWork()
		if at, ok := s.state.Deadline(); true {
			if err := s.clock.arm(at, ok); err != nil {
				s.degrade("clock", fmt.Sprintf("cannot set the timer: %v", err))
			}
		}
		s.report()
		s.wait()
		s.rest.stir()
		for range batch {
			if s.quit != nil || !s.poll() {
				break
			}
		}
	}
	s.stopping = true
	s.show.info = true
	s.publishState()
	s.report()
	s.end()
	return s.quit.Code
}

// wait blocks until there is something to do, and does it.
func (s *Supervisor) wait() {
	select {
	case <-s.clock.ring:
		s.clock.set = 0 // it has gone off
		s.step(core.Tick{})
	case do := <-s.requests:
		do()
	case <-s.inbox.filled:
		s.takeInbox()
	case t := <-s.keepers.told:
		s.fromKeeper(t)
	case <-s.records.state.Changed():
		s.lookAtState()
	case <-s.reporter.due():
		s.reporter.set = time.Time{} // it has gone off, and report is called next
	}
}

// poll does the next thing if there is one.
func (s *Supervisor) poll() bool {
	select {
	case do := <-s.requests:
		do()
	case <-s.inbox.filled:
		s.takeInbox()
	case t := <-s.keepers.told:
		s.fromKeeper(t)
	default:
		return false
	}
	return true
}

// step tells the core what happened and does what follows.
func (s *Supervisor) step(ev core.Event) {
	at := now()
	for _, a := range s.state.Step(at, ev) {
		s.execute(at, a)
	}
}

// publishState shows readers what has changed.
func (s *Supervisor) publishState() {
	s.show.publish(s.state, now(), s.history.seq(), s.info)
}

// info is what superd says of itself.
func (s *Supervisor) info() Info {
	cfg := s.config.Load()
	in := Info{Version: s.opt.Version, PID: os.Getpid(), StartedAt: s.started, ConfigFile: cfg.File,
		ConfigPending: s.pending, Adopted: s.adopted, Stopping: s.stopping || s.state.Leaving != nil,
		Viewers: cfg.Viewers, Operators: cfg.Operators}
	if s.keepers != nil {
		in.KeeperPID = s.keepers.current().PID()
	}
	if known := s.known.Load(); known != nil {
		in.Accounts = *known
	}
	in.Degraded = append(in.Degraded, s.damage...)
	for _, what := range slices.Sorted(maps.Keys(s.trouble)) {
		in.Degraded = append(in.Degraded, s.trouble[what])
	}
	return in
}

// lookAtState passes on whether the durable state can be written.
func (s *Supervisor) lookAtState() {
	why := ""
	if d := s.records.state.Degraded(); len(d) > 0 {
		why = d[len(d)-1]
	}
	s.degrade("state", why)
	s.lookAtRenewals()
}

// fromKeeper brings the core what a keeper tells, or gets another keeper.
func (s *Supervisor) fromKeeper(t told) {
	ev := t.Event
	if t.lost {
		s.keeperLost(t.by)
		return
	}
	if s.keepers.stray(t) {
		return
	}
	if s.helpers.take(ev) {
		if ev.Gone || ev.Kind == keeper.SpawnFailed || ev.Kind == keeper.Gone {
			s.tellKeeper(s.keepers.Acknowledge(ev.Run))
		}
		return
	}
	for _, w := range ev.Warnings {
		s.step(core.Warned{Run: ev.Run, Message: w})
	}
	switch ev.Kind {
	case keeper.Forked:
		s.step(core.Forked{Run: ev.Run, PID: ev.PID, StartTicks: ev.StartTicks})
	case keeper.Started:
		aim.At("spawn.answered")
		s.step(core.Started{Run: ev.Run, PID: ev.PID, StartTicks: ev.StartTicks})
	case keeper.SpawnFailed:
		s.step(core.SpawnFailed{Run: ev.Run, Fail: core.Fail{Stage: ev.Stage, Reason: ev.Reason}})
	case keeper.Exited:
		aim.At("end.told")
		s.step(core.Exited{Run: ev.Run, End: s.endOf(ev.Run, ev.Status, ev.PID, ev.StartTicks, ev.Heard), Gone: ev.Gone})
	case keeper.Gone:
		s.step(core.Gone{Run: ev.Run})
	case keeper.Stuck:
		s.reportStuck(ev)
	}
}

// inbox is a queue into the loop that never blocks the sender: what goes in is
// bounded by the number of runs.
type inbox struct {
	mu     sync.Mutex
	queue  []func()
	filled chan struct{}
}

func newInbox() *inbox { return &inbox{filled: make(chan struct{}, 1)} }

// put has the loop do something soon.
func (b *inbox) put(do func()) {
	b.mu.Lock()
	b.queue = append(b.queue, do)
	b.mu.Unlock()
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// later has the loop do something after a pause: once for all who want it meanwhile,
// which set remembers. It is the loop's alone.
func (s *Supervisor) later(set *bool, pause time.Duration, do func()) {
	if *set {
		return
	}
	*set = true
	time.AfterFunc(pause, func() {
		s.inbox.put(func() {
			*set = false
			do()
		})
	})
}

func (s *Supervisor) takeInbox() {
	s.inbox.mu.Lock()
	queue := s.inbox.queue
	s.inbox.queue = nil
	s.inbox.mu.Unlock()
	for _, do := range queue {
		do()
	}
}

// fromLogs is called by the goroutines of the logs.
func (s *Supervisor) fromLogs(n logs.Notice) {
	s.inbox.put(func() {
		if n.Kind == logs.Drained {
			s.drained(n.Run)
			return
		}
		s.publish(logNotice(n))
	})
}

// drained: nobody needs the run any more, its end is recorded and its last line is
// where it belongs.
func (s *Supervisor) drained(run string) {
	aim.At("end.drained")
	s.tellKeeper(s.keepers.Acknowledge(run))
	aim.At("end.acknowledged")
	delete(s.draining, run)
}

// logNotice puts a notice of the logs into the words of an event.
func logNotice(n logs.Notice) core.Notice {
	ev := core.Notice{Type: string(n.Kind), Pool: n.Pool, Worker: n.Worker, RunID: n.Run,
		Data: map[string]any{"file": n.File}}
	switch n.Kind {
	case logs.Dropped:
		if n.Bytes > 0 || n.Err == nil {
			ev.Message = fmt.Sprintf("%d bytes dropped", n.Bytes)
		}
		ev.Data["bytes"], ev.Data["lines"] = n.Bytes, n.Lines
	case logs.Stalled:
		if n.For > 0 {
			ev.Message = fmt.Sprintf("goes on after %s", n.For.Round(time.Millisecond))
			ev.Data["seconds"] = n.For.Seconds()
		}
	case logs.Rotated:
		ev.Message = n.File
	}
	if n.Err != nil {
		if ev.Message != "" {
			ev.Message += ": "
		}
		ev.Message += n.Err.Error()
		ev.Data["error"] = n.Err.Error()
	}
	return ev
}

// end lets go of everything. Detached, the keeper and the workers stay.
func (s *Supervisor) end() {
	s.listener.Close()
	s.doors.close()
	if !s.quit.Detached {
		s.drain()
		s.endHelpers()
	}
	s.prepare.close()
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	if err := s.logs.Close(ctx); err != nil {
		s.log.Warn("logs are left as they are", "error", err)
	}
	s.endKeepers()
	if !s.quit.Detached && !s.given {
		os.Remove(s.socketPath())
	}
	if err := s.records.close(); err != nil {
		s.log.Warn("the durable state may be behind", "error", err)
	}
	s.clock.close()
	if s.places.vigil != nil {
		s.places.vigil.close()
	}
	s.lock.Close()
	s.opt.Service.Flush(time.Second)
}

// drain waits until the logs of the last runs are where they belong.
func (s *Supervisor) drain() {
	late := time.NewTimer(drainPatience)
	defer late.Stop()
	for len(s.draining) > 0 {
		select {
		case <-s.inbox.filled:
			s.takeInbox()
		case t := <-s.keepers.told:
			if t.lost && t.by == s.keepers.current() {
				return
			}
			s.helpers.take(t.Event)
		case <-late.C:
			s.log.Warn("some output was not written", "runs", len(s.draining))
			return
		}
	}
}

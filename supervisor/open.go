package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/logs"
	"github.com/superd/superd/supervisor/store"
	"golang.org/x/sys/unix"
)

// lockPatience is how long a predecessor may take to die. What it left between
// fork and exec holds its lock too: whoever has the lock knows that no process
// is on its way that nobody counts.
var lockPatience = 30 * time.Second // changed by tests alone

// ErrRunning means that another superd has the same runtime_dir or state_dir.
var ErrRunning = errors.New("another superd runs")

// Open recovers: it takes the lock, reads what was recorded, asks the keeper
// what lives, and has the core decide what follows. When it returns, Run may be
// called and the control socket be served.
func Open(opt Options) (*Supervisor, error) {
	if err := checkBudget(opt.Config, 0); err != nil {
		return nil, err
	}
	s := newSupervisor(opt)
	if err := s.takeFolder(); err != nil {
		return nil, err
	}
	for left := recoveries - 1; ; left-- {
		err := s.open()
		if err == nil {
			return s, nil
		}
		if left == 0 || !errors.Is(err, keeper.ErrLost) {
			s.lock.Close()
			return nil, err
		}
		// What was learnt from it may be half of what there is, and nothing was
		// decided yet: the same once more, with another keeper.
		s.log.Warn("superd recovers once more, with another keeper", "error", err)
		s = s.again()
	}
}

// recoveries is how often superd recovers in a row when keepers die meanwhile.
const recoveries = 5

func newSupervisor(opt Options) *Supervisor {
	s := &Supervisor{opt: opt, log: opt.Log, started: time.Now(), show: newShowcase(), inbox: newInbox(), rest: newRest(),
		requests: make(chan request, 64), done: make(chan struct{}), replies: map[uint64]chan<- core.Reply{},
		trouble: map[string]string{}, draining: map[string]bool{},
		watcher: watcher{pools: map[string]bool{}}}
	s.config.Store(opt.Config)
	return s
}

// again lets go of everything that a recovery has opened before it failed, and
// gives a supervisor that can begin anew. The lock stays, and the control socket:
// whoever has called meanwhile waits on.
func (s *Supervisor) again() *Supervisor {
	next := newSupervisor(s.opt)
	next.lock, next.doomed, next.listener, next.given = s.lock, s.doomed, s.listener, s.given
	next.unread, next.emptied = s.unread, s.emptied // by now it looks as if all were well
	if s.prepare != nil {
		s.prepare.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	if err := s.logs.Close(ctx); err != nil {
		s.log.Warn("logs are left as they are", "error", err)
	}
	if s.keepers != nil {
		for _, c := range s.keepers.list() {
			c.Close()
		}
		s.keepers.close()
	}
	if err := s.records.close(); err != nil {
		s.log.Warn("the durable state may be behind", "error", err)
	}
	s.clock.close()
	return next
}

// open is what Open does once it has the lock.
func (s *Supervisor) open() error {
	opt := s.opt
	var err error
	os.RemoveAll(opt.Config.RuntimeDir + "/try") // of a superd that was killed in an upgrade
	if s.records, err = openRecords(opt.Config.RuntimeDir, opt.Config.StateDir); err != nil {
		return tooOld(s.rivalled(fmt.Errorf("cannot keep records: %w", err)))
	}
	if err := s.checkMoved(); err != nil {
		s.records.close()
		return err
	}
	if err := logs.CheckNotes(opt.Config.RuntimeDir); errors.Is(err, logs.ErrNewer) {
		return tooOld(err)
	}
	if s.clock, err = newAlarmClock(); err != nil {
		return err
	}
	s.logs, err = logs.New(logs.Options{RuntimeDir: opt.Config.RuntimeDir, LogDir: opt.Config.LogDir, Notify: s.fromLogs,
		Hold:  func(name string, f *os.File) error { return s.keepers.Hold(name, f) },
		Fetch: func(name string) (*os.File, error) { return s.keepers.Fetch(name) },
	})
	if err != nil {
		return err
	}
	return s.recover()
}

// tooOld says what to do about files that a newer superd has written. They are as they
// were, and so is everything else.
func tooOld(err error) error {
	if !errors.Is(err, store.ErrNewer) && !errors.Is(err, logs.ErrNewer) {
		return err
	}
	return fmt.Errorf("%w (nothing was changed: start that superd again, or move the file away to begin without what is in it)", err)
}

// takeFolder makes runtime_dir and takes its lock.
func (s *Supervisor) takeFolder() error {
	dir := s.opt.Config.RuntimeDir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make runtime_dir: %w", err)
	}
	// What is in it is guarded piece by piece; the control socket is for everybody.
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("cannot open runtime_dir to clients: %w", err)
	}
	if s.opt.Lock != nil && store.SameFile(dir+"/lock", s.opt.Lock) {
		s.lock = s.opt.Lock // it was never let go
		return nil
	}
	for deadline := time.Now().Add(lockPatience); ; {
		lock, err := store.Lock(dir+"/lock", time.Second)
		if err == nil {
			s.lock = lock
			return nil
		}
		if !errors.Is(err, store.ErrLocked) {
			return err
		}
		if lock, pid, err := store.TakeOver(dir + "/lock"); err == nil {
			s.lock, s.doomed = lock, pid
			return nil
		}
		if answers(s.socketPath()) {
			return fmt.Errorf("%w: it answers on %s (stop it with superctl shutdown, or use another runtime_dir)", ErrRunning, s.socketPath())
		}
		if time.Now().After(deadline) {
			return silent(dir + "/lock")
		}
	}
}

// recover is the only way to start.
func (s *Supervisor) recover() error {
	seed, err := randomSeed()
	if err != nil {
		return err
	}
	s.state = core.New(seed)
	s.state.Marks = true
	sameBoot, damage, err := s.records.load(s.state)
	if err != nil {
		return fmt.Errorf("cannot read the records: %w", err)
	}
	s.note(damage)
	aim.At("recover.loaded")
	s.history = newHistory(s.records.host.Seq, func(limit uint64) { s.recorded(s.records.reserveSeq(limit)) })
	s.history.resize(workersIn(s.opt.Config))
	all, started, err := keeper.DialAll(s.opt.Config.RuntimeDir, s.keeperOptions())
	if err != nil {
		return err
	}
	s.keepers = newKeepers(all)
	s.prepare = newPreparer(s)
	s.publish(core.Notice{Type: "superd.started", PID: os.Getpid(), Message: "version " + s.opt.Version,
		Data: map[string]any{"version": s.opt.Version}})
	if started {
		s.publish(core.Notice{Type: "keeper.started", PID: all[0].PID()})
	}
	aim.At("recover.connected")
	s.gather()
	if err := s.listen(); err != nil {
		return err
	}
	aim.At("recover.listening")
	found, held, err := s.find(sameBoot, started)
	if err != nil {
		return err
	}
	if started {
		s.rehold()
	} else if err := s.logs.HoldMissing(held, s.keepers.Hold); err != nil {
		s.log.Warn("last words may be lost if superd dies as well", "error", err)
	}
	aim.At("recover.found")
	if n := s.places.unrecorded; n > 0 {
		s.damage = append(s.damage, fmt.Sprintf("runtime_dir had lost its records (%d runs were taken over as they are)", n))
	}
	if why := s.forgot(len(found) > 0); why != "" {
		s.damage = append(s.damage, why)
	}
	for _, d := range s.damage {
		s.publish(core.Notice{Type: "superd.degraded", Message: d})
	}
	s.lookAtState()
	begin := core.Begin{Found: found, SameBoot: sameBoot, KeeperLost: started || s.missed()}
	if s.opt.leftovers {
		begin.Leave = &core.Leave{By: "superd leftovers"}
	} else {
		begin.Specs = s.specs(context.Background(), s.opt.Config)
	}
	aim.At("recover.begin")
	s.step(begin)
	aim.At("recover.decided")
	s.records.replayExits(s.state)
	s.recorded(s.records.belong())
	if !s.opt.leftovers {
		s.recorded(s.records.keepIn(s.opt.Config.RuntimeDir))
	}
	s.agreed()
	s.mayRecheck()
	s.prune(found)
	aim.At("recover.pruned")
	s.watchPlaces()
	s.takeover()
	s.outlive()
	s.show.info = true
	s.publishState()
	return nil
}

// note remembers what could not be read, however often superd has to recover.
func (s *Supervisor) note(damage []string) {
	for _, d := range damage {
		if !slices.Contains(s.unread, d) {
			s.unread = append(s.unread, d)
		}
	}
	s.damage = slices.Clone(s.unread)
	s.emptied = s.emptied || s.records.state.Fresh()
}

// outlive says that the superd before has not come to its end.
func (s *Supervisor) outlive() {
	pid := s.doomed
	if pid == 0 {
		return
	}
	s.degrade("doomed", fmt.Sprintf("the superd before, pid %d, was killed and cannot end: a disk does not answer it (superd goes on without waiting for it)", pid))
	go func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-s.done:
				tick.Stop()
				return
			case <-tick.C:
			}
			if unix.Kill(pid, 0) != nil {
				tick.Stop()
				s.Degrade("doomed", func() string { return "" })
				return
			}
		}
	}()
}

func randomSeed() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("cannot get a random number: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

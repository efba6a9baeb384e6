package supervisor

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/service"
	"golang.org/x/sys/unix"
)

// Apply implements API.
func (s *Supervisor) Apply(ctx context.Context, by string) (*ApplyResult, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.opt.Service.Tell(service.Reloading())
	defer s.opt.Service.Tell(service.Ready)
	cfg, err := s.opt.Load()
	if err == nil {
		err = s.fits(cfg)
	}
	if err != nil {
		_ = s.ask(ctx, func() {
			s.pending = true
			s.publish(core.Notice{Type: "config.rejected", Message: err.Error(), Data: map[string]any{"by": by}})
		})
		return nil, err
	}
	specs := s.specs(ctx, cfg)
	known, warnings := s.learnNames(ctx, cfg)
	observe := s.lookBefore(ctx, slices.Collect(maps.Keys(cfg.Pools))...)
	var result *ApplyResult
	applied := make(chan struct{})
	err = s.ask(ctx, func() {
		defer close(applied)
		observe()
		s.known.Store(&known)
		result = s.apply(cfg, specs, by)
		result.Warnings = append(result.Warnings, warnings...)
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-applied:
		return result, nil
	case <-s.done:
		return nil, ErrStopped
	}
}

// apply takes an accepted configuration on. It runs on the loop.
func (s *Supervisor) apply(cfg *config.Config, specs []core.Spec, by string) *ApplyResult {
	result := s.foresee(cfg)
	s.config.Store(cfg)
	s.pending = false
	s.history.resize(workersIn(cfg))
	s.publish(core.Notice{Type: "config.applied", Message: cfg.File, Data: map[string]any{"by": by,
		"added": result.Added, "removed": result.Removed, "changed": result.Changed, "scaled": result.Scaled}})
	s.step(core.Configure{Specs: specs})
	for _, name := range append(slices.Clone(result.Added), result.Changed...) {
		if p := s.state.Pools[name]; p != nil && p.Deployment != nil {
			result.Deployments = append(result.Deployments, p.Clone(nil).Deployment)
		}
	}
	for _, name := range result.InPlace {
		s.logs.Reconfigure(name, cfg.Pools[name].Log)
	}
	result.Seq = s.history.seq()
	return result
}

// foresee says what applying a configuration changes.
func (s *Supervisor) foresee(cfg *config.Config) *ApplyResult {
	r := &ApplyResult{}
	for _, w := range cfg.Warnings {
		r.Warnings = append(r.Warnings, w.String())
	}
	for name, p := range s.state.Pools {
		if cfg.Pools[name] == nil && !p.Removed {
			r.Removed = append(r.Removed, name)
		}
	}
	for name, next := range cfg.Pools {
		p := s.state.Pools[name]
		if p == nil || p.Removed {
			r.Added = append(r.Added, name)
			continue
		}
		change := config.Diff(p.Config, next)
		switch {
		case change.NeedsNewProcesses, p.Behind(next):
			r.Changed = append(r.Changed, name)
		case change.Scaled && len(change.Keys) == 1:
		case len(change.Keys) > 0:
			r.InPlace = append(r.InPlace, name)
		}
		if change.Scaled {
			r.Scaled = append(r.Scaled, name)
		}
	}
	for _, names := range [][]string{r.Added, r.Removed, r.Changed, r.InPlace, r.Scaled} {
		slices.Sort(names)
	}
	return r
}

// fits tells why a configuration cannot be taken on by a superd that runs.
func (s *Supervisor) fits(cfg *config.Config) error {
	old := s.config.Load()
	for _, d := range []struct{ key, old, new string }{
		{"runtime_dir", old.RuntimeDir, cfg.RuntimeDir}, {"state_dir", old.StateDir, cfg.StateDir}, {"log_dir", old.LogDir, cfg.LogDir},
	} {
		if d.old != d.new {
			return refuse(cfg, "superd."+d.key, "cannot change it from %s to %s while superd runs (stop superd, then start it with the new one)", d.old, d.new)
		}
	}
	return checkBudget(cfg, s.keeperLimit())
}

// keeperLimit is how many files the keeper may have open: it may be older than
// superd, and have been started with another limit. 0: not known.
func (s *Supervisor) keeperLimit() uint64 {
	var limit unix.Rlimit
	pid := 0
	if snap, _ := s.Snapshot(); snap != nil {
		pid = snap.Info.KeeperPID
	}
	if pid == 0 || unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit) != nil {
		return 0
	}
	return limit.Cur
}

// Descriptors that superd and the keeper each need beside those of the runs.
const spareDescriptors = 64 + 512

// checkBudget refuses a configuration with more workers than there may be open
// files, in superd or in the keeper whose limit is given (0: not known).
func checkBudget(cfg *config.Config, keeper uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil // nothing is known against it
	}
	need := uint64(spareDescriptors)
	for _, p := range cfg.Pools {
		each := uint64(2) // pidfd and FIFO, in the keeper
		if p.Log.SeparateStderr {
			each++
		}
		need += each * uint64(p.Count)
	}
	if keeper != 0 && need > keeper && keeper < limit.Cur {
		return refuse(cfg, "", "%d workers need %d open files, and the keeper, which is older than superd, may have %d (raise it: prlimit --nofile of its pid)",
			workersIn(cfg), need, keeper)
	}
	if need > limit.Cur {
		return refuse(cfg, "", "%d workers need %d open files, and the limit is %d (raise it: LimitNOFILE= of the unit, or ulimit -n)",
			workersIn(cfg), need, limit.Cur)
	}
	return nil
}

// refuse refuses a configuration that is right by itself.
func refuse(cfg *config.Config, key, format string, args ...any) error {
	return &config.Errors{List: []config.Problem{{File: cfg.File, Key: key, Message: fmt.Sprintf(format, args...)}}}
}

func workersIn(cfg *config.Config) int {
	n := 0
	for _, p := range cfg.Pools {
		n += p.Count
	}
	return n
}

// forwards are the commands that a signal to superd means.
func (s *Supervisor) forwards(sig os.Signal) []core.Command {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return nil
	}
	var commands []core.Command
	for name, p := range s.config.Load().Pools {
		for _, f := range p.Forward {
			if f.From == number {
				commands = append(commands, core.Command{Verb: core.VerbSignal, Pool: name,
					Signal: signals.Name(f.To), By: signals.Name(number) + " to superd"})
			}
		}
	}
	return commands
}

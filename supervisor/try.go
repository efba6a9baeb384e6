package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/logs"
	"github.com/superd/superd/supervisor/store"
)

// Try finds out whether a superd made of opt could take over from the one that
// runs now: it recovers in its head, from a copy of the durable state that lies in
// copy already, and from copies of the records that it makes there. It asks the
// keepers, which it counts, for what they have, and changes nothing of anybody's.
func Try(ctx context.Context, opt Options, copy string) (keepers int, err error) {
	if err := checkBudget(opt.Config, 0); err != nil {
		return 0, err
	}
	dir := opt.Config.RuntimeDir
	if err := logs.CheckNotes(dir); err != nil {
		return 0, err
	}
	state, sameBoot, err := loadCopy(dir, copy)
	if err != nil {
		return 0, err
	}
	aim.At("try.copied")
	found, keepers, err := observe(ctx, dir)
	if err != nil {
		return 0, err
	}
	s := &Supervisor{opt: opt}
	state.Step(now(), core.Begin{Specs: s.specs(ctx, opt.Config), Found: found, SameBoot: sameBoot})
	if err := state.Check(); err != nil {
		return 0, fmt.Errorf("cannot go on from the state that is: %w", err)
	}
	return keepers, nil
}

// observe asks the keepers of dir what they have, and counts them.
func observe(ctx context.Context, dir string) (found map[string]core.Found, keepers int, err error) {
	all, err := keeper.Observe(dir, keeper.Options{})
	if err != nil {
		return nil, 0, err
	}
	found = map[string]core.Found{}
	for _, client := range all {
		defer client.Close()
		listed, _, err := client.List(ctx)
		if err != nil {
			return nil, 0, err
		}
		for _, r := range listed {
			if !strings.HasPrefix(r.Run, helperPrefix) {
				found[r.Run] = roughly(r)
			}
		}
	}
	return found, len(all), nil
}

// roughly is what the keeper knows of a run, in as many of the core's words as
// deciding takes. Nobody is told what is decided.
func roughly(r keeper.RunState) core.Found {
	f := core.Found{PID: r.PID, StartTicks: r.StartTicks, Started: r.Phase == keeper.PhaseRunning || r.Phase == keeper.PhaseEnded, Gone: r.Gone}
	switch r.Phase {
	case keeper.PhaseFailed:
		f.Failed = &core.Fail{Stage: r.Stage, Reason: r.Reason}
	case keeper.PhaseEnded:
		f.End = &core.End{Code: r.Status.Code, Unknown: r.Status.Unknown || r.Status.Signal != 0}
	}
	return f
}

// copies is how often records are copied until a copy is whole: they are written
// meanwhile.
const copies = 5

// loadCopy reads what was recorded. The copy of the durable state is read but once:
// what cannot be read of it would be set aside.
func loadCopy(dir, copy string) (st *core.State, sameBoot bool, err error) {
	if err := store.CheckVersions(dir + "/records"); err != nil {
		return nil, false, err
	}
	state, err := store.OpenState(copy + "/state")
	if err != nil {
		return nil, false, err
	}
	defer state.Close()
	if wrong := state.Degraded(); len(wrong) > 0 {
		return nil, false, errors.New(strings.Join(wrong, "; "))
	}
	for range copies {
		if st, sameBoot, err = loadRecords(dir, copy, state); err == nil {
			return st, sameBoot, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, false, err
}

func loadRecords(dir, copy string, state *store.State) (st *core.State, sameBoot bool, err error) {
	copy += "/records"
	if err := errors.Join(os.RemoveAll(copy), store.CopyFolder(dir+"/records", copy)); err != nil {
		return nil, false, err
	}
	folder, err := store.OpenDir(copy)
	if err != nil {
		return nil, false, err
	}
	defer folder.Close()
	r := newRecords(folder, state)
	defer func() {
		for _, t := range r.tables {
			t.Close()
		}
	}()
	st = core.New(1) // what it decides by chance is not done
	sameBoot, damage, err := r.load(st)
	if err == nil && len(damage) > 0 {
		err = errors.New(strings.Join(damage, "; "))
	}
	return st, sameBoot, err
}

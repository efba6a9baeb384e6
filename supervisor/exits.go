package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/store"
)

// Each pool has a history of how its runs ended, in state_dir. An exit is written to
// a journal in runtime_dir before any record says that the run is over, and to the
// disk behind, with others: between the two it is in the journal, whoever dies. A
// run that was in the journal when superd died, and in its worker's record too, ends
// once more in the next superd's eyes; that is known by its ID.

// exitsJournal is the journal's name.
const exitsJournal = "exits"

// Exit is how a run of a pool ended, as history has it. Its form in JSON is that in
// state_dir: fields may be added, and mean what they mean.
type Exit struct {
	RunID      string        `json:"run"`
	Pool       string        `json:"pool"`
	Index      int           `json:"index"`
	PID        int           `json:"pid,omitempty"`
	StartedAt  time.Time     `json:"started,omitzero"` // zero: its program was never executed
	At         time.Time     `json:"at"`
	Uptime     time.Duration `json:"uptime,omitempty"`
	Code       *int          `json:"code,omitempty"` // nil: ended by a signal, never started, or unknown
	Signal     string        `json:"signal,omitempty"`
	Core       bool          `json:"core,omitempty"`
	Reason     string        `json:"reason"`
	Stage      string        `json:"stage,omitempty"` // where its start failed
	Success    bool          `json:"success,omitempty"`
	Requested  bool          `json:"requested,omitempty"`
	Revision   int           `json:"revision"`
	Release    string        `json:"release,omitempty"`
	Deployment string        `json:"deployment,omitempty"` // the one that started it
}

// ExitQuery says which exits are wanted.
type ExitQuery struct {
	Pool    string
	Indices []int     // of these workers; nil: of all
	Since   time.Time // ended then or later; zero: whenever
	Failed  bool      // only those that count as failures
	Limit   int       // at most so many, more than 0
}

func (q *ExitQuery) fits(x *Exit) bool {
	return (q.Indices == nil || slices.Contains(q.Indices, x.Index)) && !x.At.Before(q.Since) && (!q.Failed || !x.Success)
}

// newExit is what history has of a run that has ended.
func newExit(a core.SaveExit) Exit {
	run, end := a.Run, a.Run.Exit
	x := Exit{RunID: run.ID, Pool: a.Pool.Name, Index: a.Worker.Index, PID: run.PID, StartedAt: run.StartedAt.Wall,
		At: end.At, Uptime: end.Uptime, Code: end.Code, Signal: end.Signal, Core: end.Core, Reason: end.Reason,
		Stage: end.Stage, Success: end.Success, Requested: end.Requested, Revision: run.Revision, Deployment: run.Deployment}
	if r := a.Pool.Revision(run.Revision); r != nil {
		x.Release = r.Release
	}
	return x
}

// Exits implements API. It goes past the loop: whoever asks waits for the disk.
func (s *Supervisor) Exits(ctx context.Context, q ExitQuery) ([]Exit, error) {
	s.rest.stir()
	stored, err := s.records.state.History(ctx, q.Pool)
	exits := []Exit{}
	for _, data := range slices.Backward(stored) {
		var x Exit
		if bad := json.Unmarshal(data, &x); bad != nil {
			err = errors.Join(err, fmt.Errorf("cannot read an exit in the history of %s: %w", q.Pool, bad))
			continue
		}
		if q.fits(&x) {
			if exits = append(exits, x); len(exits) == q.Limit {
				break
			}
		}
	}
	return exits, err
}

// openJournal opens the journal of exits. Without one superd works: what is at risk
// is what history has of superd's last moments.
func (r *records) openJournal() {
	journal, entries, err := r.dir.Journal(exitsJournal)
	if err != nil {
		r.noJournal = err
		return
	}
	r.journal, r.journalled, r.replaying = journal, map[string]bool{}, true
	r.values.OnSettled(journal.Settle)
	for _, data := range entries {
		var x Exit
		if json.Unmarshal(data, &x) != nil || r.journalled[x.RunID] {
			journal.Settle(1)
			continue
		}
		r.journalled[x.RunID] = true
		r.replay = append(r.replay, store.Entry{ID: x.RunID, Data: data, Perhaps: true})
		r.replayPools = append(r.replayPools, x.Pool)
	}
}

// saveExit keeps an exit. What the journal had when superd started is first come,
// and goes to the disk before all that is found to have ended meanwhile.
func (r *records) saveExit(x Exit) error {
	if r.journalled[x.RunID] {
		return nil // maybe long after the start: it could not be seen before that the run is over
	}
	data, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("cannot keep the exit of %s: %w", x.RunID, err)
	}
	err = r.noJournal
	if r.journal != nil {
		err = r.journal.Append(data)
	}
	e := store.Entry{ID: x.RunID, Data: data}
	if r.replaying {
		r.replay, r.replayPools = append(r.replay, e), append(r.replayPools, x.Pool)
	} else {
		r.values.Append(x.Pool, e)
	}
	return err
}

// replayExits has what the journal had written to the disk, unless it is there. It
// comes when it is decided which pools there are.
func (r *records) replayExits(st *core.State) {
	for i, e := range r.replay {
		if st.Pools[r.replayPools[i]] == nil {
			r.journal.Settle(1)
			continue
		}
		r.values.Append(r.replayPools[i], e)
	}
	r.replay, r.replayPools, r.replaying = nil, nil, false
}

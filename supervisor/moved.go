package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/store"
)

// A superd that begins in another runtime_dir than the one before it finds neither the
// keeper of that one nor its records: whatever lives would be started a second time.
// So state_dir tells in which runtime_dir runs were kept last, and superd does not
// begin in another one while something of that lives. Nor does it fetch it from there:
// the sockets, the FIFOs and the records have their names in that folder, and so has
// whoever calls superd.

// ErrMoved means that the configuration names another runtime_dir than the one in
// which workers, or their keeper, live.
var ErrMoved = errors.New("cannot start")

// runtimeKey is where it is kept in which runtime_dir runs are kept.
const runtimeKey = "runtime" // keptIn

// keptIn is a runtime_dir, and the boot and namespace in which it was in use.
type keptIn struct {
	RuntimeDir string
	hostRecord
}

// keepIn remembers that runs are kept in dir from now on.
func (r *records) keepIn(dir string) error {
	data, err := json.Marshal(keptIn{dir, r.world})
	if err != nil {
		return err
	}
	r.values.Put(superdBucket, runtimeKey, data)
	return nil
}

// keptElsewhere is the runtime_dir in which runs were kept last, if it is not dir and
// what lives there may live still.
func (r *records) keptElsewhere(dir string) (string, bool) {
	var before keptIn
	data, ok := r.values.Get(superdBucket, runtimeKey)
	if !ok || json.Unmarshal(data, &before) != nil || before.RuntimeDir == "" || before.RuntimeDir == dir {
		return "", false
	}
	world, err := thisWorld()
	if err != nil || !before.sameWorld(world) {
		return "", false
	}
	a, errA := os.Stat(before.RuntimeDir)
	b, errB := os.Stat(dir)
	return before.RuntimeDir, errA != nil || errB != nil || !os.SameFile(a, b)
}

// thisWorld is the boot and the namespace that superd is in.
func thisWorld() (hostRecord, error) {
	boot, err := proc.BootID()
	if err != nil {
		return hostRecord{}, err
	}
	ns, err := proc.PIDNamespace()
	if err != nil {
		return hostRecord{}, err
	}
	return hostRecord{BootID: boot, PIDNamespace: ns, NamespaceStart: proc.NamespaceStart()}, nil
}

// checkMoved refuses to begin in another runtime_dir than what lives is kept in.
func (s *Supervisor) checkMoved() error {
	dir := s.opt.Config.RuntimeDir
	before, elsewhere := s.records.keptElsewhere(dir)
	if !elsewhere || s.opt.leftovers { // which starts nothing
		return nil
	}
	living := s.livesIn(before)
	if living == "" {
		return nil
	}
	return fmt.Errorf("%w: %s in the runtime_dir %s, and %s names %s, where all would be started once more"+
		" (set runtime_dir back to %q and start superd, which takes over what lives; to move, end it first by superctl shutdown)",
		ErrMoved, living, before, s.opt.Config.File, dir, before)
}

// livesIn says, in words, what lives of what is kept in a runtime_dir that no superd
// uses; empty: nothing, or another superd has it by now, with a state_dir of its own.
func (s *Supervisor) livesIn(dir string) string {
	lock, err := store.LockExisting(dir+"/lock", leftoverPatience)
	if err == nil {
		defer lock.Close()
	} else if errors.Is(err, store.ErrLocked) && store.Holder(dir+"/lock") != 0 {
		return ""
	}
	live := map[int]bool{}
	pid := keeper.Living(dir)
	if pid != 0 {
		ctx, cancel := context.WithTimeout(context.Background(), listPatience)
		defer cancel()
		found, _, err := observe(ctx, dir)
		if err != nil {
			s.log.Warn("it does not say what it has", "keeper", pid, "error", err)
		}
		for _, f := range found {
			if f.Started && !f.Gone && f.End == nil {
				live[f.PID] = true
			}
		}
	}
	for _, pid := range s.recordedIn(dir) {
		live[pid] = true
	}
	if len(live) == 0 && pid != 0 {
		pid = outlasts(dir, pid)
	}
	var parts []string
	if n := len(live); n == 1 {
		parts = append(parts, "1 worker")
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("%d workers", n))
	}
	if pid != 0 {
		parts = append(parts, fmt.Sprintf("the keeper, pid %d,", pid))
	}
	if len(parts) == 0 {
		return ""
	}
	verb := " live"
	if len(parts) == 1 && len(live) <= 1 {
		verb = " lives"
	}
	return strings.Join(parts, " and ") + verb
}

// outlasts waits for the end of a keeper that has nothing to do: it may have been told
// to end. 0: it has.
func outlasts(dir string, pid int) int {
	for until := time.Now().Add(keeperPatience); pid != 0 && time.Now().Before(until); pid = keeper.Living(dir) {
		time.Sleep(50 * time.Millisecond)
	}
	return pid
}

// keeperPatience is how long a keeper may take to end that was told to.
const keeperPatience = 5 * time.Second

// recordedIn are the processes that live of the runs that are kept in a runtime_dir
// whose keeper may be dead: by its records, and, as far as those cannot be read, by the
// FIFOs that they write to. The records are copied, since reading may repair them.
func (s *Supervisor) recordedIn(dir string) (live []int) {
	st, sameBoot, err := s.copyOf(dir)
	if err != nil {
		s.log.Warn("cannot read all records of the runtime_dir that superd had before", "error", err)
		live = writersIn(dir)
	}
	if st == nil || !sameBoot {
		return live
	}
	for _, p := range st.Pools {
		for _, w := range p.Workers {
			if pid := runLives(dir, w.Run); pid != 0 {
				live = append(live, pid)
			}
		}
	}
	return live
}

func (s *Supervisor) copyOf(dir string) (st *core.State, sameBoot bool, err error) {
	copied := s.opt.Config.RuntimeDir + "/try"
	if err := os.Mkdir(copied, 0o700); err != nil {
		return nil, false, err
	}
	defer os.RemoveAll(copied)
	return loadRecords(dir, copied, s.records.state)
}

// writersIn are the processes that write to FIFOs of a runtime_dir, which need not be
// there any more, and say of themselves that they are what these were made for.
func writersIn(dir string) (live []int) {
	beside := filepath.Dir(dir)
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		beside, dir = resolved, resolved
	}
	writers, _ := proc.Writers(beside, dir+"/fifos", func(string) bool { return false })
	for _, w := range writers {
		if w.Env["SUPERD_RUN_ID"] == w.Run {
			live = append(live, w.PID)
		}
	}
	return live
}

// runLives is the process of a run that is kept in dir, if it lives.
func runLives(dir string, run *core.Run) int {
	if run == nil {
		return 0
	}
	if run.PID == 0 || run.StartTicks == 0 {
		pid, _, _ := fifoHolder(fifoIn(dir, run.ID, "out"))
		return pid
	}
	if ticks, err := proc.StartTicks(run.PID); proc.Absent(err) || err == nil && ticks != run.StartTicks {
		return 0
	}
	return run.PID
}

package supervisor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/supervisor/core"
)

// history is what a pool's history says, oldest first: "run reason".
func historyOf(t *testing.T, r *records, pool string) string {
	t.Helper()
	data, err := r.state.History(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range data {
		var x Exit
		if err := json.Unmarshal(d, &x); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, x.RunID+" "+x.Reason)
	}
	return strings.Join(lines, ", ")
}

// dies is superd's death: what is queued for the disk is gone, and its lock free.
func (r *records) dies(t *testing.T, runtime string) (snapshot string) {
	t.Helper()
	// The journal as it is now comes back, whatever the closing settles.
	data, err := os.ReadFile(filepath.Join(runtime, "records", exitsJournal+".journal"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(runtime, "records", exitsJournal+".journal"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestExitsAreThereOnce: an exit is in history once, whether superd died before it
// was on disk, or after.
func TestExitsAreThereOnce(t *testing.T) {
	runtime, state := t.TempDir(), t.TempDir()
	r, st, _ := openTestRecords(t, runtime, state)
	st.Pools["mailers"] = &core.Pool{Name: "mailers"}
	save := func(pool, run, reason string) {
		t.Helper()
		if err := r.saveExit(Exit{RunID: run, Pool: pool, Reason: reason, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	save("mailers", "r1", "exit code 1")
	save("gone", "r2", "exit code 1")
	if err := r.state.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	save("mailers", "r3", "signal KILL")
	save("mailers", "r4", "exit code 4")
	// Its disk never gets them.
	if err := os.Rename(filepath.Join(state, "state.db"), filepath.Join(state, "kept")); err != nil {
		t.Fatal(err)
	}
	r.dies(t, runtime)
	if err := os.Rename(filepath.Join(state, "kept"), filepath.Join(state, "state.db")); err != nil {
		t.Fatal(err)
	}

	r, st, _ = openTestRecords(t, runtime, state)
	st.Pools["mailers"] = &core.Pool{Name: "mailers"}
	save("mailers", "r4", "unknown") // its worker's record still has it: the first word counts
	save("mailers", "r5", "exit code 5")
	save("gone", "r6", "exit code 6")
	r.state.DropHistory("gone") // the configuration has it no more
	r.replayExits(st)
	save("mailers", "r3", "unknown") // it could not be looked at when superd started
	if got := historyOf(t, r, "mailers"); got != "r1 exit code 1, r3 signal KILL, r4 exit code 4, r5 exit code 5" {
		t.Errorf("history: %s", got)
	}
	if got := historyOf(t, r, "gone"); got != "" {
		t.Errorf("of a pool that is gone: %s", got)
	}
	if err := r.state.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.dies(t, runtime) // all is on disk, and settled

	r, _, _ = openTestRecords(t, runtime, state)
	if len(r.replay) != 0 {
		t.Errorf("%d would be written again", len(r.replay))
	}
	r.close()
}

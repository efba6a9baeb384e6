package supervisor

import (
	"encoding/json"
	"testing"

	"github.com/superd/superd/supervisor/core"
)

// saved executes the savings among actions.
func saved(t *testing.T, r *records, actions []core.Action) {
	t.Helper()
	for _, a := range actions {
		var err error
		switch a := a.(type) {
		case core.SaveExit:
			err = r.saveExit(newExit(a))
		case core.SavePool:
			err = r.savePool(a.Pool)
		case core.SaveWorker:
			err = r.saveWorker(a.Pool, a.Worker)
		case core.DropWorkers:
			err = r.dropWorkers(a.Pool.Name, a.Count)
		case core.DropPool:
			err = r.dropPool(a.Name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func openTestRecords(t *testing.T, runtime, state string) (*records, *core.State, bool) {
	t.Helper()
	r, err := openRecords(runtime, state)
	if err != nil {
		t.Fatal(err)
	}
	st := core.New(1)
	sameBoot, damage, err := r.load(st)
	if err != nil || len(damage) > 0 {
		t.Fatalf("load: %v, damage %q", err, damage)
	}
	return r, st, sameBoot
}

// asJSON is what a pool and its workers look like on disk.
func asJSON(t *testing.T, p *core.Pool) string {
	t.Helper()
	data, err := json.Marshal(struct {
		Pool    *core.Pool
		Workers []*core.Worker
	}{p, p.Workers})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	runtime, state := t.TempDir(), t.TempDir()
	r, _, sameBoot := openTestRecords(t, runtime, state)
	if sameBoot {
		t.Error("an empty folder is of this boot")
	}
	st, actions := startedState(t, 3)
	saved(t, r, actions)
	saved(t, r, st.Step(now(), core.Started{Run: st.Pools["w"].Workers[2].Run.ID, PID: 4711, StartTicks: 99}))
	saved(t, r, st.Step(now(), core.Do{Ref: 1, Command: core.Command{Verb: core.VerbScale, Pool: "w", Count: 40}}))
	if err := r.reserveSeq(1234); err != nil {
		t.Fatal(err)
	}
	if err := r.belong(); err != nil {
		t.Fatal(err)
	}
	want := asJSON(t, st.Pools["w"])
	// No close: superd dies here. The durable state's file must be let go of,
	// as a death does.
	r.state.Close()

	r, loaded, sameBoot := openTestRecords(t, runtime, state)
	if !sameBoot {
		t.Error("the records are not of this boot")
	}
	if got := asJSON(t, loaded.Pools["w"]); got != want {
		t.Errorf("loaded\n%s\nsaved\n%s", got, want)
	}
	if r.host.Seq != 1234 {
		t.Errorf("reserved numbers: %d", r.host.Seq)
	}
	r.close()

	// runtime_dir is deleted: the durable state tells that its instants are good.
	r, _, sameBoot = openTestRecords(t, t.TempDir(), state)
	if !sameBoot || !r.bare {
		t.Errorf("after runtime_dir was deleted: same boot %v, bare %v", sameBoot, r.bare)
	}
	r.state.Put(superdBucket, bootKey, []byte(`{"BootID":"another"}`))
	r.close()

	// A reboot leaves the durable state alone: what was desired, without runs.
	r, loaded, sameBoot = openTestRecords(t, t.TempDir(), state)
	defer r.close()
	p := loaded.Pools["w"]
	if sameBoot || p == nil || p.Count != 40 || len(p.Workers) != 40 || p.Workers[2].Run != nil {
		t.Errorf("after a reboot: same boot %v, %+v", sameBoot, p)
	}
	if r.host.Seq != 1234 {
		t.Errorf("reserved numbers after a reboot: %d", r.host.Seq)
	}
}

func TestRecordsForget(t *testing.T) {
	runtime, state := t.TempDir(), t.TempDir()
	r, _, _ := openTestRecords(t, runtime, state)
	st, actions := startedState(t, 3)
	saved(t, r, actions)
	if err := r.dropWorkers("w", 1); err != nil {
		t.Fatal(err)
	}
	st.Pools["w"].Count = 1
	if err := r.savePool(st.Pools["w"]); err != nil {
		t.Fatal(err)
	}
	r.close()
	r, loaded, _ := openTestRecords(t, runtime, state)
	if n := len(loaded.Pools["w"].Workers); n != 1 {
		t.Errorf("%d workers after two of three were dropped", n)
	}
	if err := r.dropPool("w"); err != nil {
		t.Fatal(err)
	}
	r.close()
	r, loaded, _ = openTestRecords(t, runtime, state)
	defer r.close()
	if len(loaded.Pools) != 0 {
		t.Error("a pool that was dropped is back")
	}
}

// TestNewerRecordCounts: where the disk of one of both was full, the other one knows
// better; and a record that could not be written is written later.
func TestNewerRecordCounts(t *testing.T) {
	runtime, state := t.TempDir(), t.TempDir()
	r, _, _ := openTestRecords(t, runtime, state)
	st, actions := startedState(t, 3)
	saved(t, r, actions)
	// No room: a folder that cannot be written.
	r.dir.Close()
	for range 2 {
		if err := r.savePool(st.Pools["w"]); err == nil {
			t.Fatal("written nowhere")
		}
	}
	if len(r.behind) != 1 {
		t.Errorf("behind: %v", r.behind)
	}
	st.Pools["w"].Count = 7
	r.savePool(st.Pools["w"])
	r.state.Close()

	r, loaded, _ := openTestRecords(t, runtime, state)
	if n := loaded.Pools["w"].Count; n != 7 {
		t.Errorf("the older record counts: %d", n)
	}
	if len(r.behind) != 1 {
		t.Errorf("behind: %v", r.behind)
	}
	r.catchUp(loaded)
	if len(r.behind) != 0 {
		t.Errorf("behind: %v", r.behind)
	}
	// Now the durable one is behind.
	r.state.Close()
	loaded.Pools["w"].Count = 8
	if err := r.savePool(loaded.Pools["w"]); err != nil {
		t.Fatal(err)
	}
	r.close()
	r, loaded, _ = openTestRecords(t, runtime, state)
	defer r.close()
	if n := loaded.Pools["w"].Count; n != 8 {
		t.Errorf("the older record counts: %d", n)
	}
}

package keeper

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestObserve: whoever observes sees all there is, may do nothing, and superd's
// connection and its events go on.
func TestObserve(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	const many = 300 // more than one packet holds
	for i := range many {
		if err := r.Hold(fmt.Sprintf("name%d.%s", i, strings.Repeat("x", 100)), outFile(t)); err != nil {
			t.Fatal(err)
		}
	}
	id := r.spawn(shell("sleep 1000", nil))
	r.wait(id, Started)
	for range maxWatchers + 2 {
		all, err := Observe(r.dir, Options{})
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		o := all[0]
		defer o.Close()
		runs, names, err := o.List(ctx)
		if err != nil || len(runs) != 1 || runs[0].Run != id || len(names) != many || o.PID() != r.PID() || o.Version() != Version {
			t.Fatalf("observed %+v, %d names, keeper %d with version %d: %v", runs, len(names), o.PID(), o.Version(), err)
		}
		if err := o.End(ctx); err == nil || !strings.Contains(err.Error(), "may list") {
			t.Errorf("an observer ends the keeper: %v", err)
		}
		o.Sweep(id)
		o.Acknowledge(id)
	}
	if err := r.Err(); err != nil {
		t.Fatalf("superd's connection is lost: %v", err)
	}
	other := r.spawn(shell("exit 3", nil))
	if ev := r.wait(other, Exited); ev.Status.Code != 3 {
		t.Errorf("got %+v", ev)
	}
	if runs, _, err := r.List(ctx); err != nil || len(runs) != 2 {
		t.Errorf("runs are %+v, %v", runs, err)
	}
}

func TestObserveWithoutAKeeper(t *testing.T) {
	if all, err := Observe(t.TempDir(), Options{}); err == nil {
		hangUp(all)
		t.Error("there is none")
	}
}

package supervisor

import (
	"testing"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
)

// state is a core with one pool of so many workers that were asked to start.
func startedState(t *testing.T, count int) (*core.State, []core.Action) {
	t.Helper()
	cfg, err := config.LoadBytes("test.toml", []byte("[pool.w]\ncommand = \"true\"\n"), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.Pools["w"]
	p.Count = count
	st := core.New(1)
	return st, st.Step(now(), core.Begin{Specs: []core.Spec{{Config: p, Release: "/"}}})
}

func noInfo() Info { return Info{} }

func TestSnapshotsShareWhatDidNotChange(t *testing.T) {
	st, _ := startedState(t, 3)
	p := st.Pools["w"]
	c := newShowcase()
	c.pool("w")
	_, newer := c.get()
	c.publish(st, now(), 7, noInfo)
	first, again := c.get()
	select {
	case <-newer:
	default:
		t.Error("whoever waits for a newer snapshot was not told")
	}
	if first.Seq != 7 || len(first.Pools) != 1 || len(first.Pools[0].Workers) != 3 {
		t.Fatalf("the snapshot: %+v", first)
	}
	c.publish(st, now(), 7, noInfo)
	if same, _ := c.get(); same != first {
		t.Error("a snapshot was made although nothing changed")
	}

	run := p.Workers[1].Run.ID
	for _, a := range st.Step(now(), core.Started{Run: run, PID: 4711}) {
		if a, ok := a.(core.SaveWorker); ok {
			c.worker(a.Pool, a.Worker)
		}
	}
	c.publish(st, now(), 8, noInfo)
	second, _ := c.get()
	select {
	case <-again:
	default:
		t.Error("whoever waits for a newer snapshot was not told")
	}
	old, new := first.Pools[0].Workers, second.Pools[0].Workers
	if old[0] != new[0] || old[2] != new[2] {
		t.Error("workers that did not change were copied")
	}
	if old[1].State != core.Starting || new[1].State != core.Running || new[1].Run.PID != 4711 {
		t.Errorf("before %s, after %s", old[1].State, new[1].State)
	}
	if new[1] == p.Workers[1] {
		t.Error("readers see the core's own worker")
	}
}

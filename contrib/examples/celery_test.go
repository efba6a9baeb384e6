package examples_test

import (
	"path/filepath"
	"testing"
)

// celery is superd with the example's two Celery workers, on a Redis of the test's own.
type celery struct {
	*host
	*producer
	ledger ledger
	redis  string // its socket
}

func startCelery(t *testing.T, stop string) *celery {
	t.Helper()
	need(t, "redis-server", "redis-server")
	needPython(t, "python3-celery python3-redis", "celery, redis")
	dir := install(t, "celery")
	redis := startRedis(t, dir)
	l := newLedger(t, dir)
	p := newProducer(t, l, dir, []string{"BROKER=redis+socket://" + redis}, python, "-c", `
import sys, tasks
for line in sys.stdin:
    name, seconds = line.split()
    tasks.hard.delay(name, float(seconds))
    print(name, flush=True)
`)
	p.atLeastOnce = true // with acks_late
	h := start(t, filepath.Join("celery", "superd.toml"),
		"redis://127.0.0.1:6379/0", "redis+socket://"+redis, "/srv/celery/ledger", l.file, "/srv/celery", dir,
		`# stop_sequence = ["TERM 2s", "QUIT 10s", "KILL"]`, stop, `min_healthy_time = "5s"`, `min_healthy_time = "1s"`)
	h.started("celery")
	return &celery{h, p, l, redis}
}

func (c *celery) begun(name string) {
	c.host.t.Helper()
	eventually(c.host.t, name+" has begun", func() bool { return c.ledger.begun(name) })
}

// TestCeleryRestarts: tasks come all the time while the pool is restarted thrice.
// None is lost, and a long one is done once, by the process that began it.
func TestCeleryRestarts(t *testing.T) {
	t.Parallel()
	c := startCelery(t, "")
	end := c.stream()
	defer end()
	for _, name := range []string{"first", "second", "third"} {
		c.add(name, 4)
		c.begun(name)
		c.restart("celery")
		c.ledger.uncut(name)
	}
	end()
	c.settled()
}

// TestCeleryStop: a task that is longer than the patience of a stop goes back to
// the queue by QUIT, and is done after the pool is started again. One that is
// worked on while superd dies does not notice.
func TestCeleryStop(t *testing.T) {
	t.Parallel()
	c := startCelery(t, `stop_sequence = ["TERM 2s", "QUIT 20s", "KILL"]`)

	c.add("orphaned", 4)
	c.begun("orphaned")
	c.kill()
	c.begin()
	eventually(t, "the task has ended", func() bool { return c.ledger.ended("orphaned") })
	c.ledger.uncut("orphaned")

	c.add("interrupted", 8)
	c.begun("interrupted")
	c.must("stop", "celery")
	if p := c.pool("celery"); p.Running != 0 {
		t.Errorf("after a stop: %+v", p)
	}
	c.add("late", 0.1)
	if n, err := redisDo("unix", c.redis, "LLEN", "celery"); n != "2" || err != nil {
		t.Errorf("the queue has %s tasks (%v), not the one that was interrupted and the one that came late", n, err)
	}
	c.must("start", "celery")
	c.settled("interrupted")
}

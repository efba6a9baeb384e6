package examples_test

import (
	"fmt"
	"path/filepath"
	"testing"
)

// sidekiq is superd with the example's two Sidekiq workers, on a Redis of the
// test's own. Sidekiq gives its jobs patience ("5", seconds) when it is told to end.
type sidekiq struct {
	*host
	*producer
	ledger ledger
	redis  string // its socket
}

func startSidekiq(t *testing.T, patience string) *sidekiq {
	t.Helper()
	need(t, "redis-server ruby-sidekiq", "redis-server", "sidekiq", "/usr/bin/ruby")
	dir := install(t, "sidekiq")
	redis := startRedis(t, dir)
	l := newLedger(t, dir)
	p := newProducer(t, l, dir, []string{"REDIS_URL=unix://" + redis}, "/usr/bin/ruby", "-r./worker.rb", "-e", `
		$stdout.sync = true
		$stdin.each_line { |line| name, seconds = line.split; HardJob.perform_async(name, seconds.to_f); puts name }`)
	h := start(t, filepath.Join("sidekiq", "superd.toml"),
		"redis://127.0.0.1:6379/0", "unix://"+redis, "/srv/sidekiq/ledger", l.file, "/srv/sidekiq", dir,
		`"-t", "25"`, `"-t", "`+patience+`"`, `min_healthy_time = "5s"`, `min_healthy_time = "1s"`)
	h.started("sidekiq")
	return &sidekiq{h, p, l, redis}
}

// begun waits until a worker has begun the job, and gives the worker's name.
func (s *sidekiq) begun(name string) string {
	s.host.t.Helper()
	eventually(s.host.t, name+" has begun", func() bool { return s.ledger.begun(name) })
	return s.ledger.by(name)
}

// TestSidekiqRestarts: jobs come all the time while the pool is restarted thrice,
// once while superd is killed, and each is done once. Jobs that last longer than
// Sidekiq itself would wait for them are finished by the processes that began them.
func TestSidekiqRestarts(t *testing.T) {
	t.Parallel()
	s := startSidekiq(t, "5")
	end := s.stream()
	defer end()

	var long []string
	workers := map[string]bool{} // those that have begun a long job
	for n := 0; len(workers) < 2; n++ {
		long = append(long, fmt.Sprintf("long-%d", n))
		s.add(long[n], 12)
		workers[s.begun(long[n])] = true
	}
	for worker := range workers {
		eventually(t, worker+" is seen to be busy", func() bool { return s.worker(worker).Busy })
	}
	s.restart("sidekiq")
	for _, name := range long {
		s.ledger.uncut(name)
	}

	s.add("second", 3)
	s.begun("second")
	s.restart("sidekiq")

	before := s.pool("sidekiq").pids()
	s.add("third", 3)
	s.begun("third")
	s.must("restart", "--no-wait", "sidekiq")
	s.kill()
	s.begin()
	eventually(t, "every worker is another process", func() bool {
		p := s.pool("sidekiq")
		for worker, pid := range p.pids() {
			if pid == 0 || pid == before[worker] {
				return false
			}
		}
		return p.Healthy == 2
	})
	end()
	s.settled()
}

// TestSidekiqStop: a job that is longer than Sidekiq's own patience goes back to
// the queue when the pool is stopped, and is done after it is started again. One
// that is worked on while superd dies does not notice.
func TestSidekiqStop(t *testing.T) {
	t.Parallel()
	s := startSidekiq(t, "3")

	s.add("orphaned", 3)
	s.begun("orphaned")
	s.kill()
	s.begin()
	eventually(t, "the job has ended", func() bool { return s.ledger.ended("orphaned") })
	s.ledger.uncut("orphaned")

	s.add("interrupted", 8)
	s.begun("interrupted")
	s.must("stop", "sidekiq")
	if p := s.pool("sidekiq"); p.Running != 0 {
		t.Errorf("after a stop: %+v", p)
	}
	s.add("late", 0.1)
	if n, err := redisDo("unix", s.redis, "LLEN", "queue:default"); n != "2" || err != nil {
		t.Errorf("the queue has %s jobs (%v), not the one that was interrupted and the one that came late", n, err)
	}
	s.must("start", "sidekiq")
	s.settled("interrupted")
}

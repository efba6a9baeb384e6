package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSidekiq runs Sidekiq on a Redis of its own: a job that is being worked on
// when the pool is restarted, when superd dies and when the pool is stopped is
// finished, once, by the process that began it.
func TestSidekiq(t *testing.T) {
	for _, program := range []string{"redis-server", "sidekiq", "ruby"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: sudo apt-get install -y redis-server ruby-sidekiq", err)
		}
	}
	dir, err := os.MkdirTemp("", "superd-sidekiq-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	redis := startRedis(t, dir)
	q := &queue{t: t, dir: dir, redis: redis, jobs: filepath.Join(dir, "jobs.log")}
	worker, err := os.ReadFile("sidekiq/worker.rb")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "worker.rb"), string(worker))

	h := start(t, "sidekiq/superd.toml",
		"redis://127.0.0.1:6379/0", redis, "/srv/sidekiq/jobs.log", q.jobs, "/srv/sidekiq", dir,
		`min_healthy_time = "5s"`, `min_healthy_time = "2s"`)
	h.must("start", "sidekiq")

	q.add("restarted", 4)
	eventually(t, "a job has begun", func() bool { return q.has("begin restarted") })
	before := h.pool("sidekiq").pids()
	h.must("restart", "sidekiq")
	q.finished("restarted")
	for name, pid := range h.pool("sidekiq").pids() {
		if pid == before[name] || pid == 0 {
			t.Errorf("%s has pid %d after a restart, before %d", name, pid, before[name])
		}
	}

	q.add("orphaned", 4)
	eventually(t, "a job has begun", func() bool { return q.has("begin orphaned") })
	h.kill()
	h.begin()
	eventually(t, "the job has ended", func() bool { return q.has("end orphaned") })
	q.finished("orphaned")

	q.add("stopped", 4)
	eventually(t, "a job has begun", func() bool { return q.has("begin stopped") })
	h.must("stop", "sidekiq")
	q.finished("stopped")
	if p := h.pool("sidekiq"); p.Running != 0 {
		t.Errorf("after a stop: %+v", p)
	}
}

// startRedis runs a Redis that listens on a socket in dir alone, and gives its URL.
func startRedis(t *testing.T, dir string) string {
	t.Helper()
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	eventually(t, "redis listens", func() bool { _, err := os.Stat(socket); return err == nil })
	return "unix://" + socket
}

type queue struct {
	t                *testing.T
	dir, redis, jobs string
}

// add puts a job of so many seconds into the queue.
func (q *queue) add(name string, seconds int) {
	q.t.Helper()
	cmd := exec.Command("ruby", "-r./worker.rb", "-e", fmt.Sprintf("HardJob.perform_async(%q, %d)", name, seconds))
	cmd.Dir = q.dir
	cmd.Env = append(os.Environ(), "REDIS_URL="+q.redis)
	if out, err := cmd.CombinedOutput(); err != nil {
		q.t.Fatalf("%v\n%s", err, out)
	}
}

func (q *queue) lines() []string {
	text, _ := os.ReadFile(q.jobs)
	return strings.Split(string(text), "\n")
}

func (q *queue) has(prefix string) bool {
	for _, line := range q.lines() {
		if strings.HasPrefix(line, prefix+" ") {
			return true
		}
	}
	return false
}

// finished holds that a job was begun once and ended once, by the same process.
func (q *queue) finished(name string) {
	q.t.Helper()
	var begin, end []string
	for _, line := range q.lines() {
		if by, ok := strings.CutPrefix(line, "begin "+name+" "); ok {
			begin = append(begin, by)
		}
		if by, ok := strings.CutPrefix(line, "end "+name+" "); ok {
			end = append(end, by)
		}
	}
	if len(begin) != 1 || len(end) != 1 || begin[0] != end[0] {
		q.t.Errorf("job %s was begun by %q and ended by %q:\n%s", name, begin, end, strings.Join(q.lines(), "\n"))
	}
}

package supervisor

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/service"
)

func TestSummary(t *testing.T) {
	up := func(index int, state core.WorkerState, healthy bool) *core.Worker {
		w := &core.Worker{Index: index, State: state, Desired: core.Up}
		if state == core.Running {
			w.Run = &core.Run{Healthy: healthy}
		}
		return w
	}
	snap := &Snapshot{Pools: []*core.Pool{
		{Name: "a", Desired: core.Up, Count: 3, Deployment: &core.Deployment{},
			Workers: []*core.Worker{up(0, core.Running, true), up(1, core.Running, false), up(2, core.Failed, false), up(3, core.Running, true)}},
		{Name: "b", Desired: core.Down, Count: 1, Workers: []*core.Worker{{State: core.Stopped, Desired: core.Down}}},
		{Name: "c", Desired: core.Up, Count: 1, Workers: []*core.Worker{up(0, core.Completed, false)}},
	}}
	for _, c := range []struct {
		info Info
		want string
	}{
		{Info{}, "3 pools, 1/3 healthy, 1 deploying, 1 failed"},
		{Info{Degraded: []string{"x"}}, "3 pools, 1/3 healthy, 1 deploying, 1 failed, degraded"},
		{Info{Stopping: true}, "stopping: 3 workers left"},
	} {
		snap.Info = c.info
		if got := summary(snap); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if got := summary(&Snapshot{Pools: snap.Pools[2:]}); got != "1 pool, 0/0 healthy" {
		t.Errorf("%q", got)
	}
}

// reporting is a supervisor whose loop the test is.
func reporting(t *testing.T) (*Supervisor, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	st, _ := startedState(t, 2)
	s := &Supervisor{state: st, show: newShowcase(), opt: Options{Service: service.Find(func(m string) { t.Error(m) })}}
	s.config.Store(&config.Config{})
	return s, func() string {
		s.opt.Service.Flush(30 * time.Second)
		var all []string
		buf := make([]byte, 4096)
		for {
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			n, err := conn.Read(buf)
			if err != nil {
				return strings.Join(all, " ")
			}
			all = append(all, string(buf[:n]))
		}
	}
}

// TestReportRests: the status is told once and at a bounded rate, and when there is
// nothing left to tell nothing is set that would wake the loop.
func TestReportRests(t *testing.T) {
	s, heard := reporting(t)
	changed := func() {
		s.show.info = true
		s.show.pool("w")
		s.show.publish(s.state, now(), 1, s.info)
	}
	changed()
	s.report()
	if got := heard(); got != "READY=1 STATUS=1 pool, 0/2 healthy, 1 deploying" {
		t.Errorf("at first: %q", got)
	}
	if !s.reporter.set.IsZero() {
		t.Error("the loop is woken although nothing has to be told")
	}
	for _, w := range s.state.Pools["w"].Workers {
		w.State, w.Run.Healthy = core.Running, true
		s.show.worker(s.state.Pools["w"], w)
		changed()
		s.report()
	}
	if got := heard(); got != "" {
		t.Errorf("one status right after another: %q", got)
	}
	select {
	case <-s.reporter.due():
		s.reporter.set = time.Time{}
	case <-time.After(30 * time.Second):
		t.Fatal("the new status is never told")
	}
	s.report()
	if got := heard(); got != "STATUS=1 pool, 2/2 healthy, 1 deploying" {
		t.Errorf("after a while: %q", got)
	}
	if !s.reporter.set.IsZero() {
		t.Error("the loop is woken although nothing has to be told")
	}
	changed()
	s.report()
	if got := heard(); got != "" {
		t.Errorf("nothing has changed, and it is told: %q", got)
	}
}

// TestReportGoesOn: a watchdog is given signs of life, and a stop is given time, by the
// loop alone: when it does not go round, neither comes.
func TestReportGoesOn(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "100000")
	s, heard := reporting(t)
	round := func() string {
		t.Helper()
		select {
		case <-s.reporter.due():
			s.reporter.set = time.Time{}
		case <-time.After(30 * time.Second):
			t.Fatal("the loop is not woken")
		}
		s.report()
		return heard()
	}
	s.report()
	if got := heard(); !strings.HasPrefix(got, "READY=1 WATCHDOG=1") {
		t.Errorf("at first: %q", got)
	}
	for range 3 {
		if got := round(); got != "WATCHDOG=1" {
			t.Errorf("then: %q", got)
		}
	}
	s.state.Leaving = &core.Leave{}
	s.report()
	if got := strings.Fields(heard()); !slices.Contains(got, "STOPPING=1") || !slices.Contains(got, "EXTEND_TIMEOUT_USEC=60000000") {
		t.Errorf("stopping: %q", got)
	}
	s.reporter.extendAt = time.Now()
	s.report()
	if got := heard(); !strings.Contains(got, "EXTEND_TIMEOUT_USEC=60000000") || strings.Contains(got, "STOPPING") {
		t.Errorf("still stopping: %q", got)
	}
	if s.reporter.set.IsZero() {
		t.Error("no more time will be asked for")
	}
}

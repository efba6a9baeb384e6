package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/service"
)

const (
	// statusPause is how long no other status is told after one: a thousand workers
	// that start are one piece of news.
	statusPause = time.Second
	// A superd that is being stopped asks for more time every extendPause, and for
	// extendBy from then on: it may not ask again while it writes the last lines.
	extendPause = 10 * time.Second
	extendBy    = 60 * time.Second
	// While superd stops it asks at first and every systemPause whether the whole
	// system goes down.
	systemPause = time.Minute
)

// reporter is what the loop has told the service manager, and when it is to tell it
// more. Without a manager it does nothing; with one that wants no signs of life it
// has a timer only while there is something left to tell.
type reporter struct {
	ready    bool
	stopping bool
	seen     *Snapshot // the newest that was looked at
	status   string    // told last
	stale    bool      // there may be another one

	statusAt, aliveAt, extendAt time.Time // when each may, or has to, be told next
	systemAt                    time.Time // when systemd may be asked next

	timer *time.Timer
	set   time.Time // what it is set to; zero: nothing
}

// due is when the loop has to call report again; nil: not before something happens.
func (r *reporter) due() <-chan time.Time {
	if r.timer == nil {
		return nil
	}
	return r.timer.C
}

// report tells the service manager what is news to it. The loop calls it every time
// that it goes round, and so a loop that is stuck is noticed.
func (s *Supervisor) report() {
	m, r := s.opt.Service, &s.reporter
	if m == nil {
		return
	}
	at := time.Now()
	if snap, _ := s.show.get(); snap != r.seen {
		r.seen, r.stale = snap, true
	}
	if s.state.Leaving != nil && !at.Before(r.extendAt) {
		if !r.stopping {
			r.stopping, r.ready = true, true
			m.Tell(service.Stopping)
		}
		m.Tell(service.Extend(extendBy))
		r.extendAt = at.Add(extendPause)
		if s.state.Leaving.Within == 0 && !at.Before(r.systemAt) {
			r.systemAt = at.Add(systemPause)
			go s.askSystem()
		}
	}
	if !r.ready {
		// Recovery is done, and what it has decided is on its way.
		r.ready = true
		m.Tell(service.Ready)
	}
	if dog := m.Watchdog(); dog > 0 && !at.Before(r.aliveAt) {
		m.Tell(service.Alive)
		r.aliveAt = at.Add(dog / 2)
	}
	if r.stale && !at.Before(r.statusAt) {
		r.stale = false
		if text := summary(r.seen); text != r.status {
			r.status, r.statusAt = text, at.Add(statusPause)
			m.Tell(service.Status(text))
		}
	}
	r.arm(at)
}

// arm sets the timer to what has to be told next.
func (r *reporter) arm(at time.Time) {
	var next time.Time
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if r.stale {
		sooner(r.statusAt)
	}
	if r.stopping {
		sooner(r.extendAt)
	}
	if !r.aliveAt.IsZero() {
		sooner(r.aliveAt)
	}
	switch {
	case next.IsZero() && r.timer != nil:
		r.timer.Stop()
		r.set = time.Time{}
	case next.IsZero() || next.Equal(r.set):
	case r.timer == nil:
		r.timer = time.NewTimer(next.Sub(at))
	default:
		r.timer.Reset(next.Sub(at))
	}
	r.set = next
}

// askSystem asks systemd whether the system goes down. If so no worker has more time
// than shutdown_timeout. Who cannot be asked is not waited for: the workers then have
// the time that they have anyhow.
func (s *Supervisor) askSystem() {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return // another service manager, which has no such state
	}
	path, err := config.LookPath("systemctl", "/", "/usr/bin:/bin")
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), getentPatience)
	defer cancel()
	out, err := s.help(ctx, keeper.Spawn{Path: path, Args: []string{"systemctl", "show", "--property=SystemState", "--value"},
		Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, Dir: "/", KillScope: config.ScopeGroup})
	if errors.Is(err, errHelpersOver) || s.helpers.closed() {
		return // there is nobody left to hurry
	}
	if err != nil {
		s.log.Warn("cannot learn whether the system goes down", "error", err)
		return
	}
	if strings.TrimSpace(string(out)) != "stopping" {
		return
	}
	_ = s.ask(ctx, func() {
		s.step(core.Leave{Within: s.config.Load().ShutdownTimeout, By: "the system goes down"})
	})
}

// summary is a snapshot in a line: "5 pools, 38/40 healthy, 1 deploying".
func summary(snap *Snapshot) string {
	wanted, healthy, failed, deploying, live := 0, 0, 0, 0, 0
	for _, p := range snap.Pools {
		if p.Deployment != nil {
			deploying++
		}
		for _, w := range p.Workers {
			if w.Run != nil {
				live++
			}
			if p.Removed || p.Desired != core.Up || w.Desired != core.Up || w.Index >= p.Count || w.State == core.Completed {
				continue
			}
			wanted++
			if w.State == core.Running && w.Run != nil && w.Run.Healthy {
				healthy++
			}
			if w.State == core.Failed {
				failed++
			}
		}
	}
	if snap.Info.Stopping {
		return fmt.Sprintf("stopping: %s left", counted(live, "worker"))
	}
	parts := []string{counted(len(snap.Pools), "pool"), fmt.Sprintf("%d/%d healthy", healthy, wanted)}
	if deploying > 0 {
		parts = append(parts, fmt.Sprintf("%d deploying", deploying))
	}
	if failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", failed))
	}
	if len(snap.Info.Degraded) > 0 {
		parts = append(parts, "degraded")
	}
	return strings.Join(parts, ", ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

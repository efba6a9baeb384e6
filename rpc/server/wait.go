package server

import (
	"context"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor"
)

// maxWait bounds ?wait: a client that wants longer asks again.
const maxWait = time.Hour

// wait is the query's ?wait, 0 without one.
func (c *call) wait() (time.Duration, error) {
	text := c.r.URL.Query().Get("wait")
	if text == "" {
		return 0, nil
	}
	d, err := signals.ParseDuration(text)
	if err != nil {
		return 0, rpc.Errorf(rpc.KindInvalid, "cannot %s: wait: %v", c.verb(), err)
	}
	if d > maxWait {
		return 0, rpc.Errorf(rpc.KindInvalid, "cannot %s: wait=%s is too long; at most 1h, then ask again", c.verb(), clip(text))
	}
	return d, nil
}

// waitUntil calls done with the newest snapshot, and again with each newer one,
// until it is true, the time is over, the peer has gone or superd ends.
func (s *Server) waitUntil(ctx context.Context, limit time.Duration, done func(*supervisor.Snapshot) bool) {
	s.waitLook(ctx, limit, func(snap *supervisor.Snapshot) (bool, time.Duration) { return done(snap), 0 })
}

// waitLook is waitUntil for a condition that may also become true by the mere
// passing of time: look says when it wants to be called again, 0 for only when
// something changed.
func (s *Server) waitLook(ctx context.Context, limit time.Duration, look func(*supervisor.Snapshot) (bool, time.Duration)) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		snap, newer := s.api.Snapshot()
		done, after := look(snap)
		if done {
			return
		}
		again.Stop()
		var timer <-chan time.Time
		if after > 0 {
			again.Reset(after)
			timer = again.C
		}
		select {
		case <-newer:
		case <-timer:
		case <-ctx.Done():
			return
		case <-s.done:
			return
		}
	}
}

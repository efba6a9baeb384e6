package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
)

// eventBatch bounds what is taken from memory and written at one time.
const eventBatch = 500

// eventFilter is what a reader of events wants and may have.
type eventFilter struct {
	follow bool
	since  uint64
	pools  []string // nil: all
	types  []string // patterns such as "worker.*"; nil: all
}

var eventParameters = []string{"follow", "since", "pool", "type"}

func readFilter(q url.Values) (*eventFilter, error) {
	f := &eventFilter{pools: q["pool"], types: q["type"]}
	var err error
	if f.follow, err = flag(q, "follow"); err != nil {
		return nil, err
	}
	if text := q.Get("since"); text != "" {
		if f.since, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("since=%q is not a sequence number; 0 means all in memory", clip(text))
		}
	}
	for _, pattern := range f.types {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("type=%q is not a pattern; it is such as worker.exited or worker.*", clip(pattern))
		}
	}
	return f, nil
}

// flag reads a query flag: follow, follow=, follow=true or follow=false.
func flag(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	switch v := q.Get(name); v {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	default:
		return false, fmt.Errorf("%s=%q is neither true nor false", name, clip(v))
	}
}

func (f *eventFilter) wants(e *supervisor.Event) bool {
	if len(f.pools) > 0 && !slices.Contains(f.pools, e.Pool) {
		return false
	}
	return len(f.types) == 0 || slices.ContainsFunc(f.types, func(pattern string) bool {
		ok, _ := path.Match(pattern, e.Type)
		return ok
	})
}

// getEvents writes what happened, a line each, and with follow what happens. A
// reader that is too slow finds a line events.missed where events have left the
// memory meanwhile; one that takes nothing at all is hung up on.
func (s *Server) getEvents(c *call) error {
	f, err := readFilter(c.r.URL.Query())
	if err != nil {
		return rpc.Errorf(rpc.KindInvalid, "cannot show events: %v", err)
	}
	for _, name := range f.pools {
		if p := c.snap.Pool(name); c.access.pool(p) < viewer {
			return c.access.forbid(viewer, "show the events of "+clip(name), clip(name))
		}
	}
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusOK)
	_ = c.rc.Flush()
	s.stream(c, f)
	return nil
}

// stream writes until the events or the peer come to an end.
func (s *Server) stream(c *call, f *eventFilter) {
	next := f.since // the newest that was dealt with
	if newest := s.newestEvent(); next > newest {
		// The numbers have gone back, as when the durable state was lost: what
		// is asked for would come after a long silence, if ever.
		var b bytes.Buffer
		missed(&b, newest+1, next)
		if !s.push(c, b.Bytes()) {
			return
		}
		next = newest
	}
	for {
		events, oldest, more := s.api.Events(next, eventBatch)
		var b bytes.Buffer
		if next > 0 && oldest > next+1 {
			missed(&b, next+1, oldest-1)
			next = oldest - 1
		}
		if len(events) > 0 && f.follow {
			s.catchUp(c, events[len(events)-1].Seq)
		}
		// Roles may change while it streams.
		c.access = s.accessOf(c.access.peer, s.newest())
		if !c.mayStream(f) {
			return
		}
		for i := range events {
			e := &events[i]
			next = e.Seq
			if f.wants(e) && c.maySee(e) {
				encodeEvent(&b, e)
			}
		}
		if b.Len() > 0 && !s.push(c, b.Bytes()) {
			return
		}
		if len(events) == eventBatch {
			continue
		}
		if !f.follow {
			return
		}
		select {
		case <-more:
		case <-c.r.Context().Done():
			return
		case <-s.done:
			return
		}
	}
}

// mayStream tells whether the peer still has a role for what it reads. Whoever
// has none any more is hung up on, and told so when it asks again.
func (c *call) mayStream(f *eventFilter) bool {
	for _, name := range f.pools {
		if p := c.access.snap.Pool(name); p != nil && c.access.pool(p) < viewer {
			return false
		}
	}
	return c.access.any()
}

// newestEvent is the newest sequence number; the state may be a little behind it.
func (s *Server) newestEvent() uint64 {
	newest := s.newest().Seq
	for {
		events, _, _ := s.api.Events(newest, eventBatch)
		if len(events) == 0 {
			return newest
		}
		newest = events[len(events)-1].Seq
	}
}

// catchUp lets the state come up to an event before that is told: whoever looks
// because of it should find it. Some events change nothing that the state shows,
// so it is not waited for long.
func (s *Server) catchUp(c *call, seq uint64) {
	s.waitUntil(c.r.Context(), 100*time.Millisecond, func(snap *supervisor.Snapshot) bool { return snap.Seq >= seq })
}

// maySee tells whether the peer may see an event: those of no pool are for
// viewers of everything.
func (c *call) maySee(e *supervisor.Event) bool {
	if c.access.all >= viewer {
		return true
	}
	return e.Pool != "" && c.access.pool(c.access.snap.Pool(e.Pool)) >= viewer
}

// push writes and flushes within the time a peer is given.
func (s *Server) push(c *call, b []byte) bool {
	_ = c.rc.SetWriteDeadline(time.Now().Add(s.opts.Patience))
	if _, err := c.w.Write(b); err != nil {
		return false
	}
	if err := c.rc.Flush(); err != nil {
		return false
	}
	_ = c.rc.SetWriteDeadline(time.Time{})
	return true
}

func encodeEvent(b *bytes.Buffer, e *supervisor.Event) {
	mark := b.Len()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(event(e)); err != nil || b.Len()-mark > rpc.MaxEventLine {
		// Something in the data cannot be written: the rest of the event can.
		b.Truncate(mark)
		short := event(e)
		short.Data = map[string]any{}
		_ = enc.Encode(short)
	}
}

// missed stands for a gap.
func missed(b *bytes.Buffer, from, to uint64) {
	_ = json.NewEncoder(b).Encode(rpc.Event{
		Seq: to, Time: rpc.At(time.Now()), Type: rpc.EventsMissed,
		Message: fmt.Sprintf("events %d to %d are no longer in memory", from, to),
		Data:    map[string]any{"from": from, "to": to},
	})
}

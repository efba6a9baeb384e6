package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// EventQuery says which events are wanted.
type EventQuery struct {
	Since uint64   // those after this sequence number; 0: all in memory
	Pools []string // nil: all
	Types []string // patterns such as "worker.*"; nil: all
}

func (q *EventQuery) path(follow bool) string {
	v := url.Values{"since": {strconv.FormatUint(q.Since, 10)}}
	if follow {
		v.Set("follow", "true")
	}
	v["pool"], v["type"] = q.Pools, q.Types
	return "/v1/events?" + v.Encode()
}

// Events calls each with the events that superd has in memory, oldest first,
// until there are no more or each returns an error, which it returns.
func (c *Client) Events(ctx context.Context, q EventQuery, each func(Event) error) error {
	for {
		err := c.stream(ctx, &q, false, func() {}, each)
		if !errors.Is(err, errCut) {
			return err
		}
	}
}

// Follow calls each with the events after q.Since as they come, until ctx ends,
// each returns an error, or superd has been away for longer than the client's
// Reach. A stream that breaks is taken up again where it broke. connected is
// called whenever there is a (new) stream: whoever asks for the state after that
// and acts on each event misses nothing.
func (c *Client) Follow(ctx context.Context, q EventQuery, connected func(), each func(Event) error) error {
	for {
		err := c.stream(ctx, &q, true, connected, each)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, errCut) {
			return err
		}
		// A superd that takes us and hangs up at once is on its way out.
		if !sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// Once is Follow for one stream alone: it returns nil when superd hangs up.
func (c *Client) Once(ctx context.Context, q EventQuery, connected func(), each func(Event) error) error {
	err := c.stream(ctx, &q, true, connected, each)
	if errors.Is(err, errCut) {
		return nil
	}
	return err
}

// errCut says that a stream ended before its end.
var errCut = errors.New("the event stream broke")

// stream reads one stream and moves q.Since forward with it.
func (c *Client) stream(ctx context.Context, q *EventQuery, follow bool, connected func(), each func(Event) error) error {
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.open(sctx, cancel, q.path(follow))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	connected()
	events := NewEventDecoder(resp.Body)
	for {
		ev, err := events.Next()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errBadEvent):
			return err
		default:
			return errCut
		}
		if ev.Seq > q.Since {
			q.Since = ev.Seq
		}
		if err := each(ev); err != nil {
			return err
		}
	}
}

// open gets a stream going, waiting for superd as Do does; cancel ends the
// context that the stream lives in.
func (c *Client) open(ctx context.Context, cancel context.CancelFunc, path string) (*http.Response, error) {
	limit := time.Now().Add(c.opts.Reach)
	late := time.AfterFunc(c.opts.Reach, cancel)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		resp, err := c.send(ctx, Request{Method: http.MethodGet, Path: path}, nil)
		if err == nil && resp.StatusCode >= 300 {
			raw, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			resp.Body.Close()
			err = replyError(resp, raw)
		}
		if err == nil {
			if late.Stop() {
				return resp, nil
			}
			resp.Body.Close()
			err = context.DeadlineExceeded
		}
		again, final := c.judge(err, true)
		if !again {
			late.Stop()
			return nil, final
		}
		if errors.Is(err, context.Canceled) { // by late
			err = context.DeadlineExceeded
		}
		c.tell(err)
		if !sleep(ctx, pause) || time.Now().After(limit) {
			late.Stop()
			return nil, c.unreachable(err)
		}
	}
}

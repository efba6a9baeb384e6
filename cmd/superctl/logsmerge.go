package main

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/superd/superd/rpc"
)

// logBatch is how many lines go through a channel together.
const logBatch = 256

// mergeLogs shows several logs as one: what was written before is merged by time,
// what is followed comes as it is written.
func (a *app) mergeLogs(ctx context.Context, sources []logSource, follow bool, out *logPrinter) error {
	merged, err := a.mergeHistory(ctx, sources, out)
	if err != nil || !follow {
		return err
	}
	client := a.connect()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error, len(merged))
	for _, s := range merged {
		go func() { ends <- client.Logs(ctx, s.query, out.print) }()
	}
	for range merged {
		err := <-ends
		if err != nil { // the first is the cause of the others
			return err
		}
	}
	return nil
}

// logHistory is one of the histories that are merged.
type logHistory struct {
	batches chan []rpc.LogLine // closed at the end
	err     error              // set before that
	head    []rpc.LogLine      // what was taken and not shown yet
	key     time.Time          // of its first line
}

// mergeHistory shows the histories, and returns the sources that could be read.
// One that cannot, since its lines go elsewhere, does not keep the others from it.
func (a *app) mergeHistory(ctx context.Context, sources []logSource, out *logPrinter) ([]logSource, error) {
	client := a.connect()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	histories := make([]*logHistory, len(sources))
	for i, s := range sources {
		h := &logHistory{batches: make(chan []rpc.LogLine, 1)}
		histories[i] = h
		s.query.Follow = false
		running.Go(func() { h.read(ctx, client, s.query) })
	}
	show := out.print
	var last *lastLines
	if n, err := strconv.Atoi(sources[0].query.Lines); err == nil {
		last = &lastLines{n: n}
		show = func(l rpc.LogLine) error {
			if l.Missed != "" { // it is no line, and takes no line's place
				return out.print(l)
			}
			last.keep(l)
			return nil
		}
	}
	if err := mergeByTime(histories, show); err != nil {
		return nil, err
	}
	if last != nil {
		if err := last.each(out.print); err != nil {
			return nil, err
		}
	}
	return a.readable(sources, histories)
}

// readable sorts out the sources that could not be read. A run is one worker's: that
// the others do not have it is no failure, unless it is nowhere.
func (a *app) readable(sources []logSource, histories []*logHistory) ([]logSource, error) {
	var good []logSource
	var refused, nowhere error
	for i, h := range histories {
		var e *rpc.Error
		switch {
		case h.err == nil:
			good = append(good, sources[i])
		case errors.As(h.err, &e) && e.Kind == rpc.KindConflict:
			refused = h.err
		case errors.As(h.err, &e) && e.Kind == rpc.KindNotFound && sources[i].query.Run != "" && !strings.HasPrefix(sources[i].name, "job/"):
			nowhere, h.err = cmp.Or(nowhere, h.err), nil
		default:
			return nil, h.err
		}
	}
	if len(good) == 0 {
		return nil, cmp.Or(nowhere, refused)
	}
	for _, h := range histories {
		if h.err != nil {
			a.note("%v", h.err)
		}
	}
	return good, nil
}

// read reads one history to its end.
func (h *logHistory) read(ctx context.Context, c *rpc.Client, q rpc.LogQuery) {
	defer close(h.batches)
	var batch []rpc.LogLine
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		select {
		case h.batches <- batch:
			batch = make([]rpc.LogLine, 0, logBatch)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	size := 0
	h.err = c.Logs(ctx, q, func(l rpc.LogLine) error {
		batch = append(batch, l.Clone())
		if size += len(l.Line); len(batch) < logBatch && size < 1<<20 {
			return nil
		}
		size = 0
		return send()
	})
	if err := send(); h.err == nil {
		h.err = err
	}
}

// next makes sure that there is a head, unless the history is at its end. A line
// without a time stays behind the one before it.
func (h *logHistory) next() bool {
	if len(h.head) == 0 {
		h.head = <-h.batches
	}
	if len(h.head) == 0 {
		return false
	}
	if t := h.head[0].Time; !t.IsZero() {
		h.key = t.Time
	}
	return true
}

// mergeByTime shows the lines of all histories, by time; those of one stay in order. A
// history that fails ends there; whoever waits for the others still gets them.
func mergeByTime(histories []*logHistory, show func(rpc.LogLine) error) error {
	for {
		var first *logHistory
		for _, h := range histories {
			if h.next() && (first == nil || h.key.Before(first.key)) {
				first = h
			}
		}
		if first == nil {
			return nil
		}
		if err := show(first.head[0]); err != nil {
			return err
		}
		first.head = first.head[1:]
	}
}

// lastLines keeps the last n lines.
type lastLines struct {
	n    int
	ring []rpc.LogLine
	next int
}

func (k *lastLines) keep(l rpc.LogLine) {
	switch {
	case k.n == 0:
	case len(k.ring) < k.n:
		k.ring = append(k.ring, l)
	default:
		k.ring[k.next] = l
		k.next = (k.next + 1) % k.n
	}
}

func (k *lastLines) each(show func(rpc.LogLine) error) error {
	for i := range k.ring {
		if err := show(k.ring[(k.next+i)%len(k.ring)]); err != nil {
			return err
		}
	}
	return nil
}

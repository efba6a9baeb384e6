package main

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/superd/superd/rpc"
)

// gather is how long news are let come in together: a thousand workers that
// start are not worth a thousand looks.
const gather = 30 * time.Millisecond

// relook is when to look although no news came, in case superd has forgotten
// what was to be told.
const relook = 15 * time.Second

// news tells which pools something happened to. It goes on through a superd that
// is started again.
type news struct {
	wake chan struct{}

	mu    sync.Mutex
	all   bool
	pools map[string]bool
	err   error // the stream has ended for good
}

// listen begins to listen for events after since; pools nil means all. It ends with ctx.
func (a *app) listen(ctx context.Context, since uint64, pools []string) *news {
	n := &news{wake: make(chan struct{}, 1), all: true, pools: map[string]bool{}}
	go func() {
		err := a.connect().Follow(ctx, rpc.EventQuery{Since: since, Pools: pools},
			func() { n.tell("") },
			func(ev rpc.Event) error { n.tell(string(ev.Pool)); return nil })
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		n.tell("")
	}()
	return n
}

// tell marks a pool, or all of them for "".
func (n *news) tell(pool string) {
	n.mu.Lock()
	if pool == "" {
		n.all = true
	} else {
		n.pools[pool] = true
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take tells which pools are worth a look since it was last asked.
func (n *news) take() func(pool string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, pools := n.all, n.pools
	n.all, n.pools = false, map[string]bool{}
	return func(pool string) bool { return all || pools[pool] }
}

// wait returns when there are news or after tick, 0 for relook. The error is
// ctx's, or why no more news will come.
func (n *news) wait(ctx context.Context, tick time.Duration) error {
	if tick <= 0 {
		tick = relook
	}
	timer := time.NewTimer(tick)
	defer timer.Stop()
	select {
	case <-n.wake:
		if err := pause(ctx, gather); err != nil {
			return err
		}
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// pause waits for d, or as long as ctx lets it.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endOfWatch makes an end of what has none no error: the user has seen enough,
// the time given is over, or nobody reads any more.
func endOfWatch(err error) error {
	for _, e := range []error{context.Canceled, context.DeadlineExceeded, syscall.EPIPE} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

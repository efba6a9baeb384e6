package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/keeper"
)

// getentPatience is how long a name service may think.
const getentPatience = 10 * time.Second

// accountLife is how long an account that was looked up is taken for granted.
const accountLife = time.Minute

// accounts remembers users that were looked up: a restart must not wait for a
// directory server each time.
type accounts struct {
	mu    sync.Mutex
	known map[[2]string]knownAccount
}

type knownAccount struct {
	account *config.Account
	since   time.Time
}

// account is whom a pool's runs become.
func (s *Supervisor) account(c *config.Pool) (*config.Account, error) {
	key := [2]string{c.User, c.Group}
	s.accounts.mu.Lock()
	k, ok := s.accounts.known[key]
	s.accounts.mu.Unlock()
	if ok && time.Since(k.since) < accountLife {
		return k.account, nil
	}
	account, err := config.LookupAccount(context.Background(), c.User, c.Group, s.getent)
	if err != nil {
		return nil, err
	}
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	if s.accounts.known == nil {
		s.accounts.known = map[[2]string]knownAccount{}
	}
	s.accounts.known[key] = knownAccount{account, time.Now()}
	return account, nil
}

// helpers are small programs of superd's own that the keeper runs, such as
// getent. They are no runs of any worker.
type helpers struct {
	mu    sync.Mutex
	last  atomic.Uint64
	ended map[string]chan keeper.Event
	over  bool // no more are run
}

var errHelpersOver = errors.New("superd is ending")

const helperPrefix = "helper"

// take gives a helper's end to whoever waits for it, and tells if it was one's.
func (h *helpers) take(ev keeper.Event) bool {
	if len(ev.Run) < len(helperPrefix) || ev.Run[:len(helperPrefix)] != helperPrefix {
		return false
	}
	if ev.Kind != keeper.Exited && ev.Kind != keeper.SpawnFailed {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ended := h.ended[ev.Run]; ended != nil {
		ended <- ev // has room for the one event that is taken
		delete(h.ended, ev.Run)
	}
	return true
}

// await has a helper's end told to a channel; false: no more helpers are run.
func (h *helpers) await(run string, ended chan keeper.Event) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	if h.ended == nil {
		h.ended = map[string]chan keeper.Event{}
	}
	h.ended[run] = ended
	return true
}

func (h *helpers) forget(run string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ended, run)
}

// close lets no more helpers be run, and tells which have not ended.
func (h *helpers) close() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	return slices.Collect(maps.Keys(h.ended))
}

// closed tells that no more helpers are run.
func (h *helpers) closed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

// endHelpers ends the helpers that are left when the loop has ended: the keeper does
// not go while it has any.
func (s *Supervisor) endHelpers() {
	for _, run := range s.helpers.close() {
		s.tellKeeper(s.keepers.Sweep(run))
	}
	late := time.NewTimer(drainPatience)
	defer late.Stop()
	for len(s.helpers.close()) > 0 {
		select {
		case t := <-s.keepers.told:
			if t.lost && t.by == s.keepers.current() {
				return
			}
			s.helpers.take(t.Event)
		case <-late.C:
			return
		}
	}
}

// getent asks the host's name services for what the files lack (getent(1)).
func (s *Supervisor) getent(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, getentPatience)
	defer cancel()
	path, err := config.LookPath("getent", "/", "/usr/bin:/bin:/usr/local/bin")
	if err != nil {
		return nil, err
	}
	return s.help(ctx, keeper.Spawn{Path: path, Args: append([]string{"getent"}, args...),
		Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, Dir: "/", KillScope: config.ScopeGroup})
}

// maxHelp is how much a helper may print.
const maxHelp = 1 << 20

// help runs a helper to its end and returns what it printed.
func (s *Supervisor) help(ctx context.Context, sp keeper.Spawn) ([]byte, error) {
	out, ev, err := s.helper(ctx, sp)
	switch {
	case err != nil:
		return out, err
	case ev.Kind == keeper.SpawnFailed:
		return nil, errors.New(ev.Reason)
	case ev.Status.Code == 2 && ev.Status.Signal == 0:
		return out, nil // getent has not found all that it was asked for
	case ev.Status.Code != 0 || ev.Status.Signal != 0:
		return nil, fmt.Errorf("%s: %s", sp.Args[0], ev.Status)
	}
	return out, nil
}

// helper runs a helper to its end: what it printed, and how it ended.
func (s *Supervisor) helper(ctx context.Context, sp keeper.Spawn) (out []byte, end keeper.Event, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, end, err
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		w.Close()
		return nil, end, err
	}
	defer null.Close()
	// Another superd with the same pid may have had helpers, and the keeper starts
	// nothing twice.
	sp.Run = fmt.Sprintf("%s%s%d", helperPrefix, strconv.FormatInt(s.started.UnixNano(), 36), s.helpers.last.Add(1))
	sp.Stdout, sp.Stderr = w, null
	ended := make(chan keeper.Event, 1)
	if !s.helpers.await(sp.Run, ended) {
		w.Close()
		return nil, end, errHelpersOver
	}
	err = s.keepers.Spawn(ctx, sp)
	w.Close()
	if err != nil {
		s.helpers.forget(sp.Run)
		return nil, end, err
	}
	stop := context.AfterFunc(ctx, func() { s.keepers.Sweep(sp.Run); r.SetReadDeadline(time.Now()) })
	defer stop()
	out, err = io.ReadAll(io.LimitReader(r, maxHelp))
	select {
	case end = <-ended:
		return out, end, err
	case <-ctx.Done():
		s.helpers.forget(sp.Run) // its keeper may have died
		return nil, end, fmt.Errorf("%s: %w", sp.Args[0], ctx.Err())
	}
}

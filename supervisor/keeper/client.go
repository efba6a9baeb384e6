package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/proc/pack"
)

// Client is superd's side of the connection to the keeper. It is safe for
// concurrent use. Spawn, Signal, Sweep and Acknowledge only send: requests of one
// goroutine are done in their order, and what comes of them comes as events. The
// others wait for the answer.
//
// Answers come whether or not somebody reads the events: those wait in a queue,
// which is as long as the runs are many that nobody acknowledges.
type Client struct {
	conn    *net.UnixConn
	dir     string
	name    string // of its socket in dir
	pid     int
	version int
	log     func(string)
	events  chan Event
	word    kind // its first: reqHello or reqObserve
	child   int  // a pidfd of the keeper, if it is our child; -1
	closed  chan struct{}
	close   sync.Once
	over    chan struct{} // nothing of the connection goes on any more

	queueing sync.Mutex
	queue    []Event       // on the way to events
	queued   chan struct{} // has one in it when queue may not be empty; closed: no more come

	write sync.Mutex // also guards out
	out   pack.Writer

	mu    sync.Mutex
	last  uint64
	calls map[uint64]*call
	err   error
	hang  hang
}

// call is a request whose answer is waited for.
type call struct {
	answer chan result
	runs   []RunState
	names  []string
}

type result struct {
	fd  int // -1: none
	err error
}

// patience is how long an answer is waited for where the caller sets no limit:
// far longer than a keeper that lives ever takes, and than it takes to find out
// that one hangs.
const patience = 20 * time.Second

// greetPatience is how long a keeper that was called may take to answer.
const greetPatience = 10 * time.Second

func newClient(conn *net.UnixConn, log func(string)) *Client {
	return &Client{
		conn: conn, log: log, word: reqHello, child: -1,
		events: make(chan Event, 64),
		closed: make(chan struct{}),
		over:   make(chan struct{}),
		queued: make(chan struct{}, 1),
		calls:  make(map[uint64]*call),
	}
}

// PID is the keeper's process ID.
func (c *Client) PID() int { return c.pid }

// Version is the version of the protocol that both speak.
func (c *Client) Version() int { return c.version }

// Events are what happens to runs from the connection on; what happened before
// is told by List. It is closed when the connection is lost, which is when the
// keeper has died, or by Close; Err says which.
func (c *Client) Events() <-chan Event { return c.events }

// Err is why the connection is lost, an [ErrLost]; nil while it is there.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close hangs up. The keeper and its runs go on.
func (c *Client) Close() error {
	c.close.Do(func() { close(c.closed) })
	c.lost(errors.New("it was closed"))
	return c.conn.Close()
}

// Spawn asks for a run to be started, and returns when the request is sent: it
// waits only while the keeper has more requests than the socket takes, and no
// longer than ctx. Forked, Started or SpawnFailed follow. A run that was asked
// for before is not started again; its events are told once more.
func (c *Client) Spawn(ctx context.Context, s Spawn) error {
	p, files, err := s.packet()
	if err != nil {
		return err
	}
	fds, err := duplicate(files)
	defer func() { closeAll(fds) }()
	if err != nil {
		return fmt.Errorf("cannot hand over run %s: %w", s.Run, err)
	}
	c.write.Lock()
	defer c.write.Unlock()
	c.begin(reqSpawn, 0)
	p.pack(&c.out)
	if len(c.out.Buf) > maxPacket {
		var w pack.Writer
		p.spec.Pack(&w)
		if len(w.Buf) > proc.MaxSpec {
			return fmt.Errorf("cannot hand over run %s: arguments and environment have %d bytes; at most %d are allowed", s.Run, len(w.Buf), proc.MaxSpec)
		}
		memory, err := proc.Sealed("superd-spec", w.Buf)
		if err != nil {
			return fmt.Errorf("cannot hand over run %s: %w", s.Run, err)
		}
		fds = append(fds, memory)
		p.apart = true
		c.begin(reqSpawn, 0)
		p.pack(&c.out)
	}
	if err := c.send(ctx, fds); err != nil {
		return fmt.Errorf("cannot hand over run %s: %w", s.Run, err)
	}
	return nil
}

// packet checks a spawn and puts it into the form in which it travels, with the
// files that go beside it.
func (s *Spawn) packet() (*spawnPacket, []*os.File, error) {
	wrong := func(err error) error { return fmt.Errorf("cannot hand over run %.40q: %w", s.Run, err) }
	if err := checkRun(s.Run); err != nil {
		return nil, nil, wrong(err)
	}
	scope, err := scopeNumber(s.KillScope)
	if err != nil {
		return nil, nil, wrong(err)
	}
	p := &spawnPacket{
		run: s.Run, label: s.Label, scope: scope, cgroup: s.Cgroup, direct: s.Direct,
		spec: proc.Spec{Path: s.Path, Args: s.Args, Env: s.Env, Dir: s.Dir,
			Credential: s.Credential, Umask: s.Umask, Limits: proc.Limits(s.Limits)},
	}
	var files []*os.File
	if s.Stdout != nil {
		p.stdout = outOwn
		files = append(files, s.Stdout)
	}
	switch {
	case s.Stderr == nil:
	case s.Stderr == s.Stdout:
		p.stderr = outSame
	default:
		p.stderr = outOwn
		files = append(files, s.Stderr)
	}
	for name, f := range s.Hold {
		p.hold = append(p.hold, name)
		files = append(files, f)
	}
	if err := p.check(); err != nil {
		return nil, nil, wrong(err)
	}
	if err := p.spec.Check(); err != nil {
		return nil, nil, wrong(err)
	}
	return p, files, nil
}

// Signal asks for sig to be sent to a run: to its main process (ScopeMain and
// ScopeProcess), its process group, or everything in its cgroup. Number counts
// the run's signals from 1: one that the keeper has sent before is not sent
// again. 0 sends in any case. A run that has ended is passed over in silence.
func (c *Client) Signal(run string, sig syscall.Signal, scope config.Scope, number int) error {
	to, err := scopeNumber(scope)
	if err != nil {
		return fmt.Errorf("cannot signal run %s: %w", run, err)
	}
	return c.order(reqSignal, run, func(w *pack.Writer) {
		w.Uint(uint64(sig))
		w.Byte(to)
		w.Int(int64(number))
	})
}

// Sweep kills all that the run's kill scope covers, main process included. When
// it was done before and something has not gone, Stuck tells what.
func (c *Client) Sweep(run string) error { return c.order(reqSweep, run, nil) }

// Acknowledge says that the end of a run is known: the keeper may forget it, and
// lets go of the descriptors held under names that begin with the run ID and a
// dot. A run that lives is not forgotten; Warning says so.
func (c *Client) Acknowledge(run string) error { return c.order(reqAcknowledge, run, nil) }

// order sends a request about a run that has no answer.
func (c *Client) order(k kind, run string, body func(*pack.Writer)) error {
	if err := checkRun(run); err != nil {
		return err
	}
	c.write.Lock()
	defer c.write.Unlock()
	c.begin(k, 0)
	c.out.String(run)
	if body != nil {
		body(&c.out)
	}
	return c.send(context.Background(), nil)
}

// Adopt has a run watched and swept whose keeper has died. Its end comes as the
// event Exited, at once if its process is not there any more. The status is exact
// where the kernel tells it (Linux 6.15), else unknown.
func (c *Client) Adopt(a Adopt) error {
	scope, err := scopeNumber(a.KillScope)
	if err == nil {
		err = checkRun(a.Run)
	}
	if err == nil {
		_, err = c.ask(context.Background(), reqAdopt, nil, nil, func(w *pack.Writer) { packAdopt(w, &a, scope) })
	}
	if err != nil {
		return fmt.Errorf("cannot adopt run %.40q: %w", a.Run, err)
	}
	return nil
}

// Hold has the keeper keep a duplicate of f under name, instead of what it had
// there. f stays the caller's.
func (c *Client) Hold(name string, f *os.File) error {
	err := checkName(name)
	if err == nil {
		_, err = c.ask(context.Background(), reqHold, []*os.File{f}, nil, func(w *pack.Writer) { w.String(name) })
	}
	if err != nil {
		return fmt.Errorf("cannot have %.60q held: %w", name, err)
	}
	return nil
}

// Release has the keeper close what it holds under name; what it does not hold
// is no error.
func (c *Client) Release(name string) error {
	err := checkName(name)
	if err == nil {
		_, err = c.ask(context.Background(), reqRelease, nil, nil, func(w *pack.Writer) { w.String(name) })
	}
	if err != nil {
		return fmt.Errorf("cannot have %.60q released: %w", name, err)
	}
	return nil
}

// Fetch gives a duplicate of what the keeper holds under name; [ErrNotHeld].
func (c *Client) Fetch(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	r, err := c.ask(context.Background(), reqFetch, nil, nil, func(w *pack.Writer) { w.String(name) })
	return fetched(name, r, err)
}

// List tells all runs that were not acknowledged, and the names of the held
// descriptors, both in no order. Events of the same runs may come before or after.
func (c *Client) List(ctx context.Context) ([]RunState, []string, error) {
	call := newCall()
	if _, err := c.ask(ctx, reqList, nil, call, nil); err != nil {
		return nil, nil, fmt.Errorf("cannot list runs: %w", err)
	}
	return call.runs, call.names, nil
}

// End has the keeper end, and waits until it has. [ErrLive]: it still has runs
// that live, and goes on.
func (c *Client) End(ctx context.Context) error {
	if _, err := c.ask(ctx, reqEnd, nil, nil, nil); err != nil {
		return fmt.Errorf("cannot end the keeper: %w", err)
	}
	events := c.events
	for {
		select {
		case _, ok := <-events: // nobody else wants them any more
			if !ok {
				events = nil
			}
		case <-c.over:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("cannot end the keeper: %w", ctx.Err())
		}
	}
}

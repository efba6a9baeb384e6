package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultReach is how long a client waits for superd to answer: long enough for
// it to be killed and started again.
const DefaultReach = 30 * time.Second

// maxReply bounds an answer, in bytes: 100,000 workers are a third of it.
const maxReply = 256 << 20

// Options say how a client reaches superd.
type Options struct {
	// Sockets are tried in order; the first that can be connected to is used from then on.
	Sockets []string
	// Reach is how long to try until superd answers; 0: DefaultReach.
	Reach time.Duration
	// Waiting is told once, when a first attempt has failed and others follow.
	Waiting func(cause error)
}

// Client talks to superd. It is safe for concurrent use.
//
// A superd that is being restarted is waited for: what can be asked twice is
// asked again until it is answered. What cannot is reported as Interrupted.
type Client struct {
	opts Options
	http *http.Client

	mu     sync.Mutex
	socket string // in use; empty before the first contact
	told   bool
}

// Interrupted says that superd went away after a request was sent and before it
// was answered: it may have been done or not.
type Interrupted struct{ Cause error }

func (e *Interrupted) Error() string {
	return fmt.Sprintf("superd went away before it answered (%v)", e.Cause)
}

func (e *Interrupted) Unwrap() error { return e.Cause }

// NewClient makes a client. It connects when it is first asked something.
func NewClient(opts Options) *Client {
	if opts.Reach == 0 {
		opts.Reach = DefaultReach
	}
	c := &Client{opts: opts}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
			DisableCompression: true,
			MaxIdleConns:       4,
			IdleConnTimeout:    20 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close hangs up. The client may be used again all the same.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Socket is the path of the socket in use, empty before the first contact.
func (c *Client) Socket() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.socket
}

// dialError is a failure before anything was sent.
type dialError struct{ cause error }

func (e *dialError) Error() string { return e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	paths := c.opts.Sockets
	if used := c.Socket(); used != "" {
		paths = []string{used}
	}
	var first error
	for _, path := range paths {
		conn, err := Dial(ctx, path)
		if err == nil {
			c.mu.Lock()
			c.socket = path
			c.mu.Unlock()
			return conn, nil
		}
		if first == nil || !comesBack(err) {
			first = err
		}
		if !comesBack(err) {
			break
		}
	}
	if first == nil {
		first = errors.New("no socket is named")
	}
	return nil, &dialError{first}
}

// Do sends a request and reads the answer into reply (unless nil), which it also
// returns as it came. What superd says against it is an *Error; so is a superd
// that cannot be reached (KindUnreachable). wait is for how long the request
// itself asks superd to wait. With repeat it is sent again if superd goes away
// meanwhile, else that is an *Interrupted.
func (c *Client) Do(ctx context.Context, r Request, reply any) (json.RawMessage, error) {
	body, err := r.encode()
	if err != nil {
		return nil, err
	}
	limit := time.Now().Add(c.opts.Reach + r.Wait)
	actx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	var refused *Error // the last time that it answered, it took no more calls
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		raw, err := c.once(actx, r, body)
		if err == nil {
			if reply != nil {
				if err := json.Unmarshal(raw, reply); err != nil {
					return raw, fmt.Errorf("cannot read superd's answer to %s %s: %w", r.Method, r.Path, err)
				}
			}
			return raw, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		again, final := c.judge(err, r.Repeat || unread(err, r, body))
		if !again {
			return nil, final
		}
		c.tell(err)
		errors.As(err, &refused)
		if !sleep(actx, pause) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if refused != nil {
				return nil, refused
			}
			return nil, c.unreachable(err)
		}
	}
}

// Request is one request to superd.
type Request struct {
	Method string
	Path   string        // with its query
	Body   any           // nil: none
	Wait   time.Duration // what the query's wait asks for
	Repeat bool          // it may be sent twice
}

func (r *Request) encode() ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	return json.Marshal(r.Body)
}

// once sends the request one time.
func (c *Client) once(ctx context.Context, r Request, body []byte) (json.RawMessage, error) {
	resp, err := c.send(ctx, r, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxReply {
		return nil, Errorf(KindInternal, "cannot read superd's answer to %s %s: it is larger than %d bytes", r.Method, r.Path, maxReply)
	}
	return raw, replyError(resp, raw)
}

func (c *Client) send(ctx context.Context, r Request, body []byte) (*http.Response, error) {
	if !r.Repeat {
		// On a connection that was used before, superd's hanging up could cross with
		// the request, and nobody would know whether it was read. A superd that goes
		// away waits for what comes on a new one.
		c.http.CloseIdleConnections()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://superd"+r.Path, reader)
	if err != nil {
		return nil, Errorf(KindInvalid, "cannot ask %s %s: %v", r.Method, r.Path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.http.Do(req)
}

// replyError is what an answer says against the request, or nil.
func replyError(resp *http.Response, raw []byte) error {
	if resp.StatusCode < 300 {
		return nil
	}
	var reply ErrorReply
	if err := json.Unmarshal(raw, &reply); err == nil && reply.Error != nil && reply.Error.Message != "" {
		return reply.Error
	}
	return Errorf(KindInternal, "superd answered %s and no reason", resp.Status)
}

// oneRead is what superd reads of a request at once, at least, in bytes.
const oneRead = 3 << 10

// unread tells whether err means that superd has gone without having seen anything of
// a request: an upgrade closes connections that were accepted and not yet read from.
// A unix socket whose other end was closed gives ECONNRESET only if something that was
// sent had not been read, and EPIPE if it could not be sent any more; a request that
// is not longer than one reading was then not read at all. One that was read and not
// answered ends in EOF.
func unread(err error, r Request, body []byte) bool {
	return len(r.Path)+len(body) <= oneRead && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// judge tells whether to try again after err, or what to say instead.
func (c *Client) judge(err error, repeat bool) (again bool, final error) {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind == KindTooMany, e
	}
	var de *dialError
	switch {
	case errors.As(err, &de):
		return comesBack(de.cause), c.unreachable(de.cause)
	case repeat:
		return true, nil
	case errors.Is(err, context.DeadlineExceeded):
		return false, c.unreachable(err)
	}
	return false, &Interrupted{Cause: bare(err)}
}

// unreachable says that superd does not answer, and where one may look.
func (c *Client) unreachable(cause error) error {
	var e *Error
	if errors.As(cause, &e) {
		return e
	}
	where := c.Socket()
	if where == "" {
		where = strings.Join(c.opts.Sockets, " or ")
	}
	switch {
	case errors.Is(cause, os.ErrPermission):
		return Errorf(KindForbidden, "cannot reach superd at %s: %v; its folder is closed to you", where, bare(cause))
	case errors.Is(cause, context.DeadlineExceeded):
		return Errorf(KindUnreachable, "cannot reach superd at %s: nobody answered within %s; is it running? (systemctl status superd, or its log)", where, c.opts.Reach)
	}
	return Errorf(KindUnreachable, "cannot reach superd at %s: %v; is it running, and is this its socket (-s SOCKET)?", where, bare(cause))
}

// bare is the innermost error: the wrapping by net and http repeats the obvious.
func bare(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// tell passes the first failure on to whoever wants to know why it takes so long.
func (c *Client) tell(cause error) {
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return // our own doing: superd was not waited for
	}
	c.mu.Lock()
	first := !c.told
	c.told = true
	c.mu.Unlock()
	if first && c.opts.Waiting != nil {
		c.opts.Waiting(bare(cause))
	}
}

// sleep waits unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

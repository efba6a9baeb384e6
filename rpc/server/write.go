package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor/core"
)

// reply writes an answer whole. A peer that does not take it in time is hung up on.
func (s *Server) reply(c *call, status int, v any) error {
	var body []byte
	if a, ok := v.(interface{ AppendJSON([]byte) []byte }); ok {
		body = a.AppendJSON(nil)
	} else {
		var err error
		if body, err = json.Marshal(v); err != nil {
			return fmt.Errorf("cannot encode the answer: %w", err)
		}
	}
	s.write(c, status, append(body, '\n'))
	return nil
}

func (s *Server) write(c *call, status int, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	_ = c.rc.SetWriteDeadline(time.Now().Add(s.opts.Patience))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // nobody is left to be told
	_ = c.rc.Flush()
	_ = c.rc.SetWriteDeadline(time.Time{})
}

// fail answers with an error.
func (s *Server) fail(c *call, err error) {
	c.dropBody() // unless it was read
	e := s.wireError(c, err)
	if e.Kind == rpc.KindInternal {
		s.opts.Log("control socket: " + e.Message)
	}
	body, err := json.Marshal(rpc.ErrorReply{Error: e})
	if err != nil {
		panic(err) // strings alone
	}
	s.write(c, e.Kind.Status(), append(body, '\n'))
}

// wireError finds the kind of an error.
func (s *Server) wireError(c *call, err error) *rpc.Error {
	var e *rpc.Error
	var refusal *core.Refusal
	var bad *config.Errors
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &refusal):
		return rpc.Errorf(refusalKind(refusal.Kind), "%s", refusal.Message)
	case errors.As(err, &bad):
		return configError(bad)
	case errors.Is(err, context.DeadlineExceeded):
		return rpc.Errorf(rpc.KindTimeout, "cannot %s: superd did not get to it within %s; superctl status shows what became of it", c.verb(), s.opts.Work)
	case errors.Is(err, context.Canceled):
		return rpc.Errorf(rpc.KindStopping, "cannot %s: superd is ending", c.verb())
	}
	if c.snap != nil && c.snap.Info.Stopping {
		return rpc.Errorf(rpc.KindStopping, "cannot %s: superd is being shut down: %v", c.verb(), err)
	}
	return rpc.Errorf(rpc.KindInternal, "cannot %s: %v", c.verb(), err)
}

func refusalKind(k core.RefusalKind) rpc.Kind {
	switch k {
	case core.RefuseNotFound:
		return rpc.KindNotFound
	case core.RefuseInvalid:
		return rpc.KindInvalid
	case core.RefuseConflict:
		return rpc.KindConflict
	case core.RefuseStopping:
		return rpc.KindStopping
	}
	return rpc.KindInternal
}

func configError(bad *config.Errors) *rpc.Error {
	e := rpc.Errorf(rpc.KindConfigInvalid, "cannot apply the configuration: it was refused as a whole, nothing has changed\n%s", bad.Error())
	for _, p := range bad.List {
		e.Problems = append(e.Problems, rpc.Problem{
			File: p.File, Line: rpc.Number(p.Line), Col: rpc.Number(p.Col), Key: rpc.Text(p.Key), Message: p.Message,
		})
	}
	return e
}

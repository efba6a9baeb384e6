package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
)

// historyPatience is how long a disk may take to give a pool's history. After that
// the answer is what is in memory.
const historyPatience = 5 * time.Second

var exitParameters = []string{"limit", "since", "worker", "failed"}

// getExits answers with how runs of a pool ended. A disk that cannot be read makes
// the answer incomplete, which it says.
func (s *Server) getExits(c *call) error {
	q, err := readExitQuery(c.r.URL.Query(), s.opts.Now().Wall)
	if err == nil {
		for _, text := range c.r.URL.Query()["worker"] {
			index, bad := c.index(text)
			if bad != nil {
				return bad
			}
			q.Indices = append(q.Indices, index)
		}
	}
	if err != nil {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: %v", c.verb(), err)
	}
	q.Pool = c.pool.Name
	ctx, cancel := context.WithTimeout(c.r.Context(), historyPatience)
	defer cancel()
	exits, err := s.api.Exits(ctx, q)
	out := rpc.ExitList{Exits: make([]rpc.RunExit, 0, len(exits))}
	for i := range exits {
		out.Exits = append(out.Exits, runExit(&exits[i]))
	}
	if err != nil {
		out.Incomplete = rpc.Text(err.Error())
	}
	return s.reply(c, http.StatusOK, out)
}

func readExitQuery(v url.Values, now time.Time) (supervisor.ExitQuery, error) {
	q := supervisor.ExitQuery{Limit: rpc.DefaultExits}
	var err error
	if q.Since, err = instant(v, "since", now); err != nil {
		return q, err
	}
	if q.Failed, err = flag(v, "failed"); err != nil {
		return q, err
	}
	if text := v.Get("limit"); text != "" {
		q.Limit, err = strconv.Atoi(text)
		if err != nil || q.Limit < 1 || q.Limit > rpc.MaxExits {
			return q, fmt.Errorf("limit=%q is not a number from 1 to %d, as many as are kept", clip(text), rpc.MaxExits)
		}
	}
	return q, nil
}

func runExit(x *supervisor.Exit) rpc.RunExit {
	return rpc.RunExit{
		At: rpc.At(x.At), Worker: workerName(x.Pool, x.Index), Index: x.Index, RunID: rpc.Text(x.RunID), PID: rpc.Number(x.PID),
		StartedAt: rpc.At(x.StartedAt), Uptime: rpc.SecondsOf(x.Uptime), Code: x.Code, Signal: rpc.Text(x.Signal), Core: x.Core,
		Reason: x.Reason, Stage: rpc.Text(x.Stage), Success: x.Success, Requested: x.Requested,
		Revision: rpc.Number(x.Revision), Release: rpc.Text(x.Release), Deployment: rpc.Text(x.Deployment),
	}
}

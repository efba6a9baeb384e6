package rpc

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

// How many exits are given when nothing else is said, and at most: as many as are
// kept of a pool.
const (
	DefaultExits = 100
	MaxExits     = 1000
)

// ExitList is the answer to GET /v1/pools/{pool}/exits, newest first.
type ExitList struct {
	Exits []RunExit `json:"exits"`
	// Incomplete says why exits may be missing: their disk cannot be read, or null.
	Incomplete Text `json:"incomplete"`
}

// RunExit is how a run ended, as a pool's history has it. What a worker's last_exit
// has of the same run says the same.
type RunExit struct {
	At         Time    `json:"at"`
	Worker     string  `json:"worker"` // "mailers/0"
	Index      int     `json:"index"`
	RunID      Text    `json:"run_id"`
	PID        Number  `json:"pid"`        // null when there never was a process
	StartedAt  Time    `json:"started_at"` // null when its program was never executed
	Uptime     Seconds `json:"uptime"`
	Code       *int    `json:"code"` // null when a signal ended it
	Signal     Text    `json:"signal"`
	Core       bool    `json:"core"` // a core file was written
	Reason     string  `json:"reason"`
	Stage      Text    `json:"stage"`     // where its start failed
	Success    bool    `json:"success"`   // counts as no failure
	Requested  bool    `json:"requested"` // it had been told to end
	Revision   Number  `json:"revision"`
	Release    Text    `json:"release"`
	Deployment Text    `json:"deployment"` // the one that started it
}

// ExitQuery says which exits are wanted.
type ExitQuery struct {
	Limit   int       // at most so many; 0: DefaultExits
	Workers []int     // of these workers alone; nil: of all
	Since   time.Time // ended then or later; zero: whenever
	Failed  bool      // only those that count as failures
}

// Exits asks how runs of a pool ended, newest first.
func (c *Client) Exits(ctx context.Context, pool string, q ExitQuery) (*ExitList, json.RawMessage, error) {
	v := url.Values{}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	for _, index := range q.Workers {
		v.Add("worker", strconv.Itoa(index))
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Failed {
		v.Set("failed", "true")
	}
	path := poolPath(pool, "exits")
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	return get[ExitList](ctx, c, path)
}

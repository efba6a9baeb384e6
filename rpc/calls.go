package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Status asks for everything that the caller may see.
func (c *Client) Status(ctx context.Context) (*Status, json.RawMessage, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Pool asks for one pool.
func (c *Client) Pool(ctx context.Context, name string) (*Pool, json.RawMessage, error) {
	return get[Pool](ctx, c, poolPath(name, ""))
}

// Config asks for the configuration of a pool that is in force.
func (c *Client) Config(ctx context.Context, pool string) (*PoolConfig, json.RawMessage, error) {
	return get[PoolConfig](ctx, c, poolPath(pool, "config"))
}

// Deployment asks for a deployment.
func (c *Client) Deployment(ctx context.Context, id string) (*Deployment, json.RawMessage, error) {
	return get[Deployment](ctx, c, "/v1/deployments/"+url.PathEscape(id))
}

// Deployments asks for those of a pool, newest first.
func (c *Client) Deployments(ctx context.Context, pool string) (*DeploymentList, json.RawMessage, error) {
	return get[DeploymentList](ctx, c, poolPath(pool, "deployments"))
}

// Start starts a pool or some of its workers.
func (c *Client) Start(ctx context.Context, pool string, r WorkersRequest) (*CommandReply, json.RawMessage, error) {
	return post[CommandReply](ctx, c, poolPath(pool, "start"), r)
}

// Stop stops a pool or some of its workers.
func (c *Client) Stop(ctx context.Context, pool string, r WorkersRequest) (*CommandReply, json.RawMessage, error) {
	return post[CommandReply](ctx, c, poolPath(pool, "stop"), r)
}

// Scale sets the number of a pool's workers.
func (c *Client) Scale(ctx context.Context, pool string, count int) (*CommandReply, json.RawMessage, error) {
	return post[CommandReply](ctx, c, poolPath(pool, "scale"), ScaleRequest{Count: &count})
}

// Signal sends a signal. It is never sent twice: if superd goes away meanwhile,
// the error is an *Interrupted.
func (c *Client) Signal(ctx context.Context, pool string, r SignalRequest) (*CommandReply, json.RawMessage, error) {
	var out CommandReply
	raw, err := c.Do(ctx, Request{Method: http.MethodPost, Path: poolPath(pool, "signal"), Body: r}, &out)
	return &out, raw, err
}

// Apply has the configuration read anew.
func (c *Client) Apply(ctx context.Context) (*ApplyReply, json.RawMessage, error) {
	return post[ApplyReply](ctx, c, "/v1/apply", ApplyRequest{})
}

// Shutdown has superd end itself.
func (c *Client) Shutdown(ctx context.Context, r ShutdownRequest) (*ShutdownReply, json.RawMessage, error) {
	return post[ShutdownReply](ctx, c, "/v1/shutdown", r)
}

// Upgrade has superd become another program. It is never asked twice: if superd
// goes away meanwhile, the error is an *Interrupted.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest) (*UpgradeReply, json.RawMessage, error) {
	var out UpgradeReply
	raw, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/upgrade", Body: r}, &out)
	return &out, raw, err
}

// RestartReply is what a restart answers: a deployment, or, of single workers,
// what start answers.
type RestartReply struct {
	Deployment *Deployment
	Command    *CommandReply
}

// Restart replaces the runs of a pool, or of some of its workers. If superd goes
// away before it has answered, a restart that began after this was sent counts
// as the answer, whoever asked for it: it replaces the same runs.
func (c *Client) Restart(ctx context.Context, pool string, r WorkersRequest) (*RestartReply, json.RawMessage, error) {
	sent := time.Now()
	for {
		raw, err := c.Do(ctx, Request{Method: http.MethodPost, Path: poolPath(pool, "restart"), Body: r}, nil)
		var cut *Interrupted
		if errors.As(err, &cut) {
			if d, raw, found := c.restartSince(ctx, pool, r, sent); found {
				return &RestartReply{Deployment: d}, raw, nil
			}
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		out, err := readRestart(raw)
		return out, raw, err
	}
}

// restartSince finds a restart of the whole pool that began after an instant.
func (c *Client) restartSince(ctx context.Context, pool string, r WorkersRequest, since time.Time) (*Deployment, json.RawMessage, bool) {
	if r.Workers != nil {
		return nil, nil, false
	}
	list, _, err := c.Deployments(ctx, pool)
	if err != nil {
		return nil, nil, false // the repeated restart meets the same error and reports it
	}
	for i := range list.Deployments {
		d := &list.Deployments[i]
		if d.Reason == "restart" && !d.StartedAt.Before(since) {
			raw, err := json.Marshal(d)
			return d, raw, err == nil
		}
	}
	return nil, nil, false
}

// readRestart tells the two answers apart: a deployment has an id, the other an operation.
func readRestart(raw json.RawMessage) (*RestartReply, error) {
	var d Deployment
	if err := json.Unmarshal(raw, &d); err == nil && d.ID != "" {
		return &RestartReply{Deployment: &d}, nil
	}
	var command CommandReply
	if err := json.Unmarshal(raw, &command); err != nil {
		return nil, fmt.Errorf("cannot read superd's answer to a restart: %w", err)
	}
	return &RestartReply{Command: &command}, nil
}

func poolPath(pool, what string) string {
	path := "/v1/pools/" + url.PathEscape(pool)
	if what != "" {
		path += "/" + what
	}
	return path
}

func get[T any](ctx context.Context, c *Client, path string) (*T, json.RawMessage, error) {
	out := new(T)
	raw, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Repeat: true}, out)
	return out, raw, err
}

// post sends what may be sent twice.
func post[T any](ctx context.Context, c *Client, path string, body any) (*T, json.RawMessage, error) {
	out := new(T)
	raw, err := c.Do(ctx, Request{Method: http.MethodPost, Path: path, Body: body, Repeat: true}, out)
	return out, raw, err
}

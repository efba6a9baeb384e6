package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

// checkReach is for how long check waits for superd: longer than a superd that
// was killed needs to be back, shorter than any monitoring's patience.
const checkReach = 5 * time.Second

// checkGrace is how much longer than that a check may take in all.
const checkGrace = 200 * time.Millisecond

// severity is a state of the Nagios plugin guidelines, and its exit code.
type severity int

const (
	sevOK severity = iota
	sevWarning
	sevCritical
	sevUnknown
)

func (s severity) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[s]
}

// MarshalText makes it the same word in JSON.
func (s severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

const checkHelp = `Check the health of pools, as a Nagios plugin: one line for the monitoring system,
with performance data after a |, and an exit code. (superd check is another thing:
it reads the configuration.)

0 OK        every worker that is wanted is healthy, or on its way and in time:
            it is being started, waits for a pool of 'after', or is replaced by
            a deployment. What was stopped by hand, and a worker that completed
            its work, is as it should be, and said.
1 WARNING   a worker is in 'backoff' or 'delayed', or was restarted after a
            failure and is not healthy yet; it is not healthy although its
            min_healthy_time is over, or still not after the healthy_deadline;
            it does not end after KILL; a deployment is being reverted. Without
            POOL also: superd is degraded, has no keeper, is being shut down, or
            its configuration on disk was refused or not yet applied.
2 CRITICAL  a worker has failed; a pool of several has workers in trouble and not
            one that is healthy; superd does not answer within --timeout (a superd that is
            being restarted is waited for so long).
3 UNKNOWN   there is no such pool, you may not see it, or wrong use.

With --json the facts come as JSON, with the same exit code.`

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "check [POOL...]",
		GroupID:           groupLook,
		Short:             "Check the health of pools, as a Nagios plugin",
		Long:              checkHelp,
		Example:           "  superctl check\n  superctl check mailers @web\n  superctl check -t 10s --json | jq .problems",
		ValidArgsFunction: a.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.check(cmd.Context(), args) },
	}
	cmd.Flags().VarP((*secondsFlag)(&a.timeout), "timeout", "t", "how long superd may take to answer, e.g. 10s (default "+signals.FormatDuration(checkReach)+")")
	// The guidelines want wrong use to be UNKNOWN, and something on stdout.
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return a.report(checkFailed(sevUnknown, err.Error()+"; see superctl check --help"))
	})
	return cmd
}

// secondsFlag is a durationFlag that takes bare seconds too, as plugins do.
type secondsFlag time.Duration

func (s *secondsFlag) String() string { return (*durationFlag)(s).String() }
func (s *secondsFlag) Type() string   { return "DURATION" }

func (s *secondsFlag) Set(text string) error {
	if _, err := strconv.Atoi(text); err == nil {
		text += "s"
	}
	return (*durationFlag)(s).Set(text)
}

// check asks superd and reports. Whatever goes wrong becomes a state, too.
func (a *app) check(ctx context.Context, names []string) error {
	if a.timeout == 0 {
		a.timeout = checkReach
	}
	// The client gives up first and knows why; this bounds several requests.
	ctx, cancel := context.WithDeadline(ctx, a.began.Add(a.timeout+checkGrace))
	defer cancel()
	// Nothing but the one line is printed: not that superd is waited for either.
	a.client = rpc.NewClient(rpc.Options{Sockets: a.sockets(), Reach: a.timeout})
	h, err := a.ask(ctx, names)
	if err != nil {
		h = a.checkError(err)
	}
	return a.report(h)
}

// ask collects what superd says and judges it.
func (a *app) ask(ctx context.Context, names []string) (*health, error) {
	st, _, err := a.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	targets, err := a.choose(ctx, st, names, len(names) == 0)
	if err != nil {
		return nil, err
	}
	j := &judge{now: time.Now(), patience: map[string]patience{}}
	for i := range targets {
		if err := missing(&targets[i]); err != nil {
			return nil, err
		}
		if p := targets[i].pool; j.needsPatience(&targets[i]) {
			c, _, err := a.client.Config(ctx, p.Name)
			if err != nil {
				return nil, err
			}
			u := c.Config.Update
			j.patience[p.Name] = patience{u.MinHealthyTime.Duration(), u.HealthyDeadline.Duration()}
		}
	}
	h := j.judge(&st.Superd, targets, len(names) == 0)
	h.took = time.Since(a.began)
	return h, nil
}

// missing is an error if a worker is named that its pool does not have.
func missing(t *target) error {
	for _, index := range t.workers {
		if !slices.ContainsFunc(t.pool.Workers, func(w rpc.Worker) bool { return w.Index == index }) {
			return &failure{code: rpc.ExitNotFound, text: fmt.Sprintf("there is no worker %s/%d", t.pool.Name, index)}
		}
	}
	return nil
}

// checkError is the state that follows from not having learned anything.
func (a *app) checkError(err error) *health {
	var e *rpc.Error
	switch {
	case errors.Is(err, context.Canceled):
		return checkFailed(sevUnknown, "interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		return checkFailed(sevCritical, "superd did not answer within "+signals.FormatDuration(a.timeout))
	case errors.As(err, &e) && (e.Kind == rpc.KindUnreachable || e.Kind == rpc.KindInternal):
		return checkFailed(sevCritical, e.Message)
	}
	return checkFailed(sevUnknown, a.failure(err).text)
}

// checkFailed is a health that is nothing but one problem.
func checkFailed(s severity, text string) *health {
	return &health{State: s, Code: int(s), Pools: []poolHealth{}, Problems: []problem{{State: s, Text: text}}}
}

// report prints the line, or the JSON, and gives the exit code.
func (a *app) report(h *health) error {
	h.Message = h.message()
	if a.json {
		text, err := json.Marshal(h)
		if err != nil {
			return fmt.Errorf("cannot write the state: %w", err)
		}
		a.print("%s", text)
	} else {
		a.print("%s", h.line())
	}
	if h.State == sevOK && a.unwritten() != nil {
		return &failure{code: int(sevUnknown)} // 1 would be a warning about the pools
	}
	if h.State == sevOK {
		return nil
	}
	return &failure{code: int(h.State)} // all is said
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var since string
	cmd := &cobra.Command{
		Use:     "events [POOL...]",
		GroupID: groupLook,
		Short:   "Show what happened",
		Long: `Show what happened, oldest first: all that superd has in memory, or what came
after --since. With -f go on with what happens, from now on unless --since is
given; a superd that is started again meanwhile is waited for, and what could
not be learned is said.`,
		Example:           "  superctl events --since 1h\n  superctl events -f mailers\n  superctl events --json | jq 'select(.type == \"worker.exited\")'",
		ValidArgsFunction: a.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.events(cmd.Context(), args, follow, since)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().StringVar(&since, "since", "", "`WHEN` to begin: how long ago (1h), or a time (2026-01-31T12:00:00Z)")
	return cmd
}

func (a *app) events(ctx context.Context, names []string, follow bool, since string) error {
	from, err := parseSince(since, time.Now())
	if err != nil {
		return err
	}
	st, _, err := a.status(ctx)
	if err != nil {
		return reworded(err, "show events")
	}
	targets, err := a.choose(ctx, st, names, false)
	if err != nil {
		return err
	}
	query := rpc.EventQuery{}
	meant := map[string]*target{}
	for i := range targets {
		query.Pools = append(query.Pools, targets[i].pool.Name)
		meant[targets[i].pool.Name] = &targets[i]
	}
	shown := 0
	each := func(ev rpc.Event) error {
		if ev.Time.Before(from) || !wanted(ev, meant) {
			return nil
		}
		shown++
		return a.printEvent(ev)
	}
	if follow {
		if since == "" {
			query.Since = st.Superd.Seq
		}
		ctx, cancel := a.deadline(ctx)
		defer cancel()
		return endOfWatch(a.connect().Follow(ctx, query, func() {}, each))
	}
	if err := a.connect().Events(ctx, query, each); err != nil {
		return endOfWatch(err)
	}
	if shown == 0 {
		a.note("no events")
	}
	return nil
}

// wanted tells whether an event is about what the user named: single workers are
// sorted out here, pools by superd.
func wanted(ev rpc.Event, meant map[string]*target) bool {
	t := meant[string(ev.Pool)]
	if t == nil || t.workers == nil || ev.Worker == "" {
		return true
	}
	_, index, err := splitWorker(string(ev.Worker))
	return err != nil || t.concerns(index)
}

// parseSince reads a duration back from now, or an instant. Empty is the beginning.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := signals.ParseDuration(s)
	if err != nil {
		return time.Time{}, usage("superctl events --since 1h", "cannot show events: --since %q is neither a duration such as 1h nor a time such as 2026-01-31T12:00:00Z", s)
	}
	return now.Add(-d), nil
}

func (a *app) printEvent(ev rpc.Event) error {
	if a.json {
		return a.printJSON(ev)
	}
	subject := string(ev.Worker)
	if subject == "" {
		subject = string(ev.Pool)
	}
	line := strings.TrimRight(fmt.Sprintf("%s  %-21s %-14s %s",
		ev.Time.Local().Format("2006-01-02 15:04:05.000"), ev.Type, subject, clean(ev.Message)), " ")
	if a.width > 0 && a.tty {
		line = cut(line, a.width)
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

const exitsHelp = `Show how runs ended, newest first: the last 100, or with --since all that superd
knows, which is the last 1000 of each pool. That outlives superd and restarts of the
machine. POOL is a pool, a worker (mailers/0), a pattern ('mail*') or a group (@web);
without one it is all pools. Of a worker that scaling has taken away the exits stay;
those of a pool go when it is removed from the configuration.

UP is how long the run lived, - if it never came to execute its program. EXIT says
how it ended, and (requested) if it had been told to, by a stop, restart, scale,
deployment or shutdown, or by 'superctl signal'. What counts as a failure is red, and
all that --failed shows. 'superctl logs POOL --run RUN' has the run's last words.`

const exitsExample = `  superctl exits
  superctl exits mailers -n 20
  superctl exits mailers/0 --since 1h
  superctl exits --failed --since 1d @web
  superctl exits mailers --json | jq '.exits[] | select(.signal == "KILL")'`

// exitsAsk is what the user of exits wants.
type exitsAsk struct {
	count  int // 0: none given
	since  string
	failed bool
}

func (a *app) exitsCommand() *cobra.Command {
	var ask exitsAsk
	cmd := &cobra.Command{
		Use:               "exits [POOL...]",
		GroupID:           groupLook,
		Short:             "Show how runs ended",
		Long:              exitsHelp,
		Example:           exitsExample,
		ValidArgsFunction: a.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noEmptyOption(cmd, "show exits"); err != nil {
				return err
			}
			if cmd.Flags().Changed("count") && ask.count < 1 {
				return usage("superctl exits -n 20", "cannot show exits: -n %d is none at all; it is a number from 1", ask.count)
			}
			return a.exits(cmd.Context(), args, &ask)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&ask.count, "count", "n", 0, "the last `N` of those that fit (100, or all with --since)")
	f.StringVar(&ask.since, "since", "", "how long ago to begin (1h), or `WHEN` (2026-01-31T12:00:00Z, or '2026-01-31 12:00' here)")
	f.BoolVar(&ask.failed, "failed", false, "those alone that count as failures")
	return cmd
}

// exits shows what ask wants of the pools that are named.
func (a *app) exits(ctx context.Context, names []string, ask *exitsAsk) error {
	query := rpc.ExitQuery{Failed: ask.failed}
	var err error
	if query.Since, err = pastTime("superctl exits", "show exits", "--since", ask.since, time.Now()); err != nil {
		return err
	}
	count := ask.count
	switch {
	case count == 0 && ask.since == "":
		count = rpc.DefaultExits
	case count == 0:
		query.Limit = rpc.MaxExits
	}
	if count > 0 {
		query.Limit = min(count, rpc.MaxExits)
	}
	st, _, err := a.status(ctx)
	if err != nil {
		return reworded(err, "show exits")
	}
	targets, err := a.choose(ctx, st, names, len(names) == 0)
	if err != nil {
		return err
	}
	list, incomplete, err := a.collectExits(ctx, targets, query)
	if err != nil {
		return err
	}
	if count > 0 && len(list) > count {
		list = list[:count]
	}
	if a.json {
		return a.printExits(list, incomplete)
	}
	if incomplete != "" {
		a.note("exits may be missing: %s", clean(string(incomplete)))
	}
	if len(list) == 0 {
		a.note("no exits%s", fitting(ask))
		return nil
	}
	exitTable(list).write(a.out, a.width, a.colours())
	return nil
}

func fitting(ask *exitsAsk) string {
	if ask.failed || ask.since != "" {
		return " that fit"
	}
	return ""
}

// ended is a run that has ended, and what superd said of it.
type ended struct {
	rpc.RunExit
	raw json.RawMessage
}

// collectExits asks for the exits of all targets, and merges them, newest first.
func (a *app) collectExits(ctx context.Context, targets []target, query rpc.ExitQuery) (list []ended, incomplete rpc.Text, err error) {
	for _, t := range targets {
		query.Workers = t.workers
		of, raw, err := a.connect().Exits(ctx, t.pool.Name, query)
		if err != nil {
			return nil, "", err
		}
		var items struct{ Exits []json.RawMessage }
		if err := json.Unmarshal(raw, &items); err != nil || len(items.Exits) != len(of.Exits) {
			return nil, "", fmt.Errorf("cannot read the exits of %s: %v", t.pool.Name, err)
		}
		for i := range of.Exits {
			list = append(list, ended{of.Exits[i], items.Exits[i]})
		}
		incomplete = cmp.Or(incomplete, of.Incomplete)
	}
	if len(targets) > 1 {
		slices.SortStableFunc(list, func(x, y ended) int { return y.At.Compare(x.At.Time) })
	}
	return list, incomplete, nil
}

// printExits prints one answer, with everything that superd said of each exit.
func (a *app) printExits(list []ended, incomplete rpc.Text) error {
	out := struct {
		Exits      []json.RawMessage `json:"exits"`
		Incomplete rpc.Text          `json:"incomplete"`
	}{[]json.RawMessage{}, incomplete}
	for _, x := range list {
		out.Exits = append(out.Exits, x.raw)
	}
	return a.printJSON(out)
}

func exitTable(list []ended) *table {
	t := &table{columns: []column{
		{name: "WHEN"}, {name: "WORKER"}, {name: "RUN", drop: 1}, {name: "UP", right: true, drop: 2},
		{name: "EXIT"}, {name: "REV", right: true, drop: 4}, {name: "RELEASE", drop: 3},
	}}
	for i := range list {
		x := &list[i]
		up := "-"
		if !x.StartedAt.IsZero() {
			up = span(x.Uptime.Duration())
		}
		t.add(cell{x.At.Local().Format("2006-01-02 15:04:05"), plain}, cell{clean(x.Worker), plain}, cell{clean(string(x.RunID)), plain},
			cell{up, plain}, exitCell(x), cell{strconv.Itoa(int(x.Revision)), plain}, cell{clean(string(x.Release)), plain})
	}
	return t
}

// exitCell says how a run ended, and whether that was wanted.
func exitCell(x *ended) cell {
	c := cell{text: clean(x.Reason)}
	if x.Requested {
		c.text += " (requested)"
	}
	if !x.Success {
		c.colour = red
	}
	return c
}

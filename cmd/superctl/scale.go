package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) scaleCommand() *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:     "scale POOL=N...",
		GroupID: groupAct,
		Short:   "Set the number of workers",
		Long: `Set the number of workers of pools, and wait until it is reached. The number is
kept, over restarts too, until the configuration's own count changes.`,
		Example:           "  superctl scale mailers=8\n  superctl scale mailers=8 web=4 --no-wait",
		ValidArgsFunction: a.completeScale,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.scale(cmd.Context(), args, noWait)
		},
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "print the ID of what was begun, and do not wait for it")
	return cmd
}

func (a *app) scale(ctx context.Context, args []string, noWait bool) error {
	const next = "superctl scale POOL=N, as in mailers=8"
	if len(args) == 0 {
		return usage(next, "cannot scale: no pool is named")
	}
	names, counts := make([]string, len(args)), make([]int, len(args))
	for i, arg := range args {
		name, number, ok := strings.Cut(arg, "=")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 0 {
			return usage(next, "cannot scale: %q is not POOL=N", arg)
		}
		if strings.Contains(name, "/") {
			return usage(next, "cannot scale %s: it is a worker; a pool has a number of them", name)
		}
		names[i], counts[i] = name, n
	}
	st, err := a.statusToAct(ctx, "scale", names, args)
	if err != nil {
		return err
	}
	var targets []target
	wanted := map[string]int{}
	for i, name := range names {
		found, err := a.choose(ctx, st, []string{name}, false)
		if err != nil {
			return err
		}
		for _, t := range found {
			if n, twice := wanted[t.pool.Name]; twice && n != counts[i] {
				return usage(next, "cannot scale %s: both %d and %d are given", t.pool.Name, n, counts[i])
			} else if !twice {
				targets = append(targets, t)
			}
			wanted[t.pool.Name] = counts[i]
		}
	}
	x := &action{verb: verbScale, noWait: noWait, begin: a.beginScale(wanted)}
	return a.actOn(ctx, x, st.Superd.Seq, targets)
}

func (a *app) beginScale(wanted map[string]int) func(context.Context, *target) (*pursuit, []byte, error) {
	return func(ctx context.Context, t *target) (*pursuit, []byte, error) {
		count := wanted[t.pool.Name]
		reply, raw, err := a.connect().Scale(ctx, t.pool.Name, count)
		if err != nil {
			return nil, nil, err
		}
		return pursue(rpc.Ask{Verb: "scale", Count: count, From: t.pool.Count}, reply), raw, nil
	}
}

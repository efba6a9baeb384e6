package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

func (a *app) signalCommand() *cobra.Command {
	var group, all bool
	cmd := &cobra.Command{
		Use:     "signal SIG POOL...",
		GroupID: groupAct,
		Short:   "Send a signal to main processes",
		Long: `Send a signal to the main processes of pools or workers. Its name is given with
or without SIG, or as a number; real-time signals are RTMIN+1 and so on. A run
that ends by it has not failed, and is restarted as the pool says.`,
		Example:           "  superctl signal USR1 mailers\n  superctl signal HUP web/0 --group",
		ValidArgsFunction: a.completeSignal,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("superctl signal USR1 mailers", "cannot signal: neither a signal nor a pool is named")
			}
			sig, err := signals.Parse(args[0])
			if err != nil {
				return usage("superctl signal USR1 mailers", "cannot signal: %v", err)
			}
			return a.signal(cmd.Context(), signals.Name(sig), args[1:], all, group)
		},
	}
	cmd.Flags().BoolVar(&group, "group", false, "the whole process group, not the main process alone")
	cmd.Flags().BoolVar(&all, "all", false, "every pool")
	return cmd
}

func (a *app) signal(ctx context.Context, sig string, names []string, all, group bool) error {
	if err := needPools("signal", "superctl signal "+sig, names, all); err != nil {
		return err
	}
	st, err := a.statusToAct(ctx, "signal", names, names)
	if err != nil {
		return err
	}
	targets, err := a.choose(ctx, st, names, all)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		a.note("nothing to signal: there are no pools")
	}
	var failed *failure
	for i := range targets {
		t := &targets[i]
		_, raw, err := a.connect().Signal(ctx, t.pool.Name, rpc.SignalRequest{Signal: sig, Group: group, Workers: t.workers})
		switch {
		case err != nil:
			failed = merge(failed, a.failure(err))
		case a.json:
			a.print("%s", trimmed(raw))
		default:
			a.print("%s: %s sent to %s", t.String(), sig, plural(live(t), "run"))
		}
	}
	if failed != nil {
		return failed
	}
	return nil
}

// live counts the runs that a target had when superd was asked.
func live(t *target) int {
	n := 0
	for i := range t.pool.Workers {
		if w := &t.pool.Workers[i]; t.concerns(w.Index) && w.PID != 0 {
			n++
		}
	}
	return n
}

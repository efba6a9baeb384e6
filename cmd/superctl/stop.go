package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) stopCommand() *cobra.Command {
	var now bool
	x := &action{verb: verbStop}
	x.begin = func(ctx context.Context, t *target) (*pursuit, []byte, error) {
		reply, raw, err := a.connect().Stop(ctx, t.pool.Name, rpc.WorkersRequest{Workers: t.workers, Now: now})
		if err != nil {
			return nil, nil, err
		}
		return pursue(rpc.Ask{Verb: "stop", Workers: t.workers}, reply), raw, nil
	}
	cmd := &cobra.Command{
		Use:     "stop POOL...",
		GroupID: groupAct,
		Short:   "Stop pools or workers by their stop sequence",
		Long: `Stop pools or workers by their stop sequence, and wait until their runs have
ended, with all that they left behind. They stay stopped, over a reboot too,
until they are started again.`,
		Example:           "  superctl stop mailers\n  superctl stop mailers/0 --now\n  superctl stop 'mail*' --no-wait",
		ValidArgsFunction: a.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.act(cmd.Context(), x, args) },
	}
	x.flags(cmd)
	cmd.Flags().BoolVar(&now, "now", false, "send KILL at once")
	return cmd
}

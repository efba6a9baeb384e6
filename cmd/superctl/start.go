package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) startCommand() *cobra.Command {
	x := &action{verb: verbStart}
	x.begin = func(ctx context.Context, t *target) (*pursuit, []byte, error) {
		reply, raw, err := a.connect().Start(ctx, t.pool.Name, rpc.WorkersRequest{Workers: t.workers})
		if err != nil {
			return nil, nil, err
		}
		return pursue(rpc.Ask{Verb: "start", Workers: t.workers}, reply), raw, nil
	}
	cmd := &cobra.Command{
		Use:     "start POOL...",
		GroupID: groupAct,
		Short:   "Start pools or workers",
		Long: `Start pools or workers, and wait until they are running and ready, and still so
a second later. A worker that waits to be restarted is started at once.`,
		Example:           "  superctl start mailers\n  superctl start mailers/0 mailers/3\n  superctl start --all --timeout 1m",
		ValidArgsFunction: a.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.act(cmd.Context(), x, args) },
	}
	x.flags(cmd)
	return cmd
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) restartCommand() *cobra.Command {
	x := &action{verb: verbRestart}
	x.begin = func(ctx context.Context, t *target) (*pursuit, []byte, error) {
		reply, raw, err := a.connect().Restart(ctx, t.pool.Name, rpc.WorkersRequest{Workers: t.workers})
		if err != nil {
			return nil, nil, err
		}
		if reply.Deployment != nil {
			return &pursuit{deployment: reply.Deployment}, raw, nil
		}
		return pursue(rpc.Ask{Verb: "restart", Workers: t.workers}, reply.Command), raw, nil
	}
	cmd := &cobra.Command{
		Use:     "restart POOL...",
		GroupID: groupAct,
		Short:   "Replace the runs of pools by a rolling deployment",
		Long: `Replace every run of the pools, a few at a time, each healthy before the next,
and wait until the deployment has ended. The directory is resolved anew, so this
is also how new code is deployed. A stopped pool is started.

A single worker (mailers/0) is restarted as it is, without a deployment.`,
		Example:           "  superctl restart mailers\n  superctl restart mailers/0\n  superctl restart @web --no-wait",
		ValidArgsFunction: a.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.act(cmd.Context(), x, args) },
	}
	x.flags(cmd)
	return cmd
}

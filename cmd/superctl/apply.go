package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) applyCommand() *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:     "apply",
		GroupID: groupManage,
		Short:   "Read the configuration anew",
		Long: `Have superd read its configuration anew, and wait until what follows from it is
done: new pools run, those that are gone have ended, changed ones were replaced.
A configuration with any error is refused as a whole, and nothing is touched.`,
		Example: "  superd check && superctl apply\n  superctl apply --no-wait",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.apply(cmd.Context(), noWait) },
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "print the IDs of the deployments, and do not wait for them")
	return cmd
}

func (a *app) apply(ctx context.Context, noWait bool) error {
	before, _, err := a.status(ctx)
	if isForbidden(err) {
		_, _, err = a.connect().Apply(ctx) // is refused too, and that says which role it takes
	}
	if err != nil {
		return err
	}
	reply, raw, err := a.connect().Apply(ctx)
	if err != nil {
		return err
	}
	for _, w := range reply.Warnings {
		a.note("warning: %s", clean(w))
	}
	if noWait {
		if a.json {
			a.print("%s", trimmed(raw))
			return nil
		}
		for _, d := range reply.Deployments {
			a.print("%s", d.ID)
		}
		return nil
	}
	if !a.json {
		a.printApplied(reply)
	}
	list, err := a.pursueApply(ctx, before, reply)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		err = a.await(ctx, before.Superd.Seq, list)
	}
	if a.json {
		reply.Deployments = reply.Deployments[:0]
		for _, p := range list {
			if p.deployment != nil {
				reply.Deployments = append(reply.Deployments, *p.deployment)
			}
		}
		if err := a.printJSON(reply); err != nil {
			return err
		}
	}
	return err
}

func (a *app) printApplied(r *rpc.ApplyReply) {
	said := false
	for _, part := range []struct {
		what  string
		pools []string
	}{
		{"added", r.Added}, {"removed", r.Removed}, {"scaled", r.Scaled}, {"changed by deployment", r.Changed}, {"changed in place", r.InPlace},
	} {
		if len(part.pools) > 0 {
			said = true
			a.print("%s: %s", part.what, strings.Join(part.pools, ", "))
		}
	}
	if !said {
		a.print("nothing to do: what runs is what the configuration says")
	}
}

// pursueApply is what there is to wait for after an apply.
func (a *app) pursueApply(ctx context.Context, before *rpc.Status, reply *rpc.ApplyReply) ([]*pursuit, error) {
	var list []*pursuit
	after, _, err := a.connect().Status(ctx)
	if err != nil {
		return nil, err
	}
	deployed := map[string]bool{}
	for i := range reply.Deployments {
		d := &reply.Deployments[i]
		deployed[d.Pool] = true
		list = append(list, &pursuit{verb: verbDeploy, deployment: d, target: target{pool: named(after, d.Pool)}})
	}
	for _, name := range reply.Removed {
		list = append(list, &pursuit{verb: verbRemove, target: target{pool: named(after, name)}})
	}
	for _, name := range reply.Scaled {
		pool := named(after, name)
		if deployed[name] {
			continue
		}
		ask := rpc.Ask{Verb: "scale", Count: pool.Count, From: named(before, name).Count}
		p := pursue(ask, &rpc.CommandReply{Pool: *pool})
		p.verb, p.target = verbScale, target{pool: pool}
		list = append(list, p)
	}
	return list, nil
}

// named finds a pool, or makes an empty one of that name for what has gone already.
func named(st *rpc.Status, name string) *rpc.Pool {
	for i := range st.Pools {
		if st.Pools[i].Name == name {
			return &st.Pools[i]
		}
	}
	return &rpc.Pool{Name: name}
}

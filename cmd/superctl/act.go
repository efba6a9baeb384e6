package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

// action is a command that begins something on pools and waits for it.
type action struct {
	verb   verb
	all    bool
	noWait bool
	// begin asks superd for it on one target.
	begin func(ctx context.Context, t *target) (*pursuit, []byte, error)
}

// flags adds what all such commands take.
func (x *action) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&x.all, "all", false, "every pool")
	cmd.Flags().BoolVar(&x.noWait, "no-wait", false, "print the ID of what was begun, and do not wait for it")
}

// act finds the targets, begins, and waits.
func (a *app) act(ctx context.Context, x *action, args []string) error {
	if err := needPools(x.verb.do, "superctl "+x.verb.do, args, x.all); err != nil {
		return err
	}
	st, err := a.statusToAct(ctx, x.verb.do, args, args)
	if err != nil {
		return err
	}
	targets, err := a.choose(ctx, st, args, x.all)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		a.note("nothing to %s: there are no pools", x.verb.do)
		return nil
	}
	return a.actOn(ctx, x, st.Superd.Seq, targets)
}

// statusToAct asks for everything, in order to change something of what pools
// names; args is what the user wrote. Whoever may not even look is not told so
// where each pool is named: the command itself is asked for, and superd says what
// role that takes.
func (a *app) statusToAct(ctx context.Context, do string, pools, args []string) (*rpc.Status, error) {
	a.acts = true
	st, _, err := a.status(ctx)
	switch {
	case err == nil:
		return st, nil
	case isForbidden(err) && len(pools) > 0 && !slices.ContainsFunc(pools, isPattern):
		return &rpc.Status{}, nil
	}
	return nil, reworded(err, do+" "+strings.Join(args, " "))
}

func isForbidden(err error) bool {
	var e *rpc.Error
	return errors.As(err, &e) && e.Kind == rpc.KindForbidden
}

// reworded makes what superd says against a question that was only the first
// step say what the user wanted.
func reworded(err error, wanted string) error {
	var e *rpc.Error
	if !errors.As(err, &e) || e.Kind != rpc.KindForbidden {
		return err
	}
	_, reason, found := strings.Cut(e.Message, ": ")
	if !found {
		return err
	}
	return rpc.Errorf(e.Kind, "cannot %s: %s", strings.TrimSpace(wanted), reason)
}

// needPools refuses a command that names nothing, and one that names too much.
func needPools(do, command string, args []string, all bool) error {
	switch {
	case len(args) == 0 && !all:
		return usage(command+" POOL, or "+command+" --all", "cannot %s: no pool is named", do)
	case len(args) > 0 && all:
		return usage("leave one of them out", "cannot %s: both pools and --all are given", do)
	}
	return nil
}

// actOn begins the action on every target. One that is refused does not keep
// the others from being done; it is reported in the end.
func (a *app) actOn(ctx context.Context, x *action, since uint64, targets []target) error {
	var list []*pursuit
	var failed *failure
	for i := range targets {
		p, raw, err := x.begin(ctx, &targets[i])
		if err != nil {
			failed = merge(failed, a.failure(err))
			if ctx.Err() != nil || failed.code == rpc.ExitUnreachable {
				break
			}
			continue
		}
		p.verb, p.target = x.verb, targets[i]
		list = append(list, p)
		if x.noWait {
			a.printBegun(p, raw)
		}
	}
	if len(list) > 0 && !x.noWait {
		a.noteReplies(list)
		if err := a.await(ctx, since, list); err != nil {
			failed = merge(failed, a.failure(err))
		}
		if a.json {
			for _, p := range list {
				if err := a.printJSON(p.answer()); err != nil {
					return err
				}
			}
		}
	}
	if failed != nil {
		return failed
	}
	return nil
}

func (a *app) printBegun(p *pursuit, raw []byte) {
	if a.json {
		a.print("%s", trimmed(raw))
	} else {
		a.print("%s", p.id())
	}
}

// noteReplies says what a command met that was under way.
func (a *app) noteReplies(list []*pursuit) {
	for _, p := range list {
		switch {
		case p.reply == nil:
		case p.reply.Joined:
			a.note("%s: joined %s, which does the same already", p.target.String(), p.reply.Operation)
		case p.reply.Superseded != "":
			a.note("%s: %s is superseded", p.target.String(), p.reply.Superseded)
		}
	}
}

// pursue follows a command by its reply.
func pursue(ask rpc.Ask, reply *rpc.CommandReply) *pursuit {
	return &pursuit{reply: reply, watch: rpc.NewWatch(ask, reply)}
}

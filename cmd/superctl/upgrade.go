package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) upgradeCommand() *cobra.Command {
	var binary string
	cmd := &cobra.Command{
		Use:     "upgrade",
		GroupID: groupManage,
		Short:   "Have superd become another version of itself",
		Long: `Have superd become another program without ending: its pid and all workers stay.
The program is tried on a copy of superd's state first, and refused if it cannot
take over. One that fails to come up gives back to the version before.
Without --binary it is the file at the path that superd was started by.`,
		Example: "  superctl upgrade\n  superctl upgrade --binary /opt/superd-2.1/superd",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if binary == "" && cmd.Flags().Changed("binary") { // a variable of a script that is not set, most likely
				return usage("superctl upgrade, or superctl upgrade --binary PATH", "cannot upgrade: the path after --binary is empty")
			}
			return a.upgrade(cmd.Context(), binary)
		},
	}
	cmd.Flags().StringVar(&binary, "binary", "", "the program, `PATH`")
	if err := cmd.MarkFlagFilename("binary"); err != nil {
		panic(err) // the flag is there
	}
	return cmd
}

// upgrade asks for it, and waits until superd says how it ended.
func (a *app) upgrade(ctx context.Context, binary string) error {
	if binary != "" {
		var err error
		if binary, err = filepath.Abs(binary); err != nil {
			return usage("superctl help upgrade", "cannot upgrade to %s: %v", binary, err)
		}
	}
	req := rpc.UpgradeRequest{Binary: binary}
	st, _, err := a.status(ctx)
	if isForbidden(err) {
		_, _, err = a.connect().Upgrade(ctx, req) // is refused too, and that says which role it takes
	}
	if err != nil {
		return err
	}
	if !a.json {
		a.note("superd %s: trying the program ...", clean(st.Superd.Version))
	}
	parent := ctx
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	reply, _, err := a.connect().Upgrade(ctx, req)
	var cut *rpc.Interrupted
	switch {
	case errors.As(err, &cut): // it has begun, perhaps
	case err != nil:
		return a.upgradeCut(parent, ctx, err)
	case !a.json:
		a.note("superd %s becomes %s ...", clean(reply.From), clean(reply.To))
	}
	end, err := a.upgradeEnd(ctx, st)
	if err != nil {
		return a.upgradeCut(parent, ctx, err)
	}
	return a.printUpgraded(end)
}

// upgradeCut tells the end of the time from other reasons for an end.
func (a *app) upgradeCut(parent, ctx context.Context, err error) error {
	f := &failure{code: rpc.ExitTimeout, text: "superd is still being upgraded; it goes on", next: []string{"superctl events shows how it ends"}}
	switch {
	case parent.Err() != nil:
		f.code = exitInterrupted
		return f
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return f
	}
	return err
}

// errSeen ends a stream of events.
var errSeen = errors.New("seen")

// upgradeEnd waits for the event that says how an upgrade ended. It may be that of
// a superd which was started anew: one that ended in the middle tells nothing.
func (a *app) upgradeEnd(ctx context.Context, before *rpc.Status) (end rpc.Event, err error) {
	query := rpc.EventQuery{Since: before.Superd.Seq, Types: []string{"superd.*"}}
	err = a.connect().Follow(ctx, query, func() {}, func(ev rpc.Event) error {
		anew := ev.Type == "superd.started" && int(ev.PID) != before.Superd.PID
		if anew || ev.Type == "superd.upgraded" || ev.Type == "superd.degraded" && ev.Data["upgrade"] != nil {
			end = ev
			return errSeen
		}
		return nil
	})
	if errors.Is(err, errSeen) {
		return end, nil
	}
	if err == nil {
		err = ctx.Err()
	}
	return end, err
}

func (a *app) printUpgraded(ev rpc.Event) error {
	switch ev.Type {
	case "superd.degraded":
		return &failure{code: rpc.ExitFailed, text: clean(ev.Message), next: []string{"superd's log tells more"}}
	case "superd.started":
		return &failure{code: rpc.ExitFailed, text: fmt.Sprintf("superd ended while it was upgraded, and was started anew: pid %d, %s", ev.PID, clean(ev.Message)),
			next: []string{"superctl status", "superd's log tells more"}}
	}
	if a.json {
		return a.printJSON(ev)
	}
	runs := "runs"
	if n, _ := ev.Data["runs"].(float64); n == 1 {
		runs = "run"
	}
	a.print("superd upgraded from %v to %v, gap %v ms, %v %s kept", clean(fmt.Sprint(ev.Data["from"])), clean(fmt.Sprint(ev.Data["to"])), ev.Data["gap_ms"], ev.Data["runs"], runs)
	return nil
}

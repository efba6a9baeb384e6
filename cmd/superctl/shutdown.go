package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/superd/superd/rpc"
)

func (a *app) shutdownCommand() *cobra.Command {
	var req rpc.ShutdownRequest
	var noWait bool
	cmd := &cobra.Command{
		Use:     "shutdown",
		GroupID: groupManage,
		Short:   "End superd",
		Long: `End superd: every pool is stopped by its own stop sequence, then superd ends.
With --detach superd alone ends, and the workers run on until the next superd
takes them over.`,
		Example: "  superctl shutdown\n  superctl shutdown --now\n  superctl shutdown --detach",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Now && req.Detach {
				return usage("leave one of them out", "cannot shut down: --now kills the workers, --detach leaves them running")
			}
			return a.shutdown(cmd.Context(), req, noWait)
		},
	}
	cmd.Flags().BoolVar(&req.Now, "now", false, "send KILL to all workers at once")
	cmd.Flags().BoolVar(&req.Detach, "detach", false, "leave the workers running")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for superd's end")
	return cmd
}

// shutdown asks superd to end, and waits until it has hung up, which it does
// when all is done.
func (a *app) shutdown(ctx context.Context, req rpc.ShutdownRequest, noWait bool) error {
	st, _, err := a.status(ctx)
	if isForbidden(err) {
		_, _, err = a.connect().Shutdown(ctx, req) // is refused too, and that says which role it takes
	}
	if err != nil {
		return err
	}
	ending := a.watchEnd(ctx, st)
	_, raw, err := a.connect().Shutdown(ctx, req)
	if err != nil {
		return err
	}
	if a.json {
		a.print("%s", trimmed(raw))
	}
	if noWait {
		return nil
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	switch err := ending.wait(ctx, a.eventPrinter()); {
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{code: rpc.ExitTimeout, text: "superd is still stopping its workers; it goes on", next: []string{"superctl status -w follows it"}}
	case errors.Is(err, context.Canceled):
		return &failure{code: exitInterrupted, text: "superd is still stopping its workers; it goes on", next: []string{"superctl status -w follows it"}}
	case err != nil:
		return err
	}
	if !a.json {
		what := "its workers with it"
		if req.Detach {
			what = "its workers run on"
		}
		a.print("superd (pid %d) has ended, %s", st.Superd.PID, what)
	}
	return nil
}

func (a *app) eventPrinter() func(rpc.Event) {
	return func(ev rpc.Event) {
		if !a.json {
			_ = a.printEvent(ev)
		}
	}
}

// ending is superd's end as seen from outside: it hangs up, and its process is gone.
type ending struct {
	events chan rpc.Event // closed when superd has hung up
	err    error          // of the stream, to be read after that
	pidfd  int            // -1: it could not be had
}

// watchEnd begins to watch before superd is told to end, so that no end is too fast to be seen.
func (a *app) watchEnd(ctx context.Context, st *rpc.Status) *ending {
	e := &ending{events: make(chan rpc.Event, 64), pidfd: -1}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", st.Superd.PID)); err == nil && string(comm) == "superd\n" {
		// Without that check it could be a process of another pid namespace.
		if fd, err := unix.PidfdOpen(st.Superd.PID, 0); err == nil {
			e.pidfd = fd
		}
	}
	connected := make(chan struct{})
	go func() {
		e.err = a.connect().Once(ctx, rpc.EventQuery{Since: st.Superd.Seq}, func() { close(connected) }, func(ev rpc.Event) error {
			select {
			case e.events <- ev:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		close(e.events)
	}()
	select {
	case <-connected:
	case <-ctx.Done():
	case <-time.After(time.Second): // it answers slowly: what is asked of it next will tell
	}
	return e
}

// wait returns when superd has ended.
func (e *ending) wait(ctx context.Context, show func(rpc.Event)) error {
	for {
		select {
		case ev, ok := <-e.events:
			if ok {
				show(ev)
				continue
			}
			if e.err != nil {
				return e.err
			}
			e.waitProcess()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitProcess waits for the process that has hung up already; it has little left to do.
func (e *ending) waitProcess() {
	if e.pidfd < 0 {
		return
	}
	defer unix.Close(e.pidfd)
	poll := []unix.PollFd{{Fd: int32(e.pidfd), Events: unix.POLLIN}}
	limit := time.Now().Add(10 * time.Second)
	for {
		n, err := unix.Poll(poll, int(time.Until(limit).Milliseconds()))
		if !errors.Is(err, unix.EINTR) || n > 0 {
			return
		}
	}
}

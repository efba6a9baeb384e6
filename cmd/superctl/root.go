package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

// app is one run of superctl.
type app struct {
	out, err io.Writer
	env      func(string) string
	tty      bool // out is a terminal
	width    int  // of out in columns; 0: without end

	socket  string // -s
	json    bool
	timeout time.Duration // 0: none given
	began   time.Time
	ran     bool // a command was found and its arguments make sense
	acts    bool // it changes something; see statusToAct
	client  *rpc.Client
}

func newApp(out, err io.Writer, env func(string) string) *app {
	a := &app{out: &output{w: out}, err: err, env: env, began: time.Now()}
	a.tty, a.width = terminal(out, env)
	return a
}

// The groups of commands in the help.
const (
	groupLook   = "look"
	groupAct    = "act"
	groupManage = "manage"
	groupSelf   = "self"
)

const rootHelp = `superctl shows and controls the pools of worker processes that superd keeps.

POOL is a pool's name, a worker (mailers/0), a pattern ('mail*'), a group (@web),
or --all for every pool.

Exit codes: 0 done; 1 it failed; 2 usage or configuration error; 3 superd cannot
be reached; 4 not permitted; 5 no such pool or worker; 6 still going when
--timeout ran out. Ctrl-C while waiting (130) leaves what was begun going on.
check has exit codes of its own.`

// root is the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:                   "superctl",
		Short:                 "Show and control the pools of superd",
		Long:                  rootHelp,
		Example:               "  superctl status\n  superctl restart mailers\n  superctl scale mailers=8",
		SilenceErrors:         true,
		SilenceUsage:          true,
		Args:                  knownCommand,
		DisableFlagsInUseLine: true,
		RunE:                  func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRun:      func(*cobra.Command, []string) { a.ran = true },
	}
	root.AddGroup(
		&cobra.Group{ID: groupLook, Title: "See what is:"},
		&cobra.Group{ID: groupAct, Title: "Act on pools and workers:"},
		&cobra.Group{ID: groupManage, Title: "Manage superd:"},
		&cobra.Group{ID: groupSelf, Title: "superctl itself:"},
	)
	flags := root.PersistentFlags()
	flags.StringVarP(&a.socket, "socket", "s", "", "superd's control `SOCKET` (else $SUPERD_SOCKET, the system's, the user's)")
	flags.BoolVar(&a.json, "json", false, "print superd's answer as JSON")
	flags.Var((*durationFlag)(&a.timeout), "timeout", "wait no longer than this, e.g. 90s or 5m (exit code 6)")
	root.AddCommand(
		a.statusCommand(), a.showCommand(), a.eventsCommand(), a.logsCommand(), a.exitsCommand(),
		a.checkCommand(),
		a.startCommand(), a.stopCommand(), a.restartCommand(), a.scaleCommand(), a.signalCommand(),
		a.applyCommand(), a.upgradeCommand(), a.shutdownCommand(),
		a.presetsCommand(), a.versionCommand(), a.completionCommand(),
	)
	root.SetHelpCommandGroupID(groupSelf)
	completionRules(root)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return root
}

// knownCommand refuses what is no command, and says which one may be meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage("superctl help", "%s", text)
}

// run does what the arguments say and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if a.client != nil {
		a.client.Close()
	}
	if err == nil {
		err = a.unwritten()
	}
	if err == nil {
		return rpc.ExitDone
	}
	f := a.failure(err)
	if f.text != "" {
		fmt.Fprintln(a.err, f.text)
	}
	for _, next := range f.next {
		fmt.Fprintln(a.err, "  next: "+next)
	}
	return f.code
}

// durationFlag takes durations as the configuration does.
type durationFlag time.Duration

func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return signals.FormatDuration(time.Duration(*d))
}

func (d *durationFlag) Set(s string) error {
	v, err := signals.ParseDuration(s)
	if err != nil {
		return err
	}
	if v <= 0 {
		return fmt.Errorf("%q is no time at all; it is more than zero", s)
	}
	*d = durationFlag(v)
	return nil
}

func (*durationFlag) Type() string { return "DURATION" }

// deadline is the context in which what was begun is waited for.
func (a *app) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, a.began.Add(a.timeout))
}

// note says something that is no part of the output.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}

// print writes a line of output.
func (a *app) print(format string, args ...any) {
	fmt.Fprintf(a.out, format+"\n", args...)
}

// file is w as a file, or nil.
func file(w io.Writer) *os.File {
	f, _ := w.(*os.File)
	return f
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

// defaultCompletionReach is how long the shell waits for names. A superd that does
// not take the connection at all is not waited for.
const defaultCompletionReach = time.Second

// completionReach is a variable for the tests alone.
var completionReach = defaultCompletionReach

const completionHelp = `Print the completion script of a shell: bash (with the package bash-completion),
zsh or fish. It offers commands, flags, and what superd has at that moment: pools,
workers once a slash is typed, and groups once an @ is. Where superctl is
installed by 'make install' or from a package it is in place already. By hand:

bash  superctl completion bash > ~/.local/share/bash-completion/completions/superctl
zsh   superctl completion zsh > "${fpath[1]}/_superctl"
fish  superctl completion fish > ~/.config/fish/completions/superctl.fish`

// shells are those that have a completion.
var shells = []string{"bash", "zsh", "fish"}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "completion SHELL",
		GroupID:           groupSelf,
		Short:             "Print the completion script of a shell",
		Long:              completionHelp,
		Example:           "  superctl completion bash > /etc/bash_completion.d/superctl\n  superctl completion fish | source",
		ValidArgsFunction: completeShell,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usage("superctl completion bash", "cannot print a completion: name one shell, of %s", strings.Join(shells, ", "))
			}
			script, err := completionScript(cmd.Root(), args[0])
			if err != nil {
				return fmt.Errorf("cannot print the completion of %s: %w", args[0], err)
			}
			_, err = a.out.Write(script)
			return err
		},
	}
}

// completionScript is what the shell has to read.
func completionScript(root *cobra.Command, shell string) ([]byte, error) {
	var b bytes.Buffer
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(&b, true)
	case "zsh":
		err = root.GenZshCompletion(&b)
	case "fish":
		err = root.GenFishCompletion(&b, true)
	}
	return b.Bytes(), err
}

// noFiles is for commands and flags after which the name of a file makes no sense.
const noFiles = cobra.ShellCompDirectiveNoFileComp

// completionRules has the shell offer files nowhere but where one is meant.
func completionRules(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(noFiles)
	files := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	if err := root.RegisterFlagCompletionFunc("socket", files); err != nil {
		panic(err) // the flag is root's own
	}
}

// completePools offers pools, groups and workers, without those that the line
// names already.
func (a *app) completePools(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return names(a.poolsNow(cmd.Context()), args, begun), noFiles
}

// poolsNow is what superd has. Where there is no superd there is nothing to
// offer, at once and without a word.
func (a *app) poolsNow(ctx context.Context) []rpc.Pool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := rpc.NewClient(rpc.Options{Sockets: a.sockets(), Reach: completionReach, Waiting: func(error) { cancel() }})
	defer client.Close()
	st, _, err := client.Status(ctx)
	if err != nil {
		return nil
	}
	return st.Pools
}

// names are those that begin as was typed: workers only of a pool that is
// written out, groups only after an @, so that a list of pools stays one.
func names(pools []rpc.Pool, given []string, begun string) []string {
	var list []string
	seen := slices.Clone(given)
	offer := func(name, what string) {
		if strings.HasPrefix(name, begun) && !slices.Contains(seen, name) {
			seen = append(seen, name)
			list = append(list, cobra.CompletionWithDesc(name, what))
		}
	}
	for i := range pools {
		p := &pools[i]
		switch {
		case strings.HasPrefix(begun, "@"):
			for _, g := range p.Groups {
				offer("@"+g, "group")
			}
		case strings.Contains(begun, "/"):
			for _, w := range p.Workers {
				offer(w.Name, w.State)
			}
		case p.Desired == "running":
			offer(p.Name, fmt.Sprintf("%d/%d healthy", p.Healthy, p.Count))
		default:
			offer(p.Name, p.Desired)
		}
	}
	return list
}

// completeScale offers POOL=, and goes on right after it.
func (a *app) completeScale(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	if strings.ContainsAny(begun, "=/") {
		return nil, noFiles
	}
	list := names(a.poolsNow(cmd.Context()), nil, begun)
	for i := range list {
		name, what, _ := strings.Cut(list[i], "\t")
		list[i] = cobra.CompletionWithDesc(name+"=", what)
	}
	return list, noFiles | cobra.ShellCompDirectiveNoSpace
}

// completeSignal offers signals first, then pools.
func (a *app) completeSignal(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return a.completePools(cmd, args[1:], begun)
	}
	prefix := ""
	if strings.HasPrefix(begun, "SIG") {
		prefix = "SIG"
	}
	var list []string
	for n := syscall.Signal(1); n < signals.RTMin; n++ {
		// 32 and 33 have no name: they are the C library's own.
		if name := prefix + signals.Name(n); strings.HasPrefix(name, begun) && !strings.HasSuffix(name, strconv.Itoa(int(n))) {
			list = append(list, name)
		}
	}
	return list, noFiles
}

// completeShell offers what completion prints.
func completeShell(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return shells, noFiles
}

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show POOL...",
		GroupID: groupLook,
		Short:   "Show the configuration of pools that is in force",
		Long: `Show the configuration of pools that is in force, defaults included, in the
configuration's own form, and where each value comes from: a line of a file, a
line of its [defaults], or superd's own default. Values of env are for operators.`,
		Example:           "  superctl show mailers\n  superctl show mailers --json | jq .config.restart",
		ValidArgsFunction: a.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.show(cmd.Context(), args) },
	}
}

func (a *app) show(ctx context.Context, names []string) error {
	if err := needPools("show", "superctl show", names, false); err != nil {
		return err
	}
	st, _, err := a.status(ctx)
	if err != nil {
		return reworded(err, "show "+strings.Join(names, " "))
	}
	targets, err := a.choose(ctx, st, names, false)
	if err != nil {
		return err
	}
	for i, t := range targets {
		c, raw, err := a.connect().Config(ctx, t.pool.Name)
		if err != nil {
			return err
		}
		if a.json {
			a.print("%s", trimmed(raw))
			continue
		}
		if i > 0 {
			a.print("")
		}
		writeConfig(a.out, c)
	}
	return nil
}

// writeConfig prints a pool's keys as TOML, each with where it comes from.
func writeConfig(w io.Writer, c *rpc.PoolConfig) {
	var b strings.Builder
	fmt.Fprintf(&b, "# in force; the main file is %s\n", clean(c.File))
	if c.Scaled {
		fmt.Fprintf(&b, "# count is %d by superctl scale, until it is changed in the configuration\n", c.Count)
	}
	if c.EnvHidden {
		b.WriteString("# values of env are for operators of the pool\n")
	}
	fmt.Fprintf(&b, "[pool.%s]\n", c.Pool)
	lines := make([]string, len(c.Settings))
	longest := 0
	for i, s := range c.Settings {
		lines[i] = settingLine(&s, c.EnvHidden)
		if n := utf8.RuneCountInString(lines[i]); n <= longestAligned {
			longest = max(longest, n)
		}
	}
	for i, s := range c.Settings {
		pad := max(0, longest-utf8.RuneCountInString(lines[i]))
		fmt.Fprintf(&b, "%s%s  # %s\n", lines[i], strings.Repeat(" ", pad), clean(s.Source))
	}
	_, _ = io.WriteString(w, b.String())
}

// longestAligned is up to which length settings have their sources in a column.
const longestAligned = 60

func settingLine(s *rpc.Setting, envHidden bool) string {
	switch {
	case s.Value != "":
		return clean(s.Key + " = " + string(s.Value))
	case envHidden && strings.HasPrefix(s.Key, "env."):
		return clean("# " + s.Key + " is hidden")
	}
	return clean("# " + s.Key + " is not set")
}

package main

import (
	"bytes"
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: groupSelf,
		Short:   "Print superctl's version",
		Long:    "Print superctl's own version. superd's is in superctl status --json.",
		Example: "  superctl version\n  superctl version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(map[string]string{"version": ownVersion(), "go": runtime.Version()})
			}
			a.print("superctl %s", ownVersion())
			return nil
		},
	}
}

// trimmed is an answer without the newline at its end.
func trimmed(raw []byte) []byte { return bytes.TrimSpace(raw) }

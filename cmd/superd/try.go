package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/superd/superd/supervisor"
)

// tryPatience bounds a try; whoever asked for it waits no longer.
const tryPatience = 10 * time.Second

// tryCommand is what a superd asks of the program that is to take its place. It
// is no command for people.
func tryCommand(file *string) *cobra.Command {
	var copied string
	cmd := &cobra.Command{
		Use: "try", Hidden: true, Args: cobra.NoArgs,
		Short: "tell the superd that runs whether this program could take its place",
		RunE: func(*cobra.Command, []string) error {
			answer := try(*file, copied)
			if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
				return err
			}
			if answer.Refused != "" {
				return &exitError{code: exitOther}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&copied, "copy", "", "the folder with a copy of the state")
	return cmd
}

func try(file, copied string) (a supervisor.TryAnswer) {
	a = supervisor.TryAnswer{Superd: "try", Version: versionName()}
	defer func() {
		if p := recover(); p != nil {
			a.Refused = fmt.Sprintf("panic: %v", p)
		}
	}()
	cfg, err := load(file, nil)
	if err == nil {
		a.RuntimeDir, a.StateDir, a.LogDir = cfg.RuntimeDir, cfg.StateDir, cfg.LogDir
		ctx, cancel := context.WithTimeout(context.Background(), tryPatience)
		defer cancel()
		a.Keepers, err = supervisor.Try(ctx, supervisor.Options{Config: cfg, Version: versionName()}, copied)
	}
	if err != nil {
		a.Refused = err.Error()
	}
	return a
}

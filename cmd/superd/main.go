package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/proc"
)

// version is set by the build (-ldflags "-X main.version=...").
var version = ""

// superd's exit codes. An essential pool that failed gives core.ExitEssentialFailed.
const (
	exitDone    = 0
	exitOther   = 1
	exitConfig  = 2
	exitRunning = 3
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "keep" {
		if len(os.Args) > 2 && os.Args[2] == proc.StageArgs[2] {
			os.Exit(proc.StageMain())
		}
		os.Exit(keeper.Main(os.Args[2:]))
	}
	os.Exit(run())
}

// exitError carries an exit code out of a command.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// stderr is where errors go. While superd runs it is what ownStderr has made of it.
var stderr = os.Stderr

func run() int {
	root := command()
	understood := false
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		understood = true
		if cmd != root && cmd.Name() != "run" {
			signal.Reset() // what the first process of a container has caught for superd's sake
		}
	}
	err := root.Execute()
	if err == nil {
		return exitDone
	}
	var exit *exitError
	var wrong *config.Errors
	switch {
	case errors.As(err, &wrong):
		complain(stderr, err) // each line has its place already
		var not *notStarted
		if errors.As(err, &not) {
			complain(stderr, "superd: not started. Workers of the superd before, if there are any, go on without one:",
				"correct the configuration (superd check says what is left) and start superd again")
		}
		return exitConfig
	case errors.As(err, &exit):
		if exit.err != nil {
			complain(stderr, "superd:", exit.err)
		}
		return exit.code
	case errors.Is(err, supervisor.ErrRunning):
		complain(stderr, "superd:", err)
		return exitRunning
	case errors.Is(err, supervisor.ErrMoved):
		complain(stderr, "superd:", err)
		return exitConfig
	}
	if !understood {
		fmt.Fprintf(os.Stderr, "superd: %v (see superd --help)\n", err)
		return exitConfig
	}
	complain(stderr, "superd:", err)
	return exitOther
}

// notStarted is why superd could not even begin: nothing was touched.
type notStarted struct{ error }

func (e *notStarted) Unwrap() error { return e.error }

// command is the tree of superd's commands. Without one it runs.
func command() *cobra.Command {
	var file string
	root := &cobra.Command{
		Use:   "superd",
		Short: "keep pools of worker processes running",
		Long: "superd keeps pools of worker processes running: it starts them, restarts them within\n" +
			"limits, stops them by the signals and waits that they need, and survives its own death.\n" +
			"It stays in the foreground. Its command line is superctl.",
		Example: "  superd init > superd.toml\n  superd check -c superd.toml\n  superd -c superd.toml",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return runSuperd(file) },
		// What goes wrong is said once, by run.
		SilenceErrors: true, SilenceUsage: true,
	}
	root.PersistentFlags().StringVarP(&file, "config", "c", "", "the configuration file (default "+config.DefaultFile()+")")
	root.AddCommand(
		&cobra.Command{
			Use: "run", Short: "run superd in the foreground (also what it does without a command)",
			Example: "  superd run -c /etc/superd/superd.toml", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return runSuperd(file) },
		},
		&cobra.Command{
			Use: "check", Short: "check the configuration and say everything that is wrong with it",
			Long: "check reads the configuration with all that it includes and says everything that is wrong\n" +
				"with it, each with its place. It exits with 0 when superd would accept it, else with 2.\n" +
				"(superctl check is another thing: it asks a superd that runs for the health of its pools.)",
			Example: "  superd check -c superd.toml", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return check(file) },
		},
		&cobra.Command{
			Use: "init", Short: "print a commented configuration file to start from",
			Example: "  superd init > superd.toml", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { fmt.Print(config.Starter()); return nil },
		},
		&cobra.Command{
			Use: "leftovers", Short: "end what a superd has left that lives no more",
			Long: "leftovers ends the workers and the keeper of a superd that was killed and that nobody starts\n" +
				"again, each by its stop sequence. Where a superd lives it touches nothing. As ExecStopPost= of\n" +
				"a unit it does so only if systemd is told to stop the unit; else a superd follows.",
			Example: "  superd leftovers -c /etc/superd/superd.toml", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return leftovers(file) },
		},
		&cobra.Command{
			Use: "version", Short: "print superd's version", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { fmt.Println("superd", versionName()); return nil },
		},
	)
	root.AddCommand(tryCommand(&file))
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// versionName is the version that was built in, or what the module knows.
func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

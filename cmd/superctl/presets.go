package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superd/superd/signals"
)

func (a *app) presetsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "presets [NAME...]",
		GroupID: groupSelf,
		Short:   "List the programs whose signals are known",
		Long: `List the presets: for each known program the signals that end it, those that
let it finish its work when it is replaced, how its title shows that it is busy,
and the document that says so. Use one by preset = "NAME" in a pool. superd need
not run.`,
		Example:           "  superctl presets\n  superctl presets sidekiq\n  superctl presets --json | jq -r '.presets[].name'",
		ValidArgsFunction: cobra.FixedCompletions(signals.PresetNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(_ *cobra.Command, names []string) error { return a.presets(names) },
	}
}

// presetView is a preset as --json shows it.
type presetView struct {
	Name          string   `json:"name"`
	StopSequence  []string `json:"stop_sequence"`
	DrainSequence []string `json:"drain_sequence"`
	BusyTitle     *string  `json:"busy_title"` // null: its title does not tell
	Source        string   `json:"source"`
	Note          string   `json:"note"`
}

func (a *app) presets(names []string) error {
	for _, name := range names {
		if _, ok := signals.LookupPreset(name); !ok {
			text := "the known ones are " + strings.Join(signals.PresetNames(), ", ")
			if near := signals.Nearest(name, signals.PresetNames()); near != "" {
				text = "did you mean " + near + "?"
			}
			return usage("superctl presets", "cannot show preset %q: there is no such preset; %s", name, text)
		}
	}
	var views []presetView
	for _, p := range signals.Presets() {
		if len(names) == 0 || slices.Contains(names, p.Name) {
			views = append(views, viewOf(p))
		}
	}
	if a.json {
		return a.printJSON(map[string][]presetView{"presets": views})
	}
	for i, v := range views {
		if i > 0 {
			a.print("")
		}
		a.print("%s", v.Name)
		a.print("  stop   %s", strings.Join(v.StopSequence, ", "))
		a.print("  drain  %s", strings.Join(v.DrainSequence, ", "))
		if v.BusyTitle != nil {
			a.print("  busy   title %s", *v.BusyTitle)
		}
		a.print("  source %s", v.Source)
		if v.Note != "" {
			a.print("  note   %s", v.Note)
		}
	}
	return nil
}

func viewOf(p signals.Preset) presetView {
	v := presetView{Name: p.Name, StopSequence: p.Stop.Strings(), DrainSequence: p.Drain.Strings(), Source: p.Source, Note: p.Note}
	if p.Busy != "" {
		v.BusyTitle = &p.Busy
	}
	return v
}

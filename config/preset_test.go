package config

import (
	"os"
	"strings"
	"testing"

	"github.com/superd/superd/signals"
)

// TestPreset shows what a preset makes of a pool, and what keys beside it change.
func TestPreset(t *testing.T) {
	sidekiq, _ := signals.LookupPreset("sidekiq")
	stop, drain := strings.Join(sidekiq.Stop.Strings(), ", "), strings.Join(sidekiq.Drain.Strings(), ", ")
	for name, c := range map[string]struct{ text, stop, drain, busy string }{
		"alone": {
			"preset = 'sidekiq'", stop, drain, sidekiq.Busy},
		"stop_signal beside it": {
			"preset = 'sidekiq'\nstop_signal = 'INT'", "INT 10s, KILL", drain, sidekiq.Busy},
		"kill_timeout keeps the preset's signal": {
			"preset = 'nginx'\nkill_timeout = '2m'", "QUIT 2m, KILL", "QUIT 30s, TERM 5s, KILL", ""},
		"a sequence beside it": {
			"preset = 'sidekiq'\nstop_sequence = ['USR1 forever']", "USR1 forever", drain, sidekiq.Busy},
		"a drain sequence beside it": {
			"preset = 'sidekiq'\ndrain_sequence = ['TERM 1d', 'KILL']", stop, "TERM 1d, KILL", sidekiq.Busy},
		"a title beside it": {
			"preset = 'sidekiq'\nbusy = { title = 'at work' }", stop, drain, "at work"},
		"over what [defaults] says": {
			"preset = 'sidekiq'\n[defaults]\nkill_timeout = '1s'\ndrain_sequence = ['TERM 1s', 'KILL']\nbusy = { title = 'x' }",
			stop, drain, sidekiq.Busy},
		"without busy leaves that of [defaults]": {
			"preset = 'puma'\n[defaults]\nbusy = { title = 'x' }", "TERM 30s, KILL", "TERM 30s, KILL", "x"},
		"in [defaults], the pool's own form wins": {
			"stop_signal = 'INT'\n[defaults]\npreset = 'sidekiq'", "INT 10s, KILL", drain, sidekiq.Busy},
		"in [defaults] too, the pool's own wins": {
			"preset = 'puma'\n[defaults]\npreset = 'sidekiq'", "TERM 30s, KILL", "TERM 30s, KILL", ""},
	} {
		p := load(t, "[pool.a]\ncommand = 'x'\n"+c.text).Pools["a"]
		gotStop, gotDrain := strings.Join(p.Stop.Strings(), ", "), strings.Join(p.Drain.Strings(), ", ")
		if gotStop != c.stop || gotDrain != c.drain || p.Busy.Title != c.busy {
			t.Errorf("%s:\nstop  %s, want %s\ndrain %s, want %s\nbusy  %q, want %q",
				name, gotStop, c.stop, gotDrain, c.drain, p.Busy.Title, c.busy)
		}
	}
}

// TestPresetSource shows that people learn where a sequence comes from.
func TestPresetSource(t *testing.T) {
	p := load(t, "[pool.a]\ncommand = 'x'\npreset = 'sidekiq'\nkill_timeout = '1m'").Pools["a"]
	want := map[string]string{
		"preset": "f:3", "stop_sequence": "f:4", "drain_sequence": "preset sidekiq, f:3", "busy": "preset sidekiq, f:3",
	}
	for key, src := range want {
		if got := p.Sources[key]; !strings.HasPrefix(got, src) {
			t.Errorf("%s comes from %q, want %q", key, got, src)
		}
	}
}

// TestPresetsAreTakenInPlace: how a run is ended and watched needs no new process.
func TestPresetsAreTakenInPlace(t *testing.T) {
	plain := load(t, "[pool.a]\ncommand = 'x'").Pools["a"]
	known := load(t, "[pool.a]\ncommand = 'x'\npreset = 'sidekiq'").Pools["a"]
	change := Diff(plain, known)
	var keys []string
	for _, k := range change.Keys {
		keys = append(keys, k.Key)
	}
	if got := strings.Join(keys, " "); got != "preset stop_sequence drain_sequence busy" || change.NeedsNewProcesses {
		t.Errorf("changed: %s, new processes: %v", got, change.NeedsNewProcesses)
	}
}

// TestPresetsAreDocumented compares the table of docs/configuration.md.
func TestPresetsAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range signals.Presets() {
		busy := "–"
		if p.Busy != "" {
			busy = "`" + p.Busy + "`"
		}
		row := "| [`" + p.Name + "`](" + p.Source + ") | `" + strings.Join(p.Stop.Strings(), ", ") + "` | `" +
			strings.Join(p.Drain.Strings(), ", ") + "` | " + strings.ReplaceAll(busy, "|", "\\|") + " | " + p.Note + " |"
		if !strings.Contains(string(data), row+"\n") {
			t.Errorf("docs/configuration.md lacks the row\n%s", row)
		}
	}
}

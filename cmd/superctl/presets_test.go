package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/superd/superd/signals"
)

// TestPresets: they are shown without a superd, whole, and by name.
func TestPresets(t *testing.T) {
	run := func(args ...string) (out, err string, code int) {
		var o, e bytes.Buffer
		code = newApp(&o, &e, func(string) string { return "" }).run(t.Context(), append([]string{"presets"}, args...))
		return o.String(), e.String(), code
	}
	out, _, code := run()
	for _, p := range signals.Presets() {
		for _, text := range []string{"\n" + p.Name + "\n", strings.Join(p.Stop.Strings(), ", "), strings.Join(p.Drain.Strings(), ", "), p.Source} {
			if !strings.Contains("\n"+out, text) {
				t.Errorf("superctl presets (%d) lacks %q", code, text)
			}
		}
	}
	out, _, code = run("--json", "sidekiq", "puma")
	var got struct{ Presets []presetView }
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || len(got.Presets) != 2 {
		t.Fatalf("--json (%d, %v): %s", code, err, out)
	}
	if p := got.Presets[0]; p.Name != "sidekiq" || p.BusyTitle == nil || len(p.DrainSequence) != 3 {
		t.Errorf("sidekiq is %+v", p)
	}
	if got.Presets[1].BusyTitle != nil {
		t.Errorf("puma has a title %q", *got.Presets[1].BusyTitle)
	}
	if _, err, code := run("sidekick"); code != 2 || !strings.Contains(err, "did you mean sidekiq?") {
		t.Errorf("an unknown preset gives %d: %s", code, err)
	}
}

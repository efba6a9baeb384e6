package signals

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPresets holds the sequences that people rely on; a change here changes how
// every pool with the preset is ended.
func TestPresets(t *testing.T) {
	want := map[string][2]string{
		"sidekiq":       {"TERM 30s, KILL", "TSTP 10m, TERM 30s, KILL"},
		"resque":        {"QUIT 30s, TERM 10s, KILL", "QUIT 10m, TERM 10s, KILL"},
		"celery":        {"TERM 30s, QUIT 10s, KILL", "TERM 10m, QUIT 10s, KILL"},
		"rq":            {"TERM 30s, KILL", "TERM 10m, KILL"},
		"laravel-queue": {"TERM 30s, KILL", "TERM 10m, KILL"},
		"solid-queue":   {"TERM 30s, KILL", "TERM 10m, KILL"},
		"shoryuken":     {"TERM 30s, KILL", "USR1 10m, TERM 30s, KILL"},
		"gunicorn":      {"TERM 30s, QUIT 5s, KILL", "TERM 30s, QUIT 5s, KILL"},
		"puma":          {"TERM 30s, KILL", "TERM 30s, KILL"},
		"unicorn":       {"QUIT 30s, TERM 5s, KILL", "QUIT 30s, TERM 5s, KILL"},
		"nginx":         {"QUIT 30s, TERM 5s, KILL", "QUIT 30s, TERM 5s, KILL"},
		"php-fpm":       {"QUIT 30s, TERM 5s, KILL", "QUIT 30s, TERM 5s, KILL"},
		"postgres":      {"INT 60s, QUIT 30s, KILL", "TERM 10m, INT 60s, QUIT 30s, KILL"},
	}
	if got := PresetNames(); len(got) != len(want) {
		t.Errorf("there are %d presets, %q; want %d", len(got), got, len(want))
	}
	for _, p := range Presets() {
		got := [2]string{strings.Join(p.Stop.Strings(), ", "), strings.Join(p.Drain.Strings(), ", ")}
		// A time may be written otherwise than it is shown.
		for i, text := range want[p.Name] {
			seq, err := ParseSequence(strings.Split(text, ", "))
			if err != nil || !slices.Equal(seq, [2]Sequence{p.Stop, p.Drain}[i]) {
				t.Errorf("%s: %q, want %q (%v)", p.Name, got[i], text, err)
			}
		}
		if u, err := url.Parse(p.Source); err != nil || u.Scheme != "https" || u.Host == "" {
			t.Errorf("%s: its source is %q", p.Name, p.Source)
		}
		if found, ok := LookupPreset(p.Name); !ok || found.Source != p.Source {
			t.Errorf("%s is not found by its name", p.Name)
		}
	}
	if _, ok := LookupPreset("sidekick"); ok {
		t.Error("an unknown name is found")
	}
}

// TestPresetTitles shows the presets titles as the programs write them.
func TestPresetTitles(t *testing.T) {
	for _, c := range []struct {
		preset, title string
		busy          bool
		text          string
	}{
		{"sidekiq", "sidekiq 6.4.1 app [3 of 10 busy]", true, "3 of 10 busy"},
		{"sidekiq", "sidekiq 7.2.4 app [10 of 25 busy] leader stopping", true, "10 of 25 busy"},
		{"sidekiq", "sidekiq 6.4.1 app [0 of 10 busy]", false, ""},
		{"sidekiq", "sidekiq 6.4.1 app [0 of 10 busy] stopping", false, ""},
		{"sidekiq", "ruby /usr/bin/sidekiq -c 10", false, ""},
		{"resque", "resque-2.6.0: Waiting for mail", false, ""},
		{"resque", "resque-2.6.0: Paused", false, ""},
		{"resque", "resque-2.6.0: Forked 4711 at 1700000000", true, "Forked 4711 at 1700000000"},
		{"resque", "resque-2.6.0: Processing mail since 1700000000 [Mailer]", true, "Processing mail since 1700000000 [Mailer]"},
	} {
		p, _ := LookupPreset(c.preset)
		m := regexp.MustCompile(p.Busy).FindStringSubmatch(c.title)
		if (m != nil) != c.busy || m != nil && m[1] != c.text {
			t.Errorf("%s: %q gives %q, want %v, %q", c.preset, c.title, m, c.busy, c.text)
		}
	}
}

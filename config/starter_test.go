package config

import (
	"strings"
	"testing"
)

func TestStarter(t *testing.T) {
	user := &identity{uid: 1000, gid: 1000, user: "u", group: "u", getenv: func(string) string { return "/home/u" }}
	var on []string
	for _, line := range strings.Split(Starter(), "\n") {
		if len(line) > 1 && line[0] == '#' && line[1] != ' ' {
			line = line[1:]
		}
		if !strings.HasPrefix(line, "include") { // LoadBytes has no files
			on = append(on, line)
		}
	}
	for what, text := range map[string]string{"as it is": Starter(), "with all that is switched off": strings.Join(on, "\n")} {
		for _, id := range []*identity{rootUser, user} {
			c, err := LoadBytes("starter", []byte(text), Options{self: id})
			if err != nil {
				t.Fatalf("%s, as uid %d:\n%v", what, id.uid, err)
			}
			p := c.Pools["hello"]
			if p == nil || p.Count != 2 || len(c.Warnings) > 0 {
				t.Errorf("%s: %+v, %v", what, p, c.Warnings)
			}
			if _, err := p.Render(RunContext{Account: deploy}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// TestStarterShowsDefaults: what is switched off is the default, unless it is an example.
func TestStarterShowsDefaults(t *testing.T) {
	defaults := make(map[string]string)
	for _, s := range load(t, "[pool.a]\ncommand = \"x\"").Pools["a"].Describe() {
		defaults[s.Key] = s.Value
	}
	examples := map[string]bool{"env": true, "env_file": true, "stop_sequence": true, "limits.nofile": true, "limits.nice": true}
	table, inPool := "", false
	for _, line := range strings.Split(Starter(), "\n") {
		if rest, ok := strings.CutPrefix(line, "[pool.hello"); ok {
			inPool = true
			table = strings.Trim(rest, ".]")
			if table != "" {
				table += "."
			}
		}
		if len(line) < 2 || line[0] != '#' || line[1] == ' ' {
			continue
		}
		name, value, _ := strings.Cut(line[1:], " = ")
		value, _, _ = strings.Cut(value, " #")
		key := table + name
		if want, ok := defaults[key]; ok && inPool && !examples[key] && strings.TrimSpace(value) != want {
			t.Errorf("%s is shown as %s; the default is %s", key, value, want)
		}
	}
}

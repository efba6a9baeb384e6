package config

import (
	"os"
	"regexp"
	"sort"
	"strings"
	"testing"
)

// documented is one row of a table in docs/configuration.md.
type documented struct {
	def, meaning string
	job          bool
}

var (
	docHeading = regexp.MustCompile(`^#{2,3} \[+([a-z.A-Z]+)\]+( ●)?$`)
	docRow     = regexp.MustCompile("^\\| `([a-z_]+)`( ●)? \\| (.*?) \\| (.*) \\|$")
)

// readDocs gives the documented keys by table and name: "pool.NAME.restart.on".
func readDocs(t *testing.T) map[string]documented {
	t.Helper()
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]documented)
	table, job := "", false
	for _, line := range strings.Split(string(data), "\n") {
		if m := docHeading.FindStringSubmatch(line); m != nil {
			table, job = m[1], m[2] != ""
		} else if strings.HasPrefix(line, "#") {
			table = ""
		} else if m := docRow.FindStringSubmatch(line); m != nil && table != "" {
			key := strings.Replace(table, ".NAME", "", 1) + "." + m[1]
			if _, twice := rows[key]; twice {
				t.Errorf("%s is documented twice", key)
			}
			rows[key] = documented{def: m[3], meaning: m[4], job: m[2] != "" || job}
		}
	}
	return rows
}

// knownKeys gives the keys of the code likewise, and whether a job takes them.
func knownKeys() map[string]bool {
	known := make(map[string]bool)
	for _, k := range superdKeys {
		known["superd."+k.name] = false
	}
	tables := map[string]*schema{"pool.ready.": readySchema, "pool.check.": checkSchema, "pool.busy.": busySchema, "notify.": notifySchema}
	for _, k := range poolKeys {
		if tables["pool."+k.name+"."] == nil {
			known["pool."+k.name] = k.flags&forJob != 0
		}
	}
	for _, k := range jobKeys() {
		if _, ofPool := known["pool."+k.name]; !ofPool {
			known["job."+k.name] = false
		}
	}
	for prefix, s := range tables {
		for _, name := range s.names() {
			known[prefix+name] = false
		}
	}
	return known
}

func TestDocumentation(t *testing.T) {
	docs, known := readDocs(t), knownKeys()
	var keys []string
	for key := range known {
		keys = append(keys, key)
	}
	for key := range docs {
		if _, ok := known[key]; !ok {
			t.Errorf("%s is documented, but no key", key)
		}
	}
	sort.Strings(keys)
	refused := make(map[string]bool)
	for _, e := range notYet {
		refused[e.key] = true
	}
	for _, key := range keys {
		row, ok := docs[key]
		if !ok {
			t.Errorf("%s is not documented", key)
			continue
		}
		if row.job != known[key] {
			t.Errorf("%s: documented as a job's key: %v", key, row.job)
		}
		if table, _, _ := strings.Cut(strings.TrimPrefix(key, "pool."), "."); refused[table] || refused["pool."+table] && strings.Count(key, ".") == 2 {
			continue // the whole table is marked
		}
		if marked := strings.Contains(row.meaning, "not supported yet"); marked != refused[key] {
			t.Errorf("%s: documented as not supported yet: %v; refused: %v", key, marked, refused[key])
		}
	}
}

// TestDocumentedDefaults compares the defaults of pools with those in force.
func TestDocumentedDefaults(t *testing.T) {
	docs := readDocs(t)
	words := map[string]string{
		"command": "required", "user": "superd's own", "group": "the user's", "drain_sequence": "as `stop_sequence`",
		"restart.max_delay": "as `delay`",
	}
	for _, s := range load(t, "[pool.a]\ncommand = \"x\"").Pools["a"].Describe() {
		if s.Key == "busy" {
			continue // its keys have a table of their own
		}
		want := words[s.Key]
		switch {
		case want != "":
		case s.Value == "":
			want = "–"
		default:
			want = "`" + s.Value + "`"
		}
		if got := docs["pool."+s.Key].def; got != want {
			t.Errorf("%s: documented default %s; in force %s", s.Key, got, want)
		}
	}
}

package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestConfigurationsAreAccepted holds the configurations that people copy from:
// the one in the README, the examples, and what superd init prints.
func TestConfigurationsAreAccepted(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	starter, err := exec.Command(filepath.Join(bin, "superd"), "init").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, readme, _ := strings.Cut(read("../../README.md"), "```toml\n")
	readme, _, ok := strings.Cut(readme, "```\n")
	if !ok {
		t.Fatal("the README has no configuration")
	}
	configurations := map[string]string{"README.md": readme, "superd init": string(starter), "pollers.toml": read("pollers.toml")}
	for _, name := range folders(t) {
		configurations[name] = read(filepath.Join(name, "superd.toml"))
	}
	for name, text := range configurations {
		dir, err := os.MkdirTemp("", "superd-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "superd.toml")
		if name == "README.md" && os.Geteuid() != 0 {
			text = strings.Replace(text, `user          = "deploy"`, "", 1) // an ordinary user cannot change users
		}
		write(t, file, text)
		if out, err := exec.Command(filepath.Join(bin, "superd"), "check", "-c", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// folders are the examples that have one.
func folders(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*/superd.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples are found: %v", err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Dir(file))
	}
	return names
}

// TestEveryExampleIsListed: the table names each, and an example that stands in
// /srv/NAME, as the table's commands put it, names no other place.
func TestEveryExampleIsListed(t *testing.T) {
	table, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`/srv/([a-z]+)`)
	for _, name := range folders(t) {
		if !strings.Contains(string(table), "| ["+name+"]("+name+"/superd.toml) |") {
			t.Errorf("README.md has no row for %s", name)
		}
		text, err := os.ReadFile(filepath.Join(name, "superd.toml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range place.FindAllStringSubmatch(string(text), -1) {
			if m[1] != name {
				t.Errorf("%s/superd.toml says %s", name, m[0])
			}
		}
	}
}

// TestLinks: what the documents refer to is there.
func TestLinks(t *testing.T) {
	root := "../.."
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, page := range append(pages, root+"/README.md", root+"/CHANGELOG.md", "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

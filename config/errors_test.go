package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/errors.txt with what is reported now")

// TestErrors compares what is reported for broken configurations with
// testdata/errors.txt: after each text stand the expected lines, marked by "!".
func TestErrors(t *testing.T) {
	const file = "testdata/errors.txt"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, block := range strings.Split(string(data), "=== ")[1:] {
		title, body, _ := strings.Cut(block, "\n")
		var src, want strings.Builder
		for _, line := range strings.SplitAfter(body, "\n") {
			if rest, ok := strings.CutPrefix(line, "! "); ok {
				want.WriteString(rest)
			} else {
				src.WriteString(line)
			}
		}
		text := strings.TrimRight(src.String(), "\n") + "\n"
		got := loadErrors(text)
		out.WriteString("=== " + title + "\n" + text + "\n")
		for _, line := range strings.SplitAfter(got, "\n") {
			out.WriteString("! " + line)
		}
		out.WriteString("\n\n")
		if !*update && got != strings.TrimRight(want.String(), "\n") {
			t.Errorf("%s: reported:\n%s\n\nexpected:\n%s", title, got, want.String())
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func loadErrors(text string) string {
	_, err := LoadBytes("f", []byte(text), Options{self: rootUser})
	if err == nil {
		return "nothing"
	}
	return err.Error()
}

var rootUser = &identity{uid: 0, gid: 0, user: "root", group: "root", getenv: func(string) string { return "" }}

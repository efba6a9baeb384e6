package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

// offered is what superctl offers the shell, without descriptions.
func offered(r result) string {
	var words []string
	for _, line := range strings.Split(r.out, "\n") {
		if line != "" && !strings.HasPrefix(line, ":") {
			word, _, _ := strings.Cut(line, "\t")
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// TestCompletionScripts: the files that are installed are what superctl prints.
func TestCompletionScripts(t *testing.T) {
	for shell, name := range map[string]string{"bash": "superctl", "zsh": "_superctl", "fish": "superctl.fish"} {
		r := ctl(t, context.Background(), nil, "completion", shell)
		path := filepath.Join("..", "..", "contrib", "completions", name)
		if *update {
			if err := os.WriteFile(path, []byte(r.out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if installed, err := os.ReadFile(path); err != nil || r.code != 0 || string(installed) != r.out {
			t.Errorf("%s is not what superctl completion %s prints; go test ./cmd/superctl -run Completion -update (%v)", path, shell, err)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		if r := ctl(t, context.Background(), nil, args...); r.code != 2 || r.out != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestCompletionOffers(t *testing.T) {
	f := newFake(t)
	f.change("web", func(p *rpc.Pool) { p.Groups = []string{"front", "work"} })
	for line, want := range map[string]string{
		"stop ":                      "mailers web",
		"stop mailers ":              "web",
		"restart ma":                 "mailers",
		"restart mailers/":           "mailers/0 mailers/1",
		"restart mailers/0 mailers/": "mailers/1",
		"status @":                   "@work @front",
		"status @f":                  "@front",
		"status x":                   "",
		"scale ":                     "mailers= web=",
		"scale mailers=":             "",
		"signal SIGUSR":              "SIGUSR1 SIGUSR2",
		"signal TE":                  "TERM",
		"signal TERM w":              "web",
		"completion ":                "bash zsh fish",
		"completion zsh ":            "",
		"apply ":                     "",
		"version ":                   "",
		"check --time":               "--timeout",
		"events --since ":            "",
		"status --timeout ":          "",
	} {
		r := f.ctl(append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if offered(r) != want || !strings.Contains(r.out, ":4\n") && !strings.Contains(r.out, ":6\n") {
			t.Errorf("%q offers %q, want %q and no files", line, r.out, want)
		}
	}
	if r := f.ctl("__complete", "scale", ""); !strings.Contains(r.out, "mailers=\t1/2 healthy\n") || !strings.HasSuffix(r.out, ":6\n") {
		t.Errorf("%+v", r) // 6: no files, and no blank after the =
	}
	if r := f.ctl("__complete", "status", "-s", ""); !strings.HasSuffix(r.out, ":0\n") {
		t.Errorf("no files are offered for a socket: %+v", r)
	}
}

// TestCompletionWithoutSuperd: a superd that is away is not waited for.
func TestCompletionWithoutSuperd(t *testing.T) {
	completionReach = time.Hour
	defer func() { completionReach = defaultCompletionReach }()
	env := []string{"SUPERD_SOCKET=" + filepath.Join(t.TempDir(), "none")}
	for _, args := range [][]string{{"stop", ""}, {"scale", ""}, {"signal", "TERM", ""}} {
		r := ctl(t, context.Background(), env, append([]string{"__complete"}, args...)...)
		if offered(r) != "" || strings.Contains(r.err, "superd") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := ctl(t, context.Background(), env, "__complete", "stop", "--no-"); offered(r) != "--no-wait" {
		t.Errorf("%+v", r)
	}
}

package supervisor_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEventsAreDocumented holds the list in docs/events.md equal to the types of
// events that the code can say.
func TestEventsAreDocumented(t *testing.T) {
	eventType := regexp.MustCompile(`^(superd|keeper|config|pool|worker|deployment|job|check|log|notify|events)\.[a-z_]+$`)
	said := make(map[string]bool)
	for _, dir := range []string{".", "core", "logs", "../rpc"} {
		names, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", dir, names, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil && eventType.MatchString(s) {
						said[s] = true
					}
				}
				return true
			})
		}
	}
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = true
	}
	for s := range said {
		if !documented[s] {
			t.Errorf("event %s is not in docs/events.md", s)
		}
	}
	for s := range documented {
		if !said[s] {
			t.Errorf("docs/events.md has event %s, which nothing in the code says; said are %v", s, sorted(said))
		}
	}
}

func sorted(set map[string]bool) []string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

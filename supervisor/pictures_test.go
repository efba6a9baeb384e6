package supervisor_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/superd/superd/supervisor/core"
)

var update = flag.Bool("update", false, "redraw the pictures in docs/architecture.md")

const architecture = "../docs/architecture.md"

// TestPackagePicture keeps the picture of the packages equal to what they import.
func TestPackagePicture(t *testing.T) {
	imports := make(map[string][]string)
	for _, p := range list(t) {
		if !p.ours() || strings.HasPrefix(p.name(), "contrib/") || len(p.GoFiles) == 0 {
			continue
		}
		imports[p.name()] = nil
		for _, path := range p.Imports {
			if name, ok := strings.CutPrefix(path, module+"/"); ok {
				imports[p.name()] = append(imports[p.name()], name)
			}
		}
	}
	var names []string
	for name := range imports {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for _, name := range names {
		fmt.Fprintf(&b, "    %s[%s]\n", node(name), name)
	}
	for _, name := range names {
		for _, other := range reduce(imports, name) {
			fmt.Fprintf(&b, "    %s --> %s\n", node(name), node(other))
		}
	}
	comparePicture(t, "packages", b.String())
}

// node is a package's name as mermaid takes it.
func node(name string) string { return strings.ReplaceAll(name, "/", "_") }

// reduce leaves of a package's imports those that no other import of it leads to:
// an arrow that follows from others is not drawn.
func reduce(imports map[string][]string, name string) []string {
	var left []string
	for _, other := range imports[name] {
		implied := slices.ContainsFunc(imports[name], func(via string) bool {
			return via != other && reaches(imports, via, other)
		})
		if !implied {
			left = append(left, other)
		}
	}
	slices.Sort(left)
	return left
}

func reaches(imports map[string][]string, from, to string) bool {
	return slices.ContainsFunc(imports[from], func(next string) bool {
		return next == to || reaches(imports, next, to)
	})
}

// TestStatePicture keeps the picture of a worker's states equal to the core's
// list of transitions.
func TestStatePicture(t *testing.T) {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> stopped\n")
	for _, x := range core.Transitions {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", x.From, x.To, x.Because)
	}
	comparePicture(t, "states", b.String())
}

// comparePicture compares the mermaid block that follows the line "<!-- NAME -->"
// with what it should be.
func comparePicture(t *testing.T, name, want string) {
	t.Helper()
	text, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	begin := fmt.Sprintf("<!-- %s: drawn by go test ./supervisor -run Picture -update -->\n```mermaid\n", name)
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, "```\n")
	if !ok || !ok2 {
		t.Fatalf("%s has no block that begins with\n%s", architecture, begin)
	}
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("the picture of the %s in %s differs from the code (redraw it with: go test ./supervisor -run Picture -update)\nit is\n%s\nand should be\n%s",
			name, architecture, got, want)
	}
	if err := os.WriteFile(architecture, []byte(before+begin+want+"```\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

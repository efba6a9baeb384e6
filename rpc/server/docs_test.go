package server

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/superd/superd/rpc"
)

// TestAPIDocs holds docs/api.md equal to the routes and to the kinds of errors.
func TestAPIDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, served []string
	for _, row := range regexp.MustCompile("(?m)^\\| (GET|POST) \\| `([^`]+)` \\| (\\w+) \\| ([^|]*)\\| ([^|]*)\\|$").FindAllStringSubmatch(string(text), -1) {
		query := strings.Fields(strings.ReplaceAll(row[4], "`", ""))
		documented = append(documented, fmt.Sprintln(row[1], row[2], row[3], query, strings.TrimSpace(row[5]) != ""))
	}
	for i := range routes {
		r := &routes[i]
		served = append(served, fmt.Sprintln(r.method, r.path, r.need, r.query, r.body != nil))
	}
	if !slices.Equal(documented, served) {
		t.Errorf("documented\n%s\nserved\n%s", strings.Join(documented, "\n"), strings.Join(served, "\n"))
	}
	for _, k := range rpc.Kinds() {
		row := fmt.Sprintf("| `%s` | %d | %d |\n", k, k.Status(), k.Exit())
		if k != rpc.KindUnreachable && !strings.Contains(string(text), row) {
			t.Errorf("no row %s", row)
		}
	}
}

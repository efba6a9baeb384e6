package supervisor_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pureImports is all that supervisor/core may import. Of some packages it may use
// only what pureNames or impureNames leave.
var pureImports = []string{
	"cmp", "container/heap", "encoding/base32", "encoding/binary", "encoding/hex", "errors", "fmt", "hash/fnv", "maps", "math", "math/bits",
	"slices", "sort", "strconv", "strings", "syscall", "time", "unicode",
	module + "/config", module + "/signals",
}

// impureImports have a reason of their own; for all others it is unknownImport.
var impureImports = map[string]string{
	"os":            "files and processes are the loop's affair; the core is told what they did",
	"sync":          "one goroutine owns the state; whoever needs a lock here has two",
	"sync/atomic":   "one goroutine owns the state; whoever needs an atomic here has two",
	"context":       "the core never waits, so there is nothing to cancel",
	"log":           "what happened is an action (a notice), which the loop makes known",
	"log/slog":      "what happened is an action (a notice), which the loop makes known",
	"math/rand":     "chance comes from the seed in the state, or a replay would differ",
	"math/rand/v2":  "chance comes from the seed in the state, or a replay would differ",
	"crypto/rand":   "chance comes from the seed in the state, or a replay would differ",
	"net":           "the core talks to nobody",
	"io":            "the core reads and writes nothing",
	"runtime":       "the same log of events must give the same actions everywhere",
	"unsafe":        "the state is plain data",
	"C":             "superd is one static binary",
	"encoding/json": "how the state is stored is not the core's affair",
}

const unknownImport = "it is not on the short list of what the core needs"

// impureNames may not be used of packages that are imported for their types.
var impureNames = map[string]string{
	"time.Now":       "the time comes with the event, so that a replay sees the same",
	"time.Since":     "the time comes with the event, so that a replay sees the same",
	"time.Until":     "the time comes with the event, so that a replay sees the same",
	"time.Sleep":     "a deadline is derived from the state, nobody waits for it here",
	"time.After":     "a deadline is derived from the state, nobody waits for it here",
	"time.AfterFunc": "a deadline is derived from the state, nobody waits for it here",
	"time.Tick":      "a deadline is derived from the state, nobody waits for it here",
	"time.NewTimer":  "a deadline is derived from the state, nobody waits for it here",
	"time.NewTicker": "a deadline is derived from the state, nobody waits for it here",
	"time.Timer":     "a deadline is derived from the state, nobody waits for it here",
	"time.Ticker":    "a deadline is derived from the state, nobody waits for it here",
	"time.Local":     "the host's time zone must not change a decision",
	"fmt.Print":      "the core reads and writes nothing",
	"fmt.Printf":     "the core reads and writes nothing",
	"fmt.Println":    "the core reads and writes nothing",
	"fmt.Scan":       "the core reads and writes nothing",
	"fmt.Scanf":      "the core reads and writes nothing",
	"fmt.Scanln":     "the core reads and writes nothing",
	"config.Load":    "files are the loop's affair; the core is told what they said",
}

// TestCoreIsPure walks the core's syntax: it has no clock, no goroutine, no lock,
// no channel, no file and no process.
func TestCoreIsPure(t *testing.T) {
	files, err := filepath.Glob("core/*.go")
	if err != nil || len(files) < 3 {
		t.Fatalf("the core's files: %v, %v", files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, refusal := range impurities(set, f) {
			t.Error(refusal)
		}
	}
}

// impurities says what in a file is not pure, where, and why that matters.
func impurities(set *token.FileSet, f *ast.File) []string {
	var refusals []string
	refuse := func(n ast.Node, what, why string) {
		refusals = append(refusals, fmt.Sprintf("%s: %s: %s", set.Position(n.Pos()), what, why))
	}
	const noGoroutine = "a decision is one call that returns; whatever runs beside it could not be replayed"
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		why, known := impureImports[path]
		if !known {
			why = unknownImport
		}
		if !slices.Contains(pureImports, path) {
			refuse(i, "import "+path, why)
		}
		if i.Name != nil {
			refuse(i, "import "+i.Name.Name+" "+path, "another name would hide it from this test")
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			refuse(n, "go statement", noGoroutine)
		case *ast.ChanType:
			refuse(n, "channel", noGoroutine)
		case *ast.SendStmt:
			refuse(n, "send", noGoroutine)
		case *ast.SelectStmt:
			refuse(n, "select", noGoroutine)
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				refuse(n, "receive", noGoroutine)
			}
		case *ast.SelectorExpr:
			name := selector(n)
			if why, bad := impureNames[name]; bad {
				refuse(n, name, why)
			}
			if x, ok := strings.CutPrefix(name, "syscall."); ok && x != "Signal" && !strings.HasPrefix(x, "SIG") {
				refuse(n, name, "of syscall only the signals' numbers are values; the rest acts")
			}
		}
		return true
	})
	return refusals
}

// TestImpuritiesAreFound tests the test.
func TestImpuritiesAreFound(t *testing.T) {
	bad := map[string]string{
		`import "time"; var x = time.Now()`:                             "time.Now",
		`import "time"; var x = time.After(1)`:                          "time.After",
		`import "time"; func f() { time.Sleep(1) }`:                     "time.Sleep",
		`import "time"; type T struct { t *time.Timer }`:                "time.Timer",
		`import "time"; var x = time.NewTicker`:                         "time.NewTicker",
		`import t "time"; var x = t.Now()`:                              "another name",
		`import . "time"; var x = Now()`:                                "another name",
		`func f() { go f() }`:                                           "go statement",
		`func f() { func() { defer func() { go f() }() }() }`:           "go statement",
		`var c chan int`:                                                "channel",
		`func f(c <-chan int) {}`:                                       "channel",
		`func f() { c <- 1 }`:                                           "send",
		`var x = <-c`:                                                   "receive",
		`func f() { select {} }`:                                        "select",
		`import "os"`:                                                   "import os",
		`import "sync"`:                                                 "import sync",
		`import "log/slog"`:                                             "import log/slog",
		`import "math/rand"`:                                            "import math/rand",
		`import "math/rand/v2"`:                                         "import math/rand/v2",
		`import "example.org/x"`:                                        unknownImport,
		`import "github.com/superd/superd/supervisor/store"`:            unknownImport,
		`import "syscall"; func f() { syscall.Kill(1, 9) }`:             "syscall.Kill",
		`import "fmt"; func f() { fmt.Println() }`:                      "fmt.Println",
		`import "os/exec"; func f() { exec.Command("x").Run() }`:        "import os/exec",
		`import "github.com/superd/superd/config"; var x = config.Load`: "config.Load",
	}
	for code, want := range bad {
		if got := strings.Join(impuritiesOf(t, code), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %q", code, got, want)
		}
	}
	good := []string{
		`import "time"; func f(d time.Duration, t time.Time) time.Time { return t.Add(d) }`,
		`import "syscall"; var x = []syscall.Signal{syscall.SIGTERM}`,
		`import ("slices"; "fmt"); func f(x []int) string { slices.Sort(x); return fmt.Sprint(x) }`,
	}
	for _, code := range good {
		if got := impuritiesOf(t, code); len(got) > 0 {
			t.Errorf("%s: %q", code, got)
		}
	}
}

func impuritiesOf(t *testing.T, code string) []string {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "p.go", "package p; "+code, 0)
	if err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	return impurities(set, f)
}

package cmd_test

import (
	"bytes"
	"debug/elf"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/superd/superd/supervisor/aim"
)

// elsewhere are points that the soak does not come to.
var elsewhere = map[string]string{
	"succeed.started":  "only between two versions of the keeper's protocol",
	"succeed.gathered": "likewise",
	"succeed.moved":    "likewise",
	"gather.held":      "likewise",
}

// TestAimsAreKnown: every point in the code is one that the soak aims at, and the
// other way round.
func TestAimsAreKnown(t *testing.T) {
	var inCode, inSoak []string
	for _, root := range []string{"superd", "../supervisor", "../rpc/server"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				inCode = append(inCode, pointsIn(t, path)...)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range soakPoints {
		inSoak = append(inSoak, p.name)
		if elsewhere[p.name] != "" {
			t.Errorf("%s is said to be elsewhere, and is in the soak", p.name)
		}
	}
	for _, name := range inSoak {
		if !slices.Contains(inCode, name) {
			t.Errorf("the soak aims at %s, which is not in the code", name)
		}
	}
	for _, name := range inCode {
		if !slices.Contains(inSoak, name) && elsewhere[name] == "" {
			t.Errorf("nobody aims at %s: put it into soakPoints", name)
		}
	}
	if len(inCode) < 40 {
		t.Errorf("only %d points were found in the code", len(inCode))
	}
}

// pointsIn are the points that a file names: those of aim.At, and those of hook in
// the logs, which a build with -tags aim makes points of.
func pointsIn(t *testing.T, path string) (names []string) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		prefix := ""
		switch fun := call.Fun.(type) {
		case *ast.SelectorExpr:
			if x, ok := fun.X.(*ast.Ident); !ok || x.Name != "aim" || fun.Sel.Name != "At" {
				return true
			}
		case *ast.Ident:
			if prefix = "logs."; fun.Name != "hook" || f.Name.Name != "logs" {
				return true
			}
		default:
			return true
		}
		text, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			if !strings.HasSuffix(path, "_tagged.go") {
				t.Errorf("%s: a point's name is not written out", set.Position(call.Pos()))
			}
			return true
		}
		name, err := strconv.Unquote(text.Value)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, prefix+name)
		return true
	})
	return names
}

// named tells whether a program has a string, other than in the name of a function or
// a type of that package.
func named(program []byte, name string) bool {
	for {
		i := bytes.Index(program, []byte(name))
		if i < 0 {
			return false
		}
		if i == 0 || !bytes.ContainsRune([]byte("/*"), rune(program[i-1])) {
			return true
		}
		program = program[i+1:]
	}
}

// TestNoAimInRelease: of all that, a build without the tag has nothing that could be
// called or armed.
func TestNoAimInRelease(t *testing.T) {
	path := filepath.Join(bin, "superd")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(aim.TableName)) {
		t.Errorf("it has the name of the table")
	}
	for _, p := range soakPoints {
		if named(data, p.name) {
			t.Errorf("it has the name of the point %s", p.name)
		}
	}
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil || len(symbols) < 1000 {
		t.Fatalf("%d symbols: %v", len(symbols), err)
	}
	for _, s := range symbols {
		if strings.Contains(s.Name, "supervisor/aim.") {
			t.Errorf("it has the symbol %s", s.Name)
		}
	}
}

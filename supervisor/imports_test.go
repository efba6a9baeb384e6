package supervisor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/superd/superd"

// room is what one of our packages may import, and why no more. An import that
// is not listed here is refused; so is a package that has no line of its own.
type room struct {
	path   string
	ours   []string // of this module, without its path
	others []string // modules; golang.org/x/sys and the standard library are free to all
	why    string
}

// anyRoom stands for all our packages.
var anyRoom = []string{"*"}

// rooms is from the bottom to the top: a package may import only what stands
// above its own line, so that imports run downwards.
var rooms = []room{
	{"signals", nil, nil, "names and numbers, a leaf that even superctl may use"},
	{"config", []string{"signals"}, []string{"github.com/BurntSushi/toml"},
		"what is wanted must be readable and testable without anything that runs"},
	{"rpc", []string{"signals"}, nil, "the wire is a leaf: a client must not pull in the supervisor"},
	{"supervisor/core", []string{"config", "signals"}, nil, "decisions are pure: values in, values out"},
	{"supervisor/proc/pack", nil, nil, "bytes and numbers"},
	{"supervisor/aim", nil, nil, "it is nothing at all in what is released"},
	{"supervisor/proc", []string{"supervisor/proc/pack", "config", "signals"}, nil,
		"processes as the kernel sees them know of no pool and no keeper"},
	{"supervisor/keeper", []string{"supervisor/aim", "supervisor/proc", "supervisor/proc/pack", "config", "signals"}, nil,
		"whoever must not die has nothing beneath it but processes: no policy, no disk, no decisions"},
	{"supervisor/logs", []string{"config", "supervisor/aim"}, nil, "a stalled log disk must not reach anything else"},
	{"supervisor/store", []string{"supervisor/aim"}, []string{"go.etcd.io/bbolt"}, "it stores bytes, whatever they mean"},
	{"supervisor/service", nil, nil, "the service manager is told things, and decides nothing here"},
	{"supervisor", []string{"supervisor/aim", "supervisor/core", "supervisor/keeper", "supervisor/logs", "supervisor/proc",
		"supervisor/service", "supervisor/store", "config", "signals"}, nil, "the loop serves requests through its API and knows no wire"},
	{"rpc/server", []string{"rpc", "supervisor", "supervisor/core", "config", "signals"}, nil,
		"the server speaks to the loop alone, never past it to a room"},
	{"cmd/superctl", []string{"rpc", "signals"}, []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"},
		"what superctl can do, everybody can do through the socket"},
	{"cmd/superd", anyRoom, []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"}, "it wires everything"},
	{"contrib/bench", nil, nil, "it measures the programs from outside"},
	{"contrib/man", nil, nil, "it reads documents and writes pages"},
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Dir, Name string
	Standard              bool
	Module                *struct{ Path string }
	Imports               []string
	GoFiles, CgoFiles     []string
	Error                 *struct{ Err string }
}

func (p pkg) ours() bool { return p.Module != nil && p.Module.Path == module }

// name is our package's path without the module's.
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// list gives all packages that ours depend on, ours among them, without tests.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps",
		"-json=ImportPath,Dir,Name,Standard,Module,Imports,GoFiles,CgoFiles,Error", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := make(map[string]pkg)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all[p.ImportPath] = p
	}
	if len(all) < 50 {
		t.Fatalf("go list gave only %d packages", len(all))
	}
	return all
}

func TestImportRules(t *testing.T) {
	all := list(t)
	for _, p := range all {
		for _, refusal := range refuseImports(p, all) {
			t.Error(refusal)
		}
	}
}

// refuseImports says which of a package's imports are not allowed, and why.
func refuseImports(p pkg, all map[string]pkg) []string {
	if p.Standard {
		return nil
	}
	var refusals []string
	refuse := func(what, why string) {
		refusals = append(refusals, fmt.Sprintf("%s must not %s: %s", p.ImportPath, what, why))
	}
	if len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C") {
		refuse("use cgo", "superd is one static binary, and a C library may start threads and signals of its own")
	}
	if !p.ours() || p.Name != "" && len(p.GoFiles) == 0 { // nothing but tests
		return refusals
	}
	at := slices.IndexFunc(rooms, func(r room) bool { return r.path == p.name() })
	if at < 0 {
		refuse("be without a rule", "give it a line in the table of rooms, with a reason")
		return refusals
	}
	r := rooms[at]
	for _, path := range p.Imports {
		switch other := all[path]; {
		case path == "os/exec":
			if p.name() != "contrib/bench" && p.name() != "cmd/superctl" {
				refuse("import os/exec", "every process is started by the keeper, which alone waits for it")
			}
		case path == "C", other.Standard, other.Module == nil:
		case other.ours():
			name := other.name()
			below := slices.IndexFunc(rooms, func(r room) bool { return r.path == name })
			if below > at {
				refuse("import "+name, "imports run downwards only")
			} else if !slices.Equal(r.ours, anyRoom) && !slices.Contains(r.ours, name) {
				refuse("import "+name, r.why)
			}
		case other.Module.Path != "golang.org/x/sys" && !slices.Contains(r.others, other.Module.Path):
			refuse("import "+path, "it has no need of module "+other.Module.Path+" ("+r.why+")")
		}
	}
	return refusals
}

// TestImportRulesRefuse tests the test: each of these must be refused.
func TestImportRulesRefuse(t *testing.T) {
	ours := func(name string, imports ...string) pkg {
		return pkg{ImportPath: module + "/" + name, Imports: imports, Module: &struct{ Path string }{module}}
	}
	all := map[string]pkg{
		"os/exec":                   {ImportPath: "os/exec", Standard: true},
		"os":                        {ImportPath: "os", Standard: true},
		module + "/config":          ours("config"),
		module + "/signals":         ours("signals"),
		module + "/supervisor":      ours("supervisor"),
		module + "/supervisor/core": ours("supervisor/core"),
		module + "/supervisor/logs": ours("supervisor/logs"),
		module + "/rpc/server":      ours("rpc/server"),
		"go.etcd.io/bbolt":          {ImportPath: "go.etcd.io/bbolt", Module: &struct{ Path string }{"go.etcd.io/bbolt"}},
	}
	cases := []struct {
		p    pkg
		want string // part of the refusal; empty: allowed
	}{
		{ours("supervisor/core", module+"/config", module+"/signals"), ""},
		{ours("supervisor/core", module+"/supervisor/logs"), "imports run downwards only"},
		{ours("supervisor/core", "go.etcd.io/bbolt"), "no need of module"},
		{ours("supervisor/store", "go.etcd.io/bbolt", "os"), ""},
		{ours("supervisor/logs", module+"/supervisor/core"), "a stalled log disk"},
		{ours("supervisor/keeper", module+"/supervisor/core"), "whoever must not die"},
		{ours("supervisor", module+"/rpc/server"), "imports run downwards only"},
		{ours("rpc", module+"/config"), "the wire is a leaf"},
		{ours("cmd/superctl", module+"/supervisor"), "what superctl can do"},
		{ours("cmd/superd", module+"/supervisor", module+"/rpc/server"), ""},
		{ours("cmd/superd", "os/exec"), "started by the keeper"},
		{ours("somewhere/new"), "give it a line"},
		{pkg{ImportPath: "example.org/c", CgoFiles: []string{"c.go"}}, "use cgo"},
	}
	for _, c := range cases {
		got := strings.Join(refuseImports(c.p, all), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s importing %v: %q; want %q", c.p.ImportPath, c.p.Imports, got, c.want)
		}
	}
}

// badCalls are functions that nobody of ours may use in what becomes superd, but
// for the packages named.
var badCalls = []struct {
	name   string
	except []string
	why    string
}{
	{"os.StartProcess", nil, "every process is started by the keeper, which alone waits for it"},
	{"syscall.StartProcess", nil, "every process is started by the keeper, which alone waits for it"},
	{"syscall.ForkExec", []string{"supervisor/proc"}, "spawning has one place, which names the stage that failed"},
	{"signal.Ignore", nil, "what is ignored is inherited by every worker"},
}

func TestCallRules(t *testing.T) {
	for _, p := range list(t) {
		if !p.ours() || strings.HasPrefix(p.name(), "contrib/") {
			continue
		}
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, refusal := range refuseCalls(set, f, p.name()) {
				t.Error(refusal)
			}
		}
	}
}

func refuseCalls(set *token.FileSet, f *ast.File, name string) []string {
	var refusals []string
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		for _, bad := range badCalls {
			if selector(s) == bad.name && !slices.Contains(bad.except, name) {
				refusals = append(refusals, fmt.Sprintf("%s: %s: %s", set.Position(s.Pos()), bad.name, bad.why))
			}
		}
		return true
	})
	return refusals
}

// selector is "package.Name", or "" for what is no plain selector.
func selector(s *ast.SelectorExpr) string {
	if x, ok := s.X.(*ast.Ident); ok {
		return x.Name + "." + s.Sel.Name
	}
	return ""
}

func TestCallRulesRefuse(t *testing.T) {
	for code, name := range map[string]string{
		`package p; import "os"; func f() { os.StartProcess("", nil, nil) }`:                           "cmd/superd",
		`package p; import "syscall"; var f = syscall.ForkExec`:                                        "supervisor/keeper",
		`package p; import "os/signal"; func f() { if true { signal.Ignore() } }`:                      "cmd/superd",
		`package p; import "syscall"; func f() { go func() { syscall.StartProcess("", nil, nil) }() }`: "supervisor/proc",
	} {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, "p.go", code, 0)
		if f == nil {
			t.Fatal(err)
		}
		if len(refuseCalls(set, f, name)) == 0 {
			t.Errorf("%s was allowed in %s", code, name)
		}
	}
}

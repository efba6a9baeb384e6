package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options is what Load needs to know of its surroundings. The zero value will do.
type Options struct {
	// CgroupAvailable says why kill_scope = "cgroup" is not to be had on this
	// host; nil: it is. Without the function it is not. It is called at most once.
	CgroupAvailable func() error
	// Resolve gives a path without symbolic links (filepath.EvalSymlinks), for
	// the warning of paths that a deployment would not pin. nil: no such
	// warnings. It is the only thing that touches the workers' directories,
	// which may hang with a dead file server.
	Resolve func(path string) (string, error)

	self *identity // tests pretend to be somebody else
}

// identity is who superd runs as.
type identity struct {
	uid, gid int
	user     string // name, empty if unknown
	group    string
	getenv   func(string) string
}

func self() *identity {
	id := &identity{uid: os.Geteuid(), gid: os.Getegid(), getenv: os.Getenv}
	if acct, err := lookupAccount(systemFiles, "", ""); err == nil {
		id.user, id.group = acct.Name, acct.groupName
	}
	return id
}

// DefaultFile is the configuration file of this user: /etc/superd/superd.toml
// for root, else $XDG_CONFIG_HOME/superd/superd.toml. It is empty if the
// environment has neither that nor HOME.
func DefaultFile() string { return defaultFile(self()) }

func defaultFile(id *identity) string {
	if id.uid == 0 {
		return "/etc/superd/superd.toml"
	}
	if dir := id.xdg("XDG_CONFIG_HOME", ".config"); dir != "" {
		return filepath.Join(dir, "superd", "superd.toml")
	}
	return ""
}

// xdg is one of the base directories, or empty. A relative one is to be
// ignored (XDG Base Directory Specification).
func (id *identity) xdg(name, underHome string) string {
	if dir := id.getenv(name); filepath.IsAbs(dir) {
		return dir
	}
	if home := id.getenv("HOME"); filepath.IsAbs(home) && underHome != "" {
		return filepath.Join(home, underHome)
	}
	return ""
}

// Load reads a configuration with all it includes. The error is an *Errors
// with everything that is wrong; then there is no Config.
func Load(file string, opts Options) (*Config, error) {
	ld := newLoader(opts)
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, &Errors{List: []Problem{{File: file, Message: "cannot find its directory: " + err.Error()}}}
	}
	data, err := ld.readFile(path)
	if err != nil {
		return nil, &Errors{List: []Problem{{File: path, Message: oneLine("cannot read it: " + reason(err, path))}}}
	}
	return ld.load(path, string(data))
}

// LoadBytes is Load of a text that is in no file; file is the name it goes by.
// It cannot include other files.
func LoadBytes(file string, data []byte, opts Options) (*Config, error) {
	ld := newLoader(opts)
	ld.readFile = nil
	return ld.load(file, string(data))
}

// reason is an error without the path that stands before it anyway.
func reason(err error, path string) string {
	text := strings.TrimPrefix(err.Error(), path+": ")
	if rest, ok := strings.CutPrefix(text, path+" "); ok {
		return "it " + rest
	}
	return text
}

// loader is one Load.
type loader struct {
	opts     Options
	id       *identity
	r        reporter
	readFile func(path string) ([]byte, error) // nil: no includes

	files        []string
	superd       *node
	defaults     *node
	pools        map[string]*node
	jobs         map[string]*node
	order        []string // of pools
	cgroupAsked  bool
	cgroupAnswer error
}

func newLoader(opts Options) *loader {
	ld := &loader{opts: opts, id: opts.self, pools: make(map[string]*node), jobs: make(map[string]*node)}
	if ld.id == nil {
		ld.id = self()
	}
	ld.readFile = trust{uid: ld.id.uid}.read
	return ld
}

func (ld *loader) load(file, src string) (*Config, error) {
	ld.files = []string{file}
	root := ld.parse(file, src)
	if root != nil {
		ld.take(root)
		ld.include(file)
	}
	c := &Config{File: file, Files: ld.files, Pools: make(map[string]*Pool)}
	c.Superd = ld.resolveSuperd(file)
	ld.checkTables()
	for _, name := range ld.order {
		c.Pools[name] = ld.pool(name)
	}
	if len(ld.order) == 0 && ld.defaults != nil {
		ld.draft("", nil) // what contradicts itself in [defaults] does so without a pool too
	}
	ld.checkAfter(c.Pools)
	if len(ld.r.errors) > 0 {
		sortProblems(ld.r.errors, ld.files)
		return nil, &Errors{List: ld.r.errors}
	}
	sortProblems(ld.r.warnings, ld.files)
	c.Warnings = ld.r.warnings
	return c, nil
}

func (ld *loader) parse(file, src string) *node {
	return newDocument(file, src).parse(&ld.r)
}

// take sorts the top-level tables of one file into the loader's.
func (ld *loader) take(root *node) {
	for _, name := range root.keys() {
		n := root.table[name]
		switch name {
		case "superd":
			ld.once(&ld.superd, n)
		case "defaults":
			ld.once(&ld.defaults, n)
		case "pool":
			ld.named(n, ld.pools)
		case "job":
			ld.named(n, ld.jobs)
		case "notify":
			notifySchema.checkTables(n, &ld.r)
			checkNotYet("notify", n, &ld.r)
		default:
			top := &schema{kids: map[string]*schema{"superd": superdSchema, "defaults": poolSchema, "pool": nil, "job": nil, "notify": nil}}
			ld.unknownTable(top, n, name)
		}
	}
}

// unknownTable is for the top of a file, where keys of [superd] may have lost their header.
func (ld *loader) unknownTable(top *schema, n *node, name string) {
	if superdSchema.leafs[name] != nil {
		ld.r.add(n.key, n.name, "found outside of a table; did you mean %s?", tomlString("superd."+name))
		return
	}
	if poolSchema.leafs[name] != nil && n.kind != kindTable {
		ld.r.add(n.key, n.name, "found outside of a table; allowed: in [pool.NAME] or in [defaults]")
		return
	}
	for kid := range top.kids {
		top.kids[kid] = &schema{}
	}
	top.unknown(n, name, &ld.r)
}

// once takes a table that a configuration has once, in whatever file.
func (ld *loader) once(slot **node, n *node) {
	if n.kind != kindTable {
		ld.r.at(n, "%s; allowed: the table [%s]", n.found(), n.name)
		return
	}
	if *slot != nil {
		ld.r.add(n.key, n.name, "found a second time, first at %s; allowed: once in all files together", (*slot).key)
		return
	}
	*slot = n
}

// named takes [pool.NAME] and [job.NAME] tables.
func (ld *loader) named(n *node, into map[string]*node) {
	if n.kind != kindTable {
		ld.r.at(n, "%s; allowed: tables such as [%s.NAME]", n.found(), n.name)
		return
	}
	for _, name := range n.keys() {
		v := n.table[name]
		switch {
		case v.kind != kindTable:
			ld.r.at(v, "%s; allowed: tables such as [%s.NAME]", v.found(), n.name)
		case !isName(name):
			ld.r.add(v.key, v.name, "found the name %s; allowed: %s", quote(name), nameHelp)
		case name == "job":
			ld.r.add(v.key, v.name, `found the name "job", which is reserved; allowed: any other`)
		case into[name] != nil:
			ld.r.add(v.key, v.name, "found a second time, first at %s; allowed: once in all files together", into[name].key)
		default:
			into[name] = v
			if n.name == "pool" {
				ld.order = append(ld.order, name)
			}
		}
	}
}

// include reads what [superd] include names.
func (ld *loader) include(file string) {
	n := ld.superd.get("include")
	if n == nil {
		return
	}
	elements := n.list
	if n.kind == kindString {
		elements = []*node{n}
	}
	for _, e := range elements {
		if e.kind != kindString || e.text == "" {
			continue // reported with the other values of [superd]
		}
		if ld.readFile == nil {
			ld.r.at(e, "%s; allowed: no includes here", e.found())
			continue
		}
		path := e.text
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
		if !strings.ContainsAny(e.text, `*?[\`) {
			ld.includeFile(e, filepath.Clean(path))
			continue
		}
		matches, err := glob(path)
		if errors.Is(err, filepath.ErrBadPattern) {
			continue // reported likewise
		}
		if err != nil {
			ld.r.at(e, "%s, but cannot tell what it matches: %v", e.found(), err)
			continue
		}
		for _, m := range matches {
			ld.includeFile(e, m)
		}
	}
}

func (ld *loader) includeFile(e *node, path string) {
	if slices.Contains(ld.files, path) {
		return // named twice, or matched by a glob that covers the file itself
	}
	data, err := ld.readFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			ld.r.at(e, "%s, but %s does not exist; allowed: a file, or a glob that may match none", e.found(), path)
			return
		}
		ld.r.at(e, "%s, but cannot read %s: %s", e.found(), path, reason(err, path))
		return
	}
	ld.files = append(ld.files, path)
	if root := ld.parse(path, string(data)); root != nil {
		ld.take(root)
	}
}

// checkTables checks each table by itself.
func (ld *loader) checkTables() {
	if ld.superd != nil {
		superdSchema.checkTable(ld.superd, &ld.r)
	}
	if ld.defaults != nil {
		poolSchema.checkTable(ld.defaults, &ld.r)
	}
	for _, name := range ld.order {
		poolSchema.checkTable(ld.pools[name], &ld.r)
	}
	for name, n := range ld.jobs {
		if ld.pools[name] != nil {
			ld.r.add(n.key, n.name, "found the name of a pool (%s); allowed: a name that no pool has", ld.pools[name].key)
		}
		jobSchema.checkTable(n, &ld.r)
		ld.required(n)
		checkNotYet("job", n, &ld.r)
	}
}

// required reports what a pool or job cannot do without.
func (ld *loader) required(n *node) {
	if n.get("command") == nil && ld.defaults.get("command") == nil && !ld.r.partial {
		ld.r.add(n.key, n.name+".command", `found no such key; required: the program to run, such as ["bin/worker", "--verbose"]`)
	}
}

// resolveSuperd is the [superd] table with its defaults.
// maxSocketPath is how long the path of a unix socket may be (unix(7)).
const maxSocketPath = 107

func (ld *loader) resolveSuperd(file string) Superd {
	s := Superd{ShutdownTimeout: 90 * time.Second}
	at := place{file: file, line: 1, col: 1}
	if ld.superd != nil {
		at = ld.superd.key
	}
	if ld.id.uid == 0 {
		s.RuntimeDir, s.StateDir, s.LogDir = "/run/superd", "/var/lib/superd", "/var/log/superd"
	} else {
		if dir := ld.id.xdg("XDG_RUNTIME_DIR", ""); dir != "" {
			s.RuntimeDir = filepath.Join(dir, "superd")
		}
		if dir := ld.id.xdg("XDG_STATE_HOME", ".local/state"); dir != "" {
			s.StateDir = filepath.Join(dir, "superd")
		}
	}
	r := &reporter{} // checkTable reports what is wrong with them
	for _, k := range []struct {
		name string
		to   *string
	}{{"runtime_dir", &s.RuntimeDir}, {"state_dir", &s.StateDir}, {"log_dir", &s.LogDir}} {
		n := ld.superd.get(k.name)
		if v, ok := readIf(tPath(), n, r); ok {
			*k.to = filepath.Clean(v)
		}
		if longest := *k.to + "/control.sock"; k.name == "runtime_dir" && n != nil && len(longest) > maxSocketPath {
			ld.r.at(n, "found a path of %d bytes; allowed: at most %d, so that sockets fit below it", len(*k.to), maxSocketPath-len("/control.sock"))
		}
		if k.name == "log_dir" && s.LogDir == "" && s.StateDir != "" {
			s.LogDir = filepath.Join(s.StateDir, "log")
		}
		if *k.to == "" && n == nil {
			ld.r.add(at, "superd."+k.name, "found no such key, and %s is not set; required: one of the two",
				map[string]string{"runtime_dir": "XDG_RUNTIME_DIR", "state_dir": "XDG_STATE_HOME or HOME", "log_dir": "XDG_STATE_HOME or HOME"}[k.name])
		}
	}
	if v, ok := readIf(tRoles(), ld.superd.get("viewers"), r); ok {
		s.Viewers = v
	}
	if v, ok := readIf(tRoles(), ld.superd.get("operators"), r); ok {
		s.Operators = v
	}
	if v, ok := readIf(tDuration(time.Millisecond), ld.superd.get("shutdown_timeout"), r); ok {
		s.ShutdownTimeout = v
	}
	return s
}

func readIf[T any](t typ[T], n *node, r *reporter) (T, bool) {
	if n == nil {
		var zero T
		return zero, false
	}
	return t.read(n, r)
}

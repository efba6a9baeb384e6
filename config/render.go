package config

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Command is what one run executes.
type Command struct {
	Argv []string
	Env  []string // sorted, but for SUPERD_RUN_ID, which stands last
	Dir  string
}

// Getenv is a variable of the command's environment, or empty.
func (c Command) Getenv(name string) string {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(c.Env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// RunContext is what a pool's values are filled in with for one run.
type RunContext struct {
	Index, Alt int
	// Release is the resolved directory of the run's revision. Empty: none was
	// resolved (see FixedDirectory), and the directory is taken as it is written.
	Release    string
	RunID      string
	Deployment string
	Revision   int
	Base       []string          // superd's own environment, as of os.Environ
	FileEnv    map[string]string // from ReadEnvFiles
	Account    Account           // from LookupAccount
}

// neverPassed are variables that mean superd itself and would mislead a worker
// (sd_notify(3), sd_listen_fds(3), systemd.exec(5)).
var neverPassed = []string{"NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*", "JOURNAL_STREAM", "INVOCATION_ID", "CREDENTIALS_DIRECTORY", "SUPERD_*"}

// alwaysSet are variables that every run has, whatever the configuration says.
var alwaysSet = []string{"HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER",
	"SUPERD_POOL", "SUPERD_INDEX", "SUPERD_WORKER", "SUPERD_RUN_ID", "SUPERD_REVISION", "SUPERD_DEPLOYMENT", "SUPERD_RELEASE"}

// passes tells whether a variable of superd's own environment reaches workers.
func passes(patterns []string, name string) bool {
	matches := func(p string) bool { return matchStars(p, name) }
	return !slices.ContainsFunc(neverPassed, matches) && slices.ContainsFunc(patterns, matches)
}

// matchStars compares a text with a pattern in which * is any text.
func matchStars(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for star {
		var piece string
		piece, rest, star = strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, piece)
		}
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):]
	}
	return s == ""
}

// Render fills in the pool's values for one run. An error names the key and
// what it lacks, never a value of the environment.
func (p *Pool) Render(r RunContext) (Command, error) {
	e := &environment{pool: p, run: r, base: p.baseEnv(r), values: make(map[string]string)}
	var cmd Command
	var err error
	e.scope = &scope{pool: p.Name, index: r.Index, alt: r.Alt, release: r.Release, variable: e.lookup}
	// What the directory itself refers to cannot depend on it: PWD and
	// SUPERD_RELEASE are unknown until it is.
	if cmd.Dir = r.Release; cmd.Dir == "" {
		if cmd.Dir, err = expand(p.Directory, e.scope); err != nil {
			return Command{}, fmt.Errorf("directory: %w", err)
		}
		e.scope.release = cmd.Dir
	}
	e.values = make(map[string]string)
	e.base["PWD"] = cmd.Dir
	e.base["SUPERD_RELEASE"] = e.scope.release
	for _, word := range p.Command {
		arg, err := expand(word, e.scope)
		if err != nil {
			return Command{}, fmt.Errorf("command: %w", err)
		}
		cmd.Argv = append(cmd.Argv, arg)
	}
	cmd.Env, err = e.list()
	if err != nil {
		return Command{}, err
	}
	return cmd, nil
}

func expand(text string, sc *scope) (string, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return "", err
	}
	return t.expand(sc)
}

// FixedDirectory is the pool's directory if all its workers share it. A
// directory that differs from worker to worker, or comes from the environment,
// cannot be resolved once for a revision.
func (p *Pool) FixedDirectory() (dir string, fixed bool) {
	t, err := parseTemplate(p.Directory)
	if err != nil {
		return "", false
	}
	for _, part := range t {
		if part.kind == partName || part.kind == partRelease || part.perWorker() {
			return "", false
		}
	}
	dir, err = t.expand(&scope{pool: p.Name})
	return dir, err == nil
}

// baseEnv is the environment beneath the pool's env: what is inherited, what
// the account says, and the env files. SUPERD_ variables are in it too, since
// env cannot have those.
func (p *Pool) baseEnv(r RunContext) map[string]string {
	env := make(map[string]string)
	for _, kv := range r.Base {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" && passes(p.InheritEnv, name) {
			env[name] = value
		}
	}
	if env["PATH"] == "" {
		env["PATH"] = defaultPath(r.Account.UID)
	}
	env["HOME"], env["SHELL"] = r.Account.Home, r.Account.Shell
	env["USER"], env["LOGNAME"] = r.Account.Name, r.Account.Name
	for name, value := range r.FileEnv {
		env[name] = value
	}
	env["SUPERD_POOL"] = p.Name
	env["SUPERD_INDEX"] = itoa(r.Index)
	env["SUPERD_WORKER"] = p.Name + "/" + itoa(r.Index)
	env["SUPERD_RUN_ID"] = r.RunID
	env["SUPERD_REVISION"] = itoa(r.Revision)
	env["SUPERD_DEPLOYMENT"] = r.Deployment
	env["SUPERD_RELEASE"] = r.Release
	return env
}

// defaultPath is what login(1) would give.
func defaultPath(uid int) string {
	if uid == 0 {
		return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return "/usr/local/bin:/usr/bin:/bin"
}

// environment fills in env, whose values may refer to each other.
type environment struct {
	pool   *Pool
	run    RunContext
	scope  *scope
	base   map[string]string
	values map[string]string // of env, filled in
	open   []string          // being filled in
}

// lookup is a variable as the worker sees it. A value of env that refers to its
// own name means what lies beneath: PATH = "/opt/bin:${PATH}".
func (e *environment) lookup(name string) (string, error) {
	text, own := e.pool.Env[name]
	if !own || len(e.open) > 0 && e.open[len(e.open)-1] == name {
		if v, ok := e.base[name]; ok {
			return v, nil
		}
		return "", fmt.Errorf("${%s} is not set in the environment of this worker", name)
	}
	if v, ok := e.values[name]; ok {
		return v, nil
	}
	if slices.Contains(e.open, name) {
		return "", fmt.Errorf("${%s} refers to itself by way of %s", name, strings.Join(e.open, ", "))
	}
	e.open = append(e.open, name)
	v, err := expand(text, e.scope)
	e.open = e.open[:len(e.open)-1]
	if err != nil {
		return "", err
	}
	e.values[name] = v
	return v, nil
}

// list is the whole environment.
func (e *environment) list() ([]string, error) {
	all := make(map[string]string, len(e.base)+len(e.pool.Env))
	for name, v := range e.base {
		all[name] = v
	}
	for name := range e.pool.Env {
		v, err := e.lookup(name)
		if err != nil {
			return nil, fmt.Errorf("env.%s: %w", tomlKey(name), err)
		}
		all[name] = v
	}
	list := make([]string, 0, len(all))
	for name, v := range all {
		if name != "SUPERD_RUN_ID" {
			list = append(list, name+"="+v)
		}
	}
	sort.Strings(list)
	return append(list, "SUPERD_RUN_ID="+e.run.RunID), nil
}

package config

import (
	"os"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/superd/superd/signals"
)

// key is one key of a pool's table. This file's table is what the loader, show,
// plan and the documentation's test all read.
type key struct {
	name  string // with its sub-table: "restart.attempts"
	flags flags
	check func(n *node, r *reporter)      // reports what is wrong with a value
	set   func(d *draft, n *node) bool    // takes a good value and says whether it was one; nil: no effect yet
	value func(p *Pool) string            // what is in force, in TOML; nil: shown by another key
	parts func(p *Pool) map[string]string // of a table: the same entry by entry
	// content is what a change of the key is judged by when it is asked whether
	// new processes are needed; nil: never.
	content func(p *Pool) string
}

type flags int

const (
	forJob  flags = 1 << iota // a job takes it too
	process                   // a change is taken by new processes only
)

// draft is a pool while it is being put together.
type draft struct {
	Pool
	stopSignal  syscall.Signal
	killTimeout wait
	given       map[string]*node // by key: where its value comes from
	own         map[string]bool  // by key: given in the pool's own table
}

// newDraft has the built-in defaults in it.
func newDraft() *draft {
	d := &draft{stopSignal: syscall.SIGTERM, killTimeout: wait{d: 10 * time.Second}}
	d.Pool = Pool{
		Count:        1,
		Directory:    "/",
		Umask:        0o022,
		InheritEnv:   []string{"PATH", "LANG", "LC_*", "TZ"},
		SignalScope:  ScopeMain,
		KillScope:    ScopeGroup,
		SuccessExit:  []ExitMatch{{Code: 0}},
		Autostart:    true,
		AfterTimeout: time.Minute,
		Restart: Restart{
			On:       RestartAlways,
			Attempts: 10,
			Interval: 10 * time.Minute,
			Delay:    time.Second,
			Mode:     ModeDelay,
		},
		Update: Update{
			MaxParallel:      1,
			MinHealthyTime:   10 * time.Second,
			HealthyDeadline:  5 * time.Minute,
			ProgressDeadline: 10 * time.Minute,
			// Becomes true with reverts themselves: what show prints is what happens.
			AutoRevert: false,
		},
		Log: Log{Target: LogFile, MaxSize: 10 << 20, Keep: 10},
	}
	return d
}

// field is a key with one field of its own.
func field[T any](name string, f flags, t typ[T], at func(*draft) *T) key {
	k := accepted(name, f, t)
	k.set = func(d *draft, n *node) bool {
		v, ok := t.read(n, &reporter{})
		if ok {
			*at(d) = v
		}
		return ok
	}
	k.value = func(p *Pool) string { return t.show(*at(&draft{Pool: *p})) }
	if f&process != 0 {
		k.content = k.value
	}
	return k
}

// optional is a field whose nil means that nothing is asked for.
func optional[T any](name string, f flags, t typ[T], at func(*draft) **T) key {
	k := accepted(name, f, t)
	k.set = func(d *draft, n *node) bool {
		v, ok := t.read(n, &reporter{})
		if ok {
			*at(d) = &v
		}
		return ok
	}
	k.value = func(p *Pool) string {
		if v := *at(&draft{Pool: *p}); v != nil {
			return t.show(*v)
		}
		return ""
	}
	if f&process != 0 {
		k.content = k.value
	}
	return k
}

// accepted is a key that is checked and has no field.
func accepted[T any](name string, f flags, t typ[T]) key {
	return key{name: name, flags: f, check: func(n *node, r *reporter) { t.read(n, r) }}
}

// hidden is a field that another key's value shows.
func hidden[T any](name string, f flags, t typ[T], at func(*draft) *T) key {
	k := field(name, f, t, at)
	k.value, k.content = nil, nil
	return k
}

const maxCount = 10000

// poolKeys are all keys of [pool.NAME] and [defaults], in the order in which
// show prints them.
var poolKeys = []key{
	field("command", forJob|process, tCommand(), func(d *draft) *[]string { return &d.Command }),
	field("count", forJob, tInt(0, maxCount), func(d *draft) *int { return &d.Count }),
	field("groups", 0, tNames(), func(d *draft) *[]string { return &d.Groups }),
	field("directory", forJob|process, tDirectory(), func(d *draft) *string { return &d.Directory }),
	field("user", forJob|process, tAccount(), func(d *draft) *string { return &d.User }),
	field("group", forJob|process, tAccount(), func(d *draft) *string { return &d.Group }),
	field("umask", forJob|process, tUmask(), func(d *draft) *os.FileMode { return &d.Umask }),
	envKey(),
	field("env_file", forJob|process, tEnvFiles(), func(d *draft) *[]EnvFile { return &d.EnvFiles }),
	field("inherit_env", forJob|process, tPatterns(), func(d *draft) *[]string { return &d.InheritEnv }),
	presetKey(),
	hidden("stop_signal", forJob, tSignal(), func(d *draft) *syscall.Signal { return &d.stopSignal }),
	hidden("kill_timeout", forJob, tWait(), func(d *draft) *wait { return &d.killTimeout }),
	field("stop_sequence", forJob, tSequence(), func(d *draft) *signals.Sequence { return &d.Stop }),
	field("drain_sequence", 0, tSequence(), func(d *draft) *signals.Sequence { return &d.Drain }),
	field("signal_scope", forJob, tEnum(ScopeMain, ScopeGroup), func(d *draft) *Scope { return &d.SignalScope }),
	killScopeKey(),
	field("success_exit", forJob, tSuccessExit(), func(d *draft) *[]ExitMatch { return &d.SuccessExit }),
	forwardKey(),
	field("autostart", 0, tBool(), func(d *draft) *bool { return &d.Autostart }),
	field("after", 0, tNames(), func(d *draft) *[]string { return &d.After }),
	field("after_timeout", 0, tDuration(0), func(d *draft) *time.Duration { return &d.AfterTimeout }),
	field("essential", 0, tBool(), func(d *draft) *bool { return &d.Essential }),
	accepted("restart_on_change", 0, tFileList()),
	{name: "sockets", check: checkSockets},

	field("restart.on", forJob, tEnum(RestartAlways, RestartFailure, RestartNever), func(d *draft) *RestartOn { return &d.Restart.On }),
	field("restart.attempts", forJob, tInt(0, 10000), func(d *draft) *int { return &d.Restart.Attempts }),
	field("restart.interval", forJob, tDuration(time.Millisecond), func(d *draft) *time.Duration { return &d.Restart.Interval }),
	field("restart.delay", forJob, tDuration(0), func(d *draft) *time.Duration { return &d.Restart.Delay }),
	field("restart.max_delay", forJob, tDuration(0), func(d *draft) *time.Duration { return &d.Restart.MaxDelay }),
	field("restart.jitter", forJob, tFloat(0, 1, false, "a number from 0 to 1"), func(d *draft) *float64 { return &d.Restart.Jitter }),
	field("restart.mode", forJob, tEnum(ModeDelay, ModeFail), func(d *draft) *RestartMode { return &d.Restart.Mode }),

	field("update.max_parallel", 0, tInt(1, maxCount), func(d *draft) *int { return &d.Update.MaxParallel }),
	accepted("update.order", 0, tEnum("stop-first", "start-first")),
	field("update.min_healthy_time", 0, tDuration(0), func(d *draft) *time.Duration { return &d.Update.MinHealthyTime }),
	field("update.healthy_deadline", 0, tDuration(time.Millisecond), func(d *draft) *time.Duration { return &d.Update.HealthyDeadline }),
	field("update.progress_deadline", 0, tDuration(time.Millisecond), func(d *draft) *time.Duration { return &d.Update.ProgressDeadline }),
	field("update.auto_revert", 0, tBool(), func(d *draft) *bool { return &d.Update.AutoRevert }),
	accepted("update.canary", 0, tInt(0, maxCount)),
	accepted("update.auto_promote", 0, tBool()),
	accepted("update.drain", 0, tEnum("wait", "background")),
	accepted("update.max_draining", 0, tInt(1, maxCount)),
	accepted("update.before", 0, tNames()),
	accepted("update.after", 0, tNames()),

	field("log.target", forJob|process, tEnum(LogFile, LogInherit, LogNone, "journal"), func(d *draft) *LogTarget { return &d.Log.Target }),
	field("log.max_size", forJob, tSize(0), func(d *draft) *int64 { return &d.Log.MaxSize }),
	field("log.keep", forJob, tInt(0, 1000), func(d *draft) *int { return &d.Log.Keep }),
	field("log.compress", forJob, tBool(), func(d *draft) *bool { return &d.Log.Compress }),
	field("log.stderr", forJob|process, tEither("merge", "separate"), func(d *draft) *bool { return &d.Log.SeparateStderr }),
	field("log.on_full", forJob, tEither("drop", "block"), func(d *draft) *bool { return &d.Log.BlockOnFull }),

	optional("limits.nofile", forJob|process, tLimit(1<<31-1), func(d *draft) **uint64 { return &d.Limits.NoFile }),
	optional("limits.nproc", forJob|process, tLimit(1<<31-1), func(d *draft) **uint64 { return &d.Limits.NProc }),
	optional("limits.core", forJob|process, tCore(), func(d *draft) **uint64 { return &d.Limits.Core }),
	optional("limits.nice", forJob|process, tInt(-20, 19), func(d *draft) **int { return &d.Limits.Nice }),
	optional("limits.oom_score_adj", forJob|process, tInt(-1000, 1000), func(d *draft) **int { return &d.Limits.OOMScoreAdj }),
	accepted("limits.memory", forJob, tSize(1)),
	accepted("limits.samples", forJob, tInt(1, 1000)),
	accepted("limits.every", forJob, tDuration(time.Second)),
	accepted("limits.cpu", forJob, tCPU()),
	accepted("limits.max_runtime", forJob, tDuration(time.Second)),
	accepted("limits.silence", forJob, tDuration(time.Second)),
	accepted("limits.memory_max", forJob, tSize(1)),
	accepted("limits.pids_max", forJob, tInt(1, 1<<22)),
	accepted("limits.cpu_max", forJob, tCPU()),

	{name: "ready", check: readySchema.checkTable},
	{name: "check", check: checkSchema.checkTables},
	accepted("watchdog", 0, tDuration(time.Millisecond)),
	busyKey(),

	field("operators", forJob, tRoles(), func(d *draft) *[]string { return &d.Operators }),
	field("viewers", forJob, tRoles(), func(d *draft) *[]string { return &d.Viewers }),
}

// presetKey is shown where it is given. What it makes of other keys is resolved
// when all of them are known: see draft.resolvePreset.
func presetKey() key {
	k := field("preset", forJob, tEnum(signals.PresetNames()...), func(d *draft) *string { return &d.Preset })
	shown := k.value
	k.value = func(p *Pool) string {
		if p.Preset == "" {
			return ""
		}
		return shown(p)
	}
	return k
}

func busyKey() key {
	k := key{name: "busy", check: busySchema.checkTable}
	k.set = func(d *draft, n *node) bool {
		title := n.get("title")
		if title == nil {
			return false
		}
		v, ok := tRegexp().read(title, &reporter{})
		if ok {
			d.Busy = Busy{Title: v}
		}
		return ok
	}
	k.value = func(p *Pool) string {
		if p.Busy.Title == "" {
			return ""
		}
		return "{ title = " + tomlString(p.Busy.Title) + " }"
	}
	return k
}

func envKey() key {
	k := key{name: "env", flags: forJob | process, check: checkEnv}
	k.set = func(d *draft, n *node) bool {
		for name, v := range n.table {
			if d.Env == nil {
				d.Env = make(map[string]string)
			}
			if v.kind == kindString {
				d.Env[name] = v.text
			}
		}
		return n.kind == kindTable
	}
	k.parts = func(p *Pool) map[string]string {
		parts := make(map[string]string, len(p.Env))
		for name, v := range p.Env {
			parts[tomlKey(name)] = tomlString(v)
		}
		return parts
	}
	k.value = func(p *Pool) string { return showTable(k.parts(p)) }
	k.content = k.value
	return k
}

// killScopeKey differs in that only the way to or from cgroup needs new processes.
func killScopeKey() key {
	k := field("kill_scope", forJob, tEnum(ScopeProcess, ScopeGroup, ScopeCgroup), func(d *draft) *Scope { return &d.KillScope })
	k.content = func(p *Pool) string {
		if p.KillScope == ScopeCgroup {
			return "cgroup"
		}
		return "none"
	}
	return k
}

func forwardKey() key {
	k := key{name: "forward", check: func(n *node, r *reporter) { readForward(n, r) }}
	k.set = func(d *draft, n *node) bool {
		for _, f := range readForward(n, &reporter{}) {
			d.Forward = slices.DeleteFunc(d.Forward, func(old Forward) bool { return old.From == f.From })
			d.Forward = append(d.Forward, f)
		}
		sort.Slice(d.Forward, func(i, j int) bool { return d.Forward[i].From < d.Forward[j].From })
		return n.kind == kindTable
	}
	k.parts = func(p *Pool) map[string]string {
		parts := make(map[string]string, len(p.Forward))
		for _, f := range p.Forward {
			parts[tomlKey(signals.Name(f.From))] = tomlString(signals.Name(f.To))
		}
		return parts
	}
	k.value = func(p *Pool) string { return showTable(k.parts(p)) }
	return k
}

// showTable is an inline table, its keys sorted.
func showTable(parts map[string]string) string {
	if len(parts) == 0 {
		return "{}"
	}
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		names[i] = name + " = " + parts[name]
	}
	return "{ " + strings.Join(names, ", ") + " }"
}

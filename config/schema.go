package config

import (
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/superd/superd/signals"
)

// schema is what a table may hold. It checks one table by itself; what follows
// from several tables together is the business of pool.go and load.go.
type schema struct {
	path  string // under which the table's keys stand in notYet; empty: none do
	leafs map[string]func(n *node, r *reporter)
	kids  map[string]*schema
	// whole checks what keys of the table mean together; may be nil.
	whole func(n *node, r *reporter)
}

// newSchema makes a schema of dotted keys.
func newSchema(path string, whole func(*node, *reporter), keys ...key) *schema {
	s := &schema{path: path, whole: whole, leafs: make(map[string]func(*node, *reporter))}
	for _, k := range keys {
		at, name := s, k.name
		for {
			head, rest, more := strings.Cut(name, ".")
			if !more {
				break
			}
			if at.kids == nil {
				at.kids = make(map[string]*schema)
			}
			if at.kids[head] == nil {
				sub := &schema{leafs: make(map[string]func(*node, *reporter))}
				if at.path != "" {
					sub.path = at.path + "." + head
				}
				at.kids[head] = sub
			}
			at, name = at.kids[head], rest
		}
		at.leafs[name] = k.check
	}
	return s
}

// The tables of a file.
var (
	poolSchema   = newSchema("pool", checkStopForms, poolKeys...)
	jobSchema    = newSchema("", checkJob, jobKeys()...)
	superdSchema = newSchema("superd", nil, superdKeys...)
	notifySchema = newSchema("", checkNotify,
		accepted("on", 0, tList(`a list of events such as ["worker.failed", "deployment.*"]`, checkEventPattern)),
		accepted("pools", 0, tNames()),
		accepted("exec", 0, tCommand()),
		accepted("webhook", 0, tURL()),
		accepted("min_interval", 0, tDuration(0)),
		accepted("settle", 0, tDuration(0)),
	)
	readySchema = newSchema("", exactlyOne("notify", "fd", "tcp", "http", "exec", "log"),
		accepted("notify", 0, tBool()),
		accepted("fd", 0, tInt(3, 1023)),
		accepted("tcp", 0, tHostPort()),
		accepted("http", 0, tURL()),
		accepted("exec", 0, tCommand()),
		accepted("log", 0, tRegexp()),
		accepted("timeout", 0, tDuration(time.Millisecond)),
		accepted("interval", 0, tDuration(10*time.Millisecond)),
	)
	checkSchema = newSchema("", exactlyOne("tcp", "http", "exec"),
		accepted("tcp", 0, tHostPort()),
		accepted("http", 0, tURL()),
		accepted("exec", 0, tCommand()),
		accepted("interval", 0, tDuration(10*time.Millisecond)),
		accepted("timeout", 0, tDuration(time.Millisecond)),
		accepted("failures", 0, tInt(1, 1000)),
		accepted("then", 0, tEnum("restart", "report")),
		accepted("start_period", 0, tDuration(0)),
	)
	busySchema = newSchema("pool.busy", exactlyOne("title", "status"),
		accepted("title", 0, tRegexp()),
		accepted("status", 0, tRegexp()),
	)
)

// jobKeys are the keys of [job.NAME]: those of a pool that a job takes too, and its own.
func jobKeys() []key {
	keys := []key{
		accepted("schedule", 0, tSchedule()),
		accepted("timezone", 0, tTimezone()),
		accepted("jitter", 0, tDuration(0)),
		accepted("missed", 0, tEnum("skip", "run")),
		accepted("timeout", 0, tWait()),
		accepted("once", 0, tBool()),
		accepted("overlap", 0, tEnum("skip", "queue", "replace", "allow")),
		accepted("allow_env", 0, tPatterns()),
		accepted("allow_args", 0, tBool()),
	}
	for _, k := range poolKeys {
		if k.flags&forJob != 0 {
			keys = append(keys, k)
		}
	}
	return keys
}

// checkTable checks n and everything in it, reporting each unknown key, each
// value that is not allowed, and each key that has no effect yet.
func (s *schema) checkTable(n *node, r *reporter) {
	if n.kind != kindTable {
		r.at(n, "%s; allowed: a table", n.found())
		return
	}
	for _, name := range n.keys() {
		v := n.table[name]
		if check := s.leafs[name]; check != nil {
			before := len(r.errors)
			check(v, r)
			if s.path != "" && len(r.errors) == before {
				checkNotYet(s.path+"."+name, v, r)
			}
		} else if kid := s.kids[name]; kid != nil {
			kid.checkTable(v, r)
		} else {
			s.unknown(v, name, r)
		}
	}
	if s.whole != nil {
		s.whole(n, r)
	}
}

// checkTables checks an array of tables.
func (s *schema) checkTables(n *node, r *reporter) {
	if n.kind != kindArray {
		r.at(n, "%s; allowed: an array of tables, each under [[%s]]", n.found(), n.name)
		return
	}
	for _, e := range n.list {
		s.checkTable(e, r)
	}
}

// unknown reports a key that the table does not have, with the one that was
// probably meant: a similar name, or the same name one table further down.
func (s *schema) unknown(n *node, name string, r *reporter) {
	names := s.names()
	for _, sub := range s.subNames() {
		if _, last, _ := strings.Cut(sub, "."); last == name {
			r.add(n.key, n.name, "found an unknown key; did you mean %s?", tomlString(sub))
			return
		}
	}
	near := signals.Nearest(name, names)
	if near == "" {
		near = signals.Nearest(name, s.subNames())
	}
	if near != "" {
		r.add(n.key, n.name, "found an unknown key; did you mean %s?", tomlString(near))
		return
	}
	r.add(n.key, n.name, "found an unknown key; allowed: %s", strings.Join(names, ", "))
}

// names are the table's own keys and tables.
func (s *schema) names() []string {
	var names []string
	for name := range s.leafs {
		names = append(names, name)
	}
	for name := range s.kids {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// subNames are the keys of the tables below, as in "restart.delay".
func (s *schema) subNames() []string {
	var names []string
	for kid, sub := range s.kids {
		for _, name := range sub.names() {
			names = append(names, kid+"."+name)
		}
	}
	sort.Strings(names)
	return names
}

// exactlyOne checks that a probe is of one sort.
func exactlyOne(names ...string) func(*node, *reporter) {
	return func(n *node, r *reporter) {
		var given []string
		for _, name := range n.keys() {
			if slices.Contains(names, name) {
				given = append(given, name)
			}
		}
		switch len(given) {
		case 0:
			r.add(n.key, n.name, "found none of %s; allowed: exactly one of them", strings.Join(names, ", "))
		case 1:
		default:
			r.add(n.key, n.name, "found %s together; allowed: exactly one of %s", strings.Join(given, " and "), strings.Join(names, ", "))
		}
	}
}

// checkStopForms refuses the two ways to write a stop sequence in one table.
func checkStopForms(n *node, r *reporter) {
	seq := n.get("stop_sequence")
	if seq == nil {
		return
	}
	for _, name := range []string{"stop_signal", "kill_timeout"} {
		if v := n.get(name); v != nil {
			r.add(v.key, v.name, "found beside stop_sequence (%s); allowed: either stop_sequence, or stop_signal and kill_timeout", seq.key)
		}
	}
}

// checkJob refuses what retries of a job cannot be: they follow failures alone,
// and come to an end.
func checkJob(n *node, r *reporter) {
	checkStopForms(n, r)
	if v := n.get("restart.mode"); v != nil && v.text == string(ModeDelay) {
		r.at(v, `%s; allowed: "fail", since the retries of a job come to an end`, v.found())
	}
	if v := n.get("restart.on"); v != nil && v.text != string(RestartFailure) {
		r.at(v, `%s; allowed: "failure", since a job that succeeded is done`, v.found())
	}
}

func checkNotify(n *node, r *reporter) {
	exactlyOne("exec", "webhook")(n, r)
	if n.get("on") == nil {
		r.add(n.key, join(n.name, "on"), `found no such key; required: a list of events such as ["worker.failed"]`)
	}
}

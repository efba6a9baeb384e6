package config

// notYet are the keys and values that are understood and checked, but have no
// effect so far: they are refused, so that nobody relies on them. When a key
// gets its effect, its line goes away. A pool's lines hold for [defaults] too.
var notYet = []struct {
	key string
	off func(n *node) bool // tells a value that asks for nothing; nil: there is none
	// instead completes "allowed: "; empty: leaving the key out.
	instead string
}{
	{key: "superd.watch", off: isFalse, instead: "false"},
	{key: "superd.metrics", off: isText(""), instead: `""`},
	{key: "job"},
	{key: "notify"},
	{key: "pool.restart_on_change", off: isEmpty, instead: "[]"},
	{key: "pool.sockets", off: isEmpty, instead: "{}"},
	{key: "pool.ready"},
	{key: "pool.check", off: isEmpty},
	{key: "pool.watchdog"},
	{key: "pool.busy.status", instead: `title = "REGEXP"`},
	{key: "pool.update.order", off: isText("stop-first"), instead: `"stop-first"`},
	{key: "pool.update.auto_revert", off: isFalse, instead: "false"},
	{key: "pool.update.canary", off: isZero, instead: "0"},
	{key: "pool.update.auto_promote", off: isTrue, instead: "true"},
	{key: "pool.update.drain", off: isText("wait"), instead: `"wait"`},
	{key: "pool.update.max_draining"},
	{key: "pool.update.before", off: isEmpty, instead: "[]"},
	{key: "pool.update.after", off: isEmpty, instead: "[]"},
	{key: "pool.log.target", off: isText("file", "inherit", "none"), instead: `"file", "inherit" or "none"`},
	{key: "pool.limits.memory"},
	{key: "pool.limits.samples"},
	{key: "pool.limits.every"},
	{key: "pool.limits.cpu"},
	{key: "pool.limits.max_runtime"},
	{key: "pool.limits.silence"},
	{key: "pool.limits.memory_max"},
	{key: "pool.limits.pids_max"},
	{key: "pool.limits.cpu_max"},
}

// checkNotYet reports n if its key, or this value of it, has no effect yet.
func checkNotYet(key string, n *node, r *reporter) {
	for _, e := range notYet {
		if e.key != key || e.off != nil && e.off(n) {
			continue
		}
		instead := e.instead
		if instead == "" {
			instead = "leaving it out"
		}
		r.at(n, "%s, which is not supported yet; allowed: %s", n.found(), instead)
	}
}

func isFalse(n *node) bool { return n.kind == kindBool && !n.truth }
func isTrue(n *node) bool  { return n.kind == kindBool && n.truth }
func isZero(n *node) bool  { return n.kind == kindInteger && n.integer == 0 }

func isEmpty(n *node) bool {
	return n.kind == kindArray && len(n.list) == 0 || n.kind == kindTable && len(n.table) == 0
}

func isText(values ...string) func(*node) bool {
	return func(n *node) bool {
		if n.kind != kindString {
			return false
		}
		for _, v := range values {
			if n.text == v {
				return true
			}
		}
		return false
	}
}

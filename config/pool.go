package config

import (
	"slices"
	"sort"
	"strings"
	"syscall"

	"github.com/superd/superd/signals"
)

// pool puts together the pool of a name.
func (ld *loader) pool(name string) *Pool {
	own := ld.pools[name]
	ld.required(own)
	d := ld.draft(name, own)
	ld.checkHost(d)
	ld.checkSubstitutions(d)
	ld.warnUnpinned(d)
	return &d.Pool
}

// draft merges the built-in defaults, [defaults] and a pool's own table, which
// may be nil. Values that checkTables has reported are left out.
func (ld *loader) draft(name string, own *node) *draft {
	d := newDraft()
	d.Name = name
	d.given, d.own = make(map[string]*node), make(map[string]bool)
	for _, k := range poolKeys {
		if k.set == nil {
			continue
		}
		def, mine := ld.defaults.get(k.name), own.get(k.name)
		if !defaultCounts(k.name, own) || ownPreset(k.name, own) {
			def = nil
		}
		// A table's entries add up; of other values the pool's own alone counts.
		if def != nil && (mine == nil || k.parts != nil) && k.set(d, def) {
			d.given[k.name] = def
		}
		if mine != nil && k.set(d, mine) {
			d.given[k.name], d.own[k.name] = mine, true
		}
	}
	d.resolveStop(d.resolvePreset())
	d.resolveRestart(&ld.r)
	d.resolveUpdate(&ld.r)
	d.Sources = d.sources(own, ld.defaults)
	return d
}

// defaultCounts tells whether a key of [defaults] holds for the pool: its own
// form of the stop sequence replaces the other form as a whole.
func defaultCounts(key string, own *node) bool {
	switch key {
	case "stop_signal", "kill_timeout":
		return own.get("stop_sequence") == nil
	case "stop_sequence":
		return own.get("stop_signal") == nil && own.get("kill_timeout") == nil
	}
	return true
}

// ownPreset tells that the pool's own preset stands above what [defaults] says
// of a key: a pool that names its program is not to be ended like all others.
func ownPreset(key string, own *node) bool {
	n := own.get("preset")
	if n == nil {
		return false
	}
	switch key {
	case "stop_signal", "kill_timeout", "stop_sequence", "drain_sequence":
		return true
	case "busy":
		p, _ := signals.LookupPreset(n.text)
		return p.Busy != ""
	}
	return false
}

// resolvePreset fills in what the preset says of keys that were not given.
func (d *draft) resolvePreset() (p signals.Preset, ok bool) {
	if p, ok = signals.LookupPreset(d.Preset); !ok {
		return p, false
	}
	if d.given["busy"] == nil && p.Busy != "" {
		d.Busy = Busy{Title: p.Busy}
	}
	return p, true
}

// resolveStop makes the stop sequence of whichever form was given, or of the
// preset, and the drain sequence of the preset's or the same unless it was given.
func (d *draft) resolveStop(preset signals.Preset, known bool) {
	signal, timeout := d.given["stop_signal"], d.given["kill_timeout"]
	switch {
	case d.given["stop_sequence"] != nil:
	case known && signal == nil && timeout == nil:
		d.Stop = slices.Clone(preset.Stop)
	default:
		if known && signal == nil {
			d.stopSignal = preset.Stop[0].Signal // another patience, but the signal that the program wants
		}
		d.Stop = d.shortStop()
	}
	switch {
	case d.given["drain_sequence"] != nil:
	case known:
		d.Drain = slices.Clone(preset.Drain)
	default:
		d.Drain = slices.Clone(d.Stop)
	}
}

// shortStop is the stop sequence of stop_signal and kill_timeout.
func (d *draft) shortStop() signals.Sequence {
	switch {
	case d.stopSignal == syscall.SIGKILL:
		return signals.Sequence{{Signal: syscall.SIGKILL}}
	case d.killTimeout.forever:
		return signals.Sequence{{Signal: d.stopSignal, Forever: true}}
	}
	return signals.Sequence{{Signal: d.stopSignal, Wait: d.killTimeout.d}, {Signal: syscall.SIGKILL}}
}

func (d *draft) resolveRestart(r *reporter) {
	delay, most := d.given["restart.delay"], d.given["restart.max_delay"]
	switch {
	case most == nil:
		d.Restart.MaxDelay = d.Restart.Delay
	case delay == nil:
		d.Restart.Delay = min(d.Restart.Delay, d.Restart.MaxDelay)
	case d.Restart.MaxDelay < d.Restart.Delay:
		d.contradiction(r, "restart.max_delay", "is less than", "restart.delay", "at least")
	}
}

// resolveUpdate holds min_healthy_time < healthy_deadline <= progress_deadline:
// given times that break it are errors, defaults give way.
func (d *draft) resolveUpdate(r *reporter) {
	const minimum, healthy, progress = "update.min_healthy_time", "update.healthy_deadline", "update.progress_deadline"
	u := &d.Update
	before := len(r.errors)
	if d.both(minimum, healthy) && u.MinHealthyTime >= u.HealthyDeadline {
		d.contradiction(r, minimum, "is not less than", healthy, "less than")
	}
	if d.both(healthy, progress) && u.HealthyDeadline > u.ProgressDeadline {
		d.contradiction(r, healthy, "is more than", progress, "at most")
	}
	if d.both(minimum, progress) && d.given[healthy] == nil && u.MinHealthyTime >= u.ProgressDeadline {
		d.contradiction(r, minimum, "is not less than", progress, "less than")
	}
	if len(r.errors) > before {
		return
	}
	if d.given[healthy] == nil {
		if u.MinHealthyTime >= u.HealthyDeadline {
			u.HealthyDeadline += u.MinHealthyTime // as much room as usual, after the time that is needed anyway
		}
		if d.given[progress] != nil {
			u.HealthyDeadline = min(u.HealthyDeadline, u.ProgressDeadline)
		}
	}
	if d.given[progress] == nil {
		u.ProgressDeadline = max(u.ProgressDeadline, u.HealthyDeadline)
	}
	if d.given[minimum] == nil {
		u.MinHealthyTime = min(u.MinHealthyTime, u.HealthyDeadline/2)
	}
}

func (d *draft) both(a, b string) bool { return d.given[a] != nil && d.given[b] != nil }

// contradiction reports that two given values do not go together, at the one
// that the pool itself gives.
func (d *draft) contradiction(r *reporter, a, relation, b, allowed string) {
	na, nb := d.given[a], d.given[b]
	if !d.own[a] && d.own[b] {
		inverse := map[string]string{
			"is less than": "is more than", "is not less than": "is not more than", "is more than": "is less than",
			"at least": "at most", "less than": "more than", "at most": "at least",
		}
		na, nb, b, relation, allowed = nb, na, a, inverse[relation], inverse[allowed]
	}
	_, last, _ := strings.Cut(b, ".")
	r.at(na, "%s, which %s %s (%s at %s); allowed: %s that", na.found(), relation, last, tomlString(nb.text), nb.at, allowed)
}

// sources says where the given values come from.
func (d *draft) sources(own, defaults *node) map[string]string {
	from := make(map[string]string)
	for _, k := range poolKeys {
		if d.given[k.name] == nil {
			continue
		}
		if k.parts == nil {
			from[k.name] = source(d.given[k.name], d.own[k.name])
			continue
		}
		for _, layer := range []*node{defaults, own} {
			if n := layer.get(k.name); n != nil {
				for name, v := range n.table {
					from[k.name+"."+d.partName(k.name, name)] = source(v, layer == own)
				}
			}
		}
	}
	d.stopSource(from)
	if len(from) == 0 {
		return nil
	}
	return from
}

// partName is how an entry of a table is shown, however it was written.
func (d *draft) partName(key, name string) string {
	if key == "forward" {
		if sig, err := signals.Parse(name); err == nil {
			name = signals.Name(sig)
		}
	}
	return tomlKey(name)
}

func source(n *node, own bool) string {
	if own {
		return n.key.String()
	}
	return "defaults " + n.key.String()
}

// stopSource says of the sequences in force what stop_signal and kill_timeout,
// which are not shown by themselves, or the preset have made of them.
func (d *draft) stopSource(from map[string]string) {
	for _, short := range []string{"stop_signal", "kill_timeout"} {
		if src, ok := from[short]; ok && (from["stop_sequence"] == "" || d.own[short]) {
			from["stop_sequence"] = src
		}
		delete(from, short)
	}
	preset, known := signals.LookupPreset(d.Preset)
	if known {
		src := "preset " + d.Preset + ", " + from["preset"]
		keys := []string{"stop_sequence", "drain_sequence"}
		if preset.Busy != "" {
			keys = append(keys, "busy")
		}
		for _, key := range keys {
			if from[key] == "" {
				from[key] = src
			}
		}
	}
	if src, ok := from["stop_sequence"]; ok && from["drain_sequence"] == "" {
		from["drain_sequence"] = src
	}
}

// checkHost refuses what this superd, as this user on this host, cannot do.
func (ld *loader) checkHost(d *draft) {
	if n := d.given["kill_scope"]; n != nil && d.KillScope == ScopeCgroup {
		if why := ld.cgroups(); why != "" {
			ld.r.at(n, `%s, which is not to be had here: %s; allowed: "process" or "group"`, n.found(), why)
		}
	}
	if ld.id.uid == 0 {
		return
	}
	if n := d.given["user"]; n != nil && d.User != ld.id.user && d.User != itoa(ld.id.uid) {
		ld.r.at(n, "%s, but superd does not run as root and cannot change users; allowed: %s", n.found(), nameOrID(ld.id.user, ld.id.uid))
	}
	if n := d.given["group"]; n != nil && d.Group != ld.id.group && d.Group != itoa(ld.id.gid) {
		ld.r.at(n, "%s, but superd does not run as root and cannot change groups; allowed: %s", n.found(), nameOrID(ld.id.group, ld.id.gid))
	}
}

// cgroups says why there are none, or nothing.
func (ld *loader) cgroups() string {
	if ld.opts.CgroupAvailable == nil {
		return "no cgroup v2 was found"
	}
	if !ld.cgroupAsked {
		ld.cgroupAsked, ld.cgroupAnswer = true, ld.opts.CgroupAvailable()
	}
	if ld.cgroupAnswer == nil {
		return ""
	}
	return ld.cgroupAnswer.Error()
}

// nameOrID is how a message calls an account.
func nameOrID(name string, id int) string {
	if name == "" {
		return itoa(id)
	}
	return tomlString(name)
}

// checkAfter refuses pools that wait for what is not there, and circles.
func (ld *loader) checkAfter(pools map[string]*Pool) {
	names := make([]string, 0, len(pools))
	for n := range pools {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, name := range ld.order {
		n := ld.afterNode(name)
		for i, other := range pools[name].After {
			if pools[other] != nil || ld.r.partial {
				continue
			}
			at := n.element(i, len(pools[name].After))
			if near := signals.Nearest(other, names); near != "" {
				ld.r.at(at, "found the unknown pool %s; did you mean %s?", tomlString(other), tomlString(near))
			} else {
				ld.r.at(at, "found the unknown pool %s; allowed: pools of this configuration", tomlString(other))
			}
		}
	}
	done := make(map[string]bool)
	for _, name := range ld.order {
		if circle := findCircle(name, pools, done, nil); circle != nil {
			n := ld.afterNode(circle[0])
			ld.r.at(n, "found a circle: %s; allowed: pools that do not wait for each other", strings.Join(circle, " waits for "))
		}
	}
}

// afterNode is where a pool's `after` stands.
func (ld *loader) afterNode(pool string) *node {
	if n := ld.pools[pool].get("after"); n != nil {
		return n
	}
	return ld.defaults.get("after")
}

// findCircle follows `after` from a pool and gives a circle with its first pool
// at both ends, or nil. Pools in done are known to lead to none that is new.
func findCircle(name string, pools map[string]*Pool, done map[string]bool, path []string) []string {
	if i := slices.Index(path, name); i >= 0 {
		return append(slices.Clone(path[i:]), name)
	}
	if done[name] || pools[name] == nil {
		return nil
	}
	path = append(path, name)
	var circle []string
	for _, other := range pools[name].After {
		if circle = findCircle(other, pools, done, path); circle != nil {
			break
		}
	}
	done[name] = true
	return circle
}

// warnUnpinned tells of values that lead past the release of a deployment.
func (ld *loader) warnUnpinned(d *draft) {
	dir, fixed := d.FixedDirectory()
	if ld.opts.Resolve == nil || !fixed || dir == "/" {
		return
	}
	if real, err := ld.opts.Resolve(dir); err != nil || real == dir {
		return
	}
	below := strings.TrimSuffix(dir, "/") + "/"
	warn := func(n *node, text string) {
		if n != nil && strings.Contains(text, below) {
			ld.r.warn(n, "a path below %s is not held to the release that a deployment chose, since that leads through a symbolic link; better: ${release}", tomlString(dir))
		}
	}
	for _, word := range d.Command {
		warn(d.given["command"], word)
	}
	for _, layer := range []*node{ld.defaults, ld.pools[d.Name]} {
		if env := layer.get("env"); env != nil {
			for name, n := range env.table {
				if d.Env[name] == n.text {
					warn(n, n.text)
				}
			}
		}
	}
}

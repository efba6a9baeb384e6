package config

import (
	"slices"
	"sort"
	"strings"
)

// checkSubstitutions refuses a ${NAME} that nothing can give, and values of env
// that refer to each other in a circle.
func (ld *loader) checkSubstitutions(d *draft) {
	if n := d.given["command"]; n != nil {
		for i, word := range d.Command {
			ld.checkNames(d, n.element(i, len(d.Command)), word, "")
		}
	}
	if n := d.given["directory"]; n != nil {
		ld.checkNames(d, n, d.Directory, "")
		if t, _ := parseTemplate(d.Directory); slices.ContainsFunc(t, func(p part) bool { return p.kind == partRelease }) {
			ld.r.at(n, "found ${release}, which is this very directory; allowed: a path without it")
		}
	}
	done := make(map[string]bool)
	for _, name := range sortedKeys(d.Env) {
		ld.checkNames(d, ld.envNode(d, name), d.Env[name], name)
		if circle := envCircle(d.Env, name, done, nil); circle != nil {
			ld.r.at(ld.envNode(d, circle[0]), "found a circle: ${%s}; allowed: values that do not refer to each other", strings.Join(circle, "} refers to ${"))
		}
	}
}

// envNode is where a value of env stands.
func (ld *loader) envNode(d *draft, name string) *node {
	if env := ld.pools[d.Name].get("env"); env != nil && env.table[name] != nil {
		return env.table[name]
	}
	return ld.defaults.get("env").table[name]
}

// checkNames looks at the variables that a text refers to; self is the name of
// the variable whose value it is, which then means what lies beneath env.
func (ld *loader) checkNames(d *draft, n *node, text, self string) {
	t, err := parseTemplate(text)
	if err != nil || ld.r.partial {
		return // reported by checkTable, or perhaps given by what could not be read
	}
	for _, name := range t.names() {
		_, given := d.Env[name]
		given = given && name != self
		if given || len(d.EnvFiles) > 0 || slices.Contains(alwaysSet, name) || passes(d.InheritEnv, name) {
			continue
		}
		ld.r.at(n, "found ${%s}, which neither env, inherit_env nor an env_file gives; allowed: a variable that one of them gives, or %s for the text itself",
			name, tomlString("$${"+name+"}"))
	}
}

// envCircle follows references from a variable of env and gives a circle, its
// first name at both ends, or nil. Names in done lead to none that is new.
func envCircle(env map[string]string, name string, done map[string]bool, path []string) []string {
	if i := slices.Index(path, name); i >= 0 {
		return append(slices.Clone(path[i:]), name)
	}
	text, ok := env[name]
	if !ok || done[name] {
		return nil
	}
	done[name] = true
	t, err := parseTemplate(text)
	if err != nil {
		return nil
	}
	path = append(path, name)
	for _, other := range t.names() {
		if other == name {
			continue // means what lies beneath env
		}
		if circle := envCircle(env, other, done, path); circle != nil {
			return circle
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"reflect"
	"slices"
)

// Change is what differs between two configurations of a pool.
type Change struct {
	Keys []KeyChange // in the order of the documentation
	// NeedsNewProcesses means that what is running cannot take the change.
	NeedsNewProcesses bool
	Scaled            bool // count differs
}

// KeyChange is one key that differs. The values are written as in TOML; one is
// empty where the key is not set. Values of env may be secrets.
type KeyChange struct {
	Key, Old, New string
	// NewProcesses means that the key is one of those that need new processes.
	NewProcesses bool
}

// Diff compares two configurations of a pool; neither may be nil. Where the
// values come from is no difference.
func Diff(old, new *Pool) Change {
	var c Change
	if old == new || reflect.DeepEqual(old, new) { // to write every value out takes thirty times longer
		return c
	}
	for _, k := range poolKeys {
		if k.value == nil || k.value(old) == k.value(new) {
			continue
		}
		processes := k.content != nil && k.content(old) != k.content(new)
		c.NeedsNewProcesses = c.NeedsNewProcesses || processes
		c.Scaled = c.Scaled || k.name == "count"
		if k.parts == nil {
			c.Keys = append(c.Keys, KeyChange{k.name, k.value(old), k.value(new), processes})
			continue
		}
		a, b := k.parts(old), k.parts(new)
		for _, part := range unionKeys(a, b) {
			if a[part] != b[part] {
				c.Keys = append(c.Keys, KeyChange{k.name + "." + part, a[part], b[part], processes})
			}
		}
	}
	return c
}

func unionKeys(a, b map[string]string) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// ContentDigest is a fingerprint of all that needs new processes to change.
// Pools with the same digest are the same revision.
func (p *Pool) ContentDigest() string {
	h := sha256.New()
	write := func(s string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	for _, k := range poolKeys {
		// A key that is added to the table later must not give every stored
		// revision a new digest as long as nobody sets it.
		if k.content != nil && k.content(p) != "" {
			write(k.name)
			write(k.content(p))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Setting is one key of a pool in force.
type Setting struct {
	Key    string
	Value  string // as in TOML; empty: nothing is set, superd's own holds
	Source string // "default", "FILE:LINE" or "defaults FILE:LINE"
}

// Describe lists every key in force, built-in defaults included, in the order of
// the documentation. stop_signal and kill_timeout are shown as the stop_sequence
// that they make. Values of env may be secrets.
func (p *Pool) Describe() []Setting {
	var list []Setting
	add := func(key, value string) {
		source := p.Sources[key]
		if source == "" {
			source = "default"
		}
		list = append(list, Setting{key, value, source})
	}
	for _, k := range poolKeys {
		switch {
		case k.value == nil:
		case k.parts == nil:
			add(k.name, k.value(p))
		default:
			parts := k.parts(p)
			for _, part := range slices.Sorted(maps.Keys(parts)) {
				add(k.name+"."+part, parts[part])
			}
			if len(parts) == 0 {
				add(k.name, "{}")
			}
		}
	}
	return list
}

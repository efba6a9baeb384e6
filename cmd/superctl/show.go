package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show POOL...",
		GroupID: groupLook,
		Short:   "Show the configuration of pools that is in force",
		Long: `Show the configuration of pools that is in force, defaults included, in the
configuration's own form. Values of env are for operators.`,
		Example:           "  superctl show mailers\n  superctl show mailers --json | jq .config.restart",
		ValidArgsFunction: a.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.show(cmd.Context(), args) },
	}
}

func (a *app) show(ctx context.Context, names []string) error {
	if err := needPools("show", "superctl show", names, false); err != nil {
		return err
	}
	st, _, err := a.status(ctx)
	if err != nil {
		return err
	}
	targets, err := a.choose(ctx, st, names, false)
	if err != nil {
		return err
	}
	for i, t := range targets {
		c, raw, err := a.connect().Config(ctx, t.pool.Name)
		if err != nil {
			return err
		}
		if a.json {
			a.print("%s", trimmed(raw))
			continue
		}
		if i > 0 {
			a.print("")
		}
		if err := writeConfig(a.out, c, raw); err != nil {
			return err
		}
	}
	return nil
}

// writeConfig prints a pool's keys as TOML. The keys are taken from superd's
// answer as it came, so that one which this superctl does not know is shown too.
func writeConfig(w io.Writer, c *rpc.PoolConfig, raw json.RawMessage) error {
	var answer struct {
		Config json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("cannot read the configuration of %s: %w", c.Pool, err)
	}
	keys, err := orderedKeys(answer.Config)
	if err != nil {
		return fmt.Errorf("cannot read the configuration of %s: %w", c.Pool, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# in force, defaults included; from %s\n", clean(c.File))
	if c.Scaled {
		fmt.Fprintf(&b, "# count is %d by superctl scale, until it is changed in the configuration\n", c.Count)
	}
	if c.EnvHidden {
		b.WriteString("# the values of env are for operators of the pool\n")
	}
	fmt.Fprintf(&b, "[pool.%s]\n", c.Pool)
	var tables []keyValue
	for _, kv := range keys {
		if isTable(kv.key, kv.value) {
			tables = append(tables, kv)
			continue
		}
		writeKey(&b, kv)
	}
	for _, t := range tables {
		inner, err := orderedKeys(t.value)
		if err != nil {
			return fmt.Errorf("cannot read the configuration of %s: %w", c.Pool, err)
		}
		fmt.Fprintf(&b, "\n[pool.%s.%s]\n", c.Pool, t.key)
		for _, kv := range inner {
			writeKey(&b, kv)
		}
	}
	_, err = io.WriteString(w, b.String())
	return err
}

type keyValue struct {
	key   string
	value json.RawMessage
}

// orderedKeys are the members of a JSON object in the order in which they came.
func orderedKeys(object json.RawMessage) ([]keyValue, error) {
	d := json.NewDecoder(strings.NewReader(string(object)))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var list []keyValue
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		key, _ := tok.(string)
		list = append(list, keyValue{key, value})
	}
	return list, nil
}

// isTable tells a table of its own from a key with an inline table.
func isTable(key string, value json.RawMessage) bool {
	return value[0] == '{' && key != "env" && key != "forward"
}

// The keys that are durations and sizes on the wire as numbers.
var (
	durationKeys = []string{"after_timeout", "interval", "delay", "max_delay", "min_healthy_time", "healthy_deadline", "progress_deadline"}
	sizeKeys     = []string{"max_size"}
)

// writeKey prints a key with its value, or, for null, that it is not set.
func writeKey(b *strings.Builder, kv keyValue) {
	var v any
	d := json.NewDecoder(strings.NewReader(string(kv.value)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil || v == nil {
		fmt.Fprintf(b, "# %s is not set\n", clean(kv.key))
		return
	}
	fmt.Fprintf(b, "%s = %s\n", clean(kv.key), tomlValue(kv.key, v))
}

func tomlValue(key string, v any) string {
	switch v := v.(type) {
	case json.Number:
		return tomlNumber(key, v)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = tomlValue("", v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for i, name := range names {
			value := `"..."`
			if v[name] != nil {
				value = tomlValue("", v[name])
			}
			names[i] = tomlKey(name) + " = " + value
		}
		return "{ " + strings.Join(names, ", ") + " }"
	case string:
		return tomlString(v)
	}
	return fmt.Sprint(v)
}

// tomlString is a basic string (TOML 1.0): JSON's escapes are among its own.
func tomlString(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be encoded
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

func tomlKey(s string) string {
	bare := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
	if bare {
		return s
	}
	return tomlString(s)
}

// tomlNumber writes durations and sizes as the configuration has them.
func tomlNumber(key string, n json.Number) string {
	switch {
	case slices.Contains(durationKeys, key):
		f, err := n.Float64()
		if err != nil {
			return n.String()
		}
		d := rpc.Seconds(f).Duration()
		if d == rpc.Seconds(math.MaxFloat64).Duration() {
			return `"forever"`
		}
		return tomlString(signals.FormatDuration(d))
	case slices.Contains(sizeKeys, key):
		v, err := n.Int64()
		if err != nil {
			return n.String()
		}
		return tomlString(bytesText(v))
	}
	return n.String()
}

// bytesText is a size as the configuration takes it, exactly.
func bytesText(n int64) string {
	for _, unit := range []struct {
		size   int64
		letter string
	}{{1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.letter
		}
	}
	return strconv.FormatInt(n, 10)
}

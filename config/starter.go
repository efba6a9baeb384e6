package config

import _ "embed"

//go:embed starter.toml
var starter string

// Starter is a commented configuration to begin with, for any user. It has one
// pool that does no harm. In it a line that begins with # and a key, without a
// blank between, is a setting that is switched off; all of them together are
// valid, too.
func Starter() string { return starter }

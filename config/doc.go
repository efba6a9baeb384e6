// Package config turns TOML into *Config: every default resolved, every value
// checked, every mistake reported at once with its place.
//
// It never starts a process, never talks to a network and never changes what
// runs: a rejected file has no effect. It does not panic on any input.
//
// Start reading at Load (load.go). The keys with their types, defaults and what
// a change of them means are one table in keys.go; what is understood but has
// no effect yet is the table in notyet.go. Reading a file goes
//
//	trust.go    who may write it
//	layout.go   where in the text each key and value stands
//	node.go     the parsed values, joined with their places
//	schema.go   which keys a table has; unknown ones and suggestions
//	pool.go     a pool from its own table, [defaults] and the built-in defaults
//
// and a pool becomes a command by Render (render.go), with ReadEnvFiles and
// LookupAccount supplying what is looked up anew at each start.
package config

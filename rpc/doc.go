// Package rpc is the wire between superd and whoever talks to it: the JSON types
// of the control socket, the closed set of error kinds, and the client that
// superctl and other Go programs use.
//
// It is a leaf: it knows nothing of processes, configuration or the supervisor,
// so that a program which only asks carries none of that. Fields are only ever
// added; a name or a meaning, once given, stays.
//
// What may be absent is null on the wire and the zero value in Go: see Text,
// Number and Time. Durations are Seconds.
//
// Start reading at status.go (what is), then request.go (what may be asked),
// error.go (what is said against it), client.go (how it is carried) and
// watch.go (when a command is done).
package rpc

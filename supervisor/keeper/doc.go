// Package keeper is the process that holds what must not die with superd: it is
// the parent of every run, and has the other end of what must not close.
//
// [Main] is that process, `superd keep`. It forks, waits and signals in one loop
// on one thread, so that no pid is signalled that might have been reaped. It has
// no configuration, no clock, no disk and no policy: it does what it is asked
// under a run ID, and tells of ends until somebody says that they are known. It
// must never block on superd, never die of a request, and make no system call
// while nothing happens.
//
// [Client] is superd's side. Every request is repeatable by its run ID, so a
// superd that was killed asks for the list and repeats what it is not sure of.
//
// Start reading at types.go (what can be asked and told), wire.go (how it
// travels), then loop.go, spawn.go and exit.go for the keeper, client.go, dial.go
// and, for keepers of several versions at once, several.go for superd's side. What
// a keeper has to do besides as the first process of a container is in init.go.
package keeper

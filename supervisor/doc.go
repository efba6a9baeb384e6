// Package supervisor is the loop around the core: one goroutine owns the
// core.State, brings it what happened (requests, the keeper's messages, one
// timer) and does what it decides (records, spawns, signals, events, answers).
//
// What it must never do: decide anything that core could, wait on its loop for
// a disk, a name lookup or a client, or start a process by any other way than
// the keeper.
//
// There is one way to start: Open takes the lock, loads the records, asks the
// keeper what lives, and hands both to the core. After a crash there are more
// of them than at a first start, that is the only difference.
//
// Start reading at loop.go for what goes on, execute.go for what is done, and
// open.go and find.go for the start; upgrade.go for another program in superd's place,
// keepers.go and succeed.go for another keeper beside the one that has runs.
package supervisor

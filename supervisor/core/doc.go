// Package core makes every decision of superd and does none of the work.
//
// Its whole interface is State.Step: something happened at an instant, and
// these actions follow, in this order. There is no clock in it, no goroutine,
// lock, file or process: the loop in package supervisor brings the events and
// executes the actions. So the orderings in which supervisors go wrong can be
// searched, fuzzed and replayed at a million steps a second.
//
// What it must never do: read a clock, start a goroutine or a timer, draw from
// a random source that is not in the State, log, or touch the operating system.
// A test walks its syntax trees and refuses all that.
//
// Three rules carry it:
//
//   - A deadline is never set, it follows from the state: see State.deadline.
//     What a deadline was for cannot be gone while the deadline is still there.
//   - Every state of a worker has an answer to everything that can happen: the
//     table in table.go, an explicit "nothing" included.
//   - What must be known after a crash is in the entities (Pool, Worker), and
//     their saving stands before the deed. Begin is the only way to start.
//
// Start reading at types.go for the nouns, table.go for the verbs, and state.go
// for how a step goes.
package core

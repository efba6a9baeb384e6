// Package proc is processes as the kernel sees them: starting one and naming
// the stage at which that failed, pidfds and exit statuses, who belongs to a
// session, what /proc tells, cgroups.
//
// Two ways lead to a new process. [Starter.Direct] forks and executes at once,
// which is fast, but the child shares the caller's memory until it has executed
// its program: a directory on a file system that hangs would freeze the caller.
// [Starter.Stage] forks the caller's own binary instead, which is always in
// memory; it runs [StageMain], does everything that may hang or fail by itself,
// and says on a pipe how far it came.
//
// The package decides nothing: it has no restart, no timeout and no policy, and
// it starts no goroutine. It never signals a process by a bare number without
// having pinned it first.
//
// Start reading at spec.go, then start.go and stage.go.
package proc

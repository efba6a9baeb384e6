package core

import (
	"syscall"

	"github.com/superd/superd/config"
)

// Action is something to be done. Actions are done in their order: what saves
// stands before what depends on it.
type Action interface{ action() }

// SaveExit asks to keep in the pool's history how a run ended: Run.Exit says. It
// comes before the record that has the run no more, so that a crash in between has
// the same run saved twice rather than never; whoever keeps it takes the first.
type SaveExit struct {
	Pool   *Pool
	Worker *Worker
	Run    *Run
}

// SavePool asks to keep the pool's own record (its workers save on their own).
type SavePool struct{ Pool *Pool }

// SaveWorker asks to keep a worker's record.
type SaveWorker struct {
	Pool   *Pool
	Worker *Worker
}

// DropPool asks to forget a pool and all its records.
type DropPool struct{ Name string }

// DropWorkers asks to forget the records of workers from index Count on.
type DropWorkers struct {
	Pool  *Pool
	Count int
}

// Spawn asks for the process of a run. Asked twice, it happens once.
type Spawn struct {
	Pool     *Pool
	Worker   *Worker
	Run      string
	Revision *Revision
}

// CancelSpawn asks to give a spawn up that has not reached the keeper yet. If
// it could be, SpawnFailed comes.
type CancelSpawn struct{ Run string }

// Signal asks to send a signal to a run. Number counts a run's signals, so that
// one that is asked for again after a crash is sent once.
type Signal struct {
	Run    string
	Signal syscall.Signal
	Scope  config.Scope
	Number int
}

// Sweep asks to kill what a run's main process left behind, once more.
type Sweep struct{ Run string }

// Forget tells that a run's end is known and recorded.
type Forget struct{ Run string }

// Publish is an event for whoever listens.
type Publish struct{ Notice Notice }

// Answer is the reply to the command with that Ref.
type Answer struct {
	Ref   uint64
	Reply Reply
}

// Quit ends superd with a code. Detached means that the runs stay behind.
type Quit struct {
	Code     int
	Detached bool
}

func (SaveExit) action()    {}
func (SavePool) action()    {}
func (SaveWorker) action()  {}
func (DropPool) action()    {}
func (DropWorkers) action() {}
func (Spawn) action()       {}
func (CancelSpawn) action() {}
func (Signal) action()      {}
func (Sweep) action()       {}
func (Forget) action()      {}
func (Publish) action()     {}
func (Answer) action()      {}
func (Quit) action()        {}

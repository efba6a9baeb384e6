package core

// trigger is what a worker can be told.
type trigger int

const (
	onForked      trigger = iota // its process exists
	onStarted                    // its program was executed
	onSpawnFailed                // its run never came to be
	onExited                     // its main process has ended
	onGone                       // what the run left behind has gone
	onDue                        // its deadline has come
	onStart                      // an operator, or superd's start, wants it up
	onStop                       // it is to stop
	onKill                       // it is to end at once
	onReplace                    // a new run is to take the place of this one
	onSignal                     // an operator sends a signal
	onSeen                       // what it does was looked at
	triggers
)

// cue is a trigger with what comes along.
type cue struct {
	on     trigger
	pid    int
	ticks  uint64
	end    End
	fail   Fail
	gone   bool
	signal *Command
	seen   Observed
	reason string
}

type handler func(*State, *Pool, *Worker, cue)

// nothing is the answer of a state that has what it is asked for, or that waits
// for something else to happen.
func nothing(*State, *Pool, *Worker, cue) {}

// never stands where the trigger cannot come: news of a run reaches a worker by
// its current run, and these states have none.
func never(*State, *Pool, *Worker, cue) {}

// table has the answer of every state to every trigger. It is filled in by init
// for the compiler's sake: its handlers lead back to it.
var table map[WorkerState][triggers]handler

func init() {
	table = map[WorkerState][triggers]handler{
		Stopped: {
			onForked: never, onStarted: never, onSpawnFailed: never, onExited: never, onGone: never,
			onDue: nothing, onStart: (*State).launchFresh, onStop: nothing, onKill: nothing,
			onReplace: (*State).launchFresh, onSignal: nothing, onSeen: never,
		},
		Starting: {
			onForked: (*State).noteProcess, onStarted: (*State).started, onSpawnFailed: (*State).spawnFailed,
			onExited: (*State).exited, onGone: nothing,
			onDue: (*State).notStarted, onStart: nothing, onStop: (*State).stopRun, onKill: (*State).killRun,
			onReplace: (*State).replaceRun, onSignal: (*State).passSignal, onSeen: (*State).noteWork,
		},
		Running: {
			onForked: nothing, onStarted: nothing, onSpawnFailed: nothing,
			onExited: (*State).exited, onGone: nothing,
			onDue: (*State).grewHealthy, onStart: nothing, onStop: (*State).stopRun, onKill: (*State).killRun,
			onReplace: (*State).replaceRun, onSignal: (*State).passSignal, onSeen: (*State).noteWork,
		},
		Stopping: {
			onForked: (*State).noteStopping, onStarted: (*State).noteStopping, onSpawnFailed: (*State).spawnFailed,
			onExited: (*State).exited, onGone: (*State).swept,
			onDue: (*State).nextStep, onStart: (*State).startAgain, onStop: (*State).stayDown, onKill: (*State).killRun,
			onReplace: (*State).startAgain, onSignal: (*State).passSignal, onSeen: (*State).noteIdle,
		},
		Backoff: {
			onForked: never, onStarted: never, onSpawnFailed: never, onExited: never, onGone: never,
			onDue: (*State).restart, onStart: (*State).launchFresh, onStop: (*State).toRest, onKill: (*State).toRest,
			onReplace: (*State).launchFresh, onSignal: nothing, onSeen: never,
		},
		Delayed: {
			onForked: never, onStarted: never, onSpawnFailed: never, onExited: never, onGone: never,
			onDue: (*State).restart, onStart: (*State).launchFresh, onStop: (*State).toRest, onKill: (*State).toRest,
			onReplace: (*State).launchFresh, onSignal: nothing, onSeen: never,
		},
		Failed: {
			onForked: never, onStarted: never, onSpawnFailed: never, onExited: never, onGone: never,
			onDue: nothing, onStart: (*State).launchFresh, onStop: (*State).toRest, onKill: (*State).toRest,
			onReplace: (*State).launchFresh, onSignal: nothing, onSeen: never,
		},
		Completed: {
			onForked: never, onStarted: never, onSpawnFailed: never, onExited: never, onGone: never,
			onDue: nothing, onStart: (*State).launchFresh, onStop: (*State).toRest, onKill: (*State).toRest,
			onReplace: (*State).launchFresh, onSignal: nothing, onSeen: never,
		},
	}
}

// Transition is a change of a worker's state, and what it comes from.
type Transition struct {
	From, To WorkerState
	Because  string
}

// Transitions are all changes of state that there are: the picture in
// docs/architecture.md. A test holds it equal to what long simulations do.
var Transitions = []Transition{
	{Stopped, Starting, "start, deployment"},
	{Starting, Running, "program executed"},
	{Starting, Stopping, "stop, replaced, not started in time, left something behind"},
	{Starting, Backoff, "start failed"},
	{Starting, Delayed, "start failed, window used up"},
	{Starting, Failed, "start failed, not to be restarted"},
	{Starting, Stopped, "start failed while superd is being stopped"},
	{Running, Stopping, "stop, replaced, left something behind"},
	{Running, Backoff, "ended"},
	{Running, Delayed, "ended, window used up"},
	{Running, Failed, "failed, not to be restarted"},
	{Running, Completed, "ended with success, not to be restarted"},
	{Running, Stopped, "ended while superd is being stopped"},
	{Running, Starting, "ended, restarted without delay"},
	{Starting, Starting, "start failed, restarted without delay"},
	{Stopping, Stopped, "gone"},
	{Stopping, Starting, "gone, a new run is wanted"},
	{Stopping, Backoff, "gone, after it failed"},
	{Stopping, Delayed, "gone, after it failed, window used up"},
	{Stopping, Failed, "gone, after it failed, not to be restarted"},
	{Stopping, Completed, "gone, after it ended with success"},
	{Backoff, Starting, "time has come, start, deployment"},
	{Backoff, Delayed, "window used up meanwhile"},
	{Backoff, Stopped, "stop"},
	{Backoff, Failed, "not to be restarted any more"},
	{Backoff, Completed, "not to be restarted any more"},
	{Delayed, Starting, "window open, start, deployment"},
	{Delayed, Failed, "not to be restarted any more"},
	{Delayed, Completed, "not to be restarted any more"},
	{Delayed, Stopped, "stop"},
	{Failed, Starting, "start, deployment"},
	{Failed, Stopped, "stop"},
	{Completed, Starting, "start, deployment"},
	{Completed, Stopped, "stop"},
}

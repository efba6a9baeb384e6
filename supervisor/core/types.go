package core

import (
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
)

// Time is one instant on both clocks.
type Time struct {
	// Boot is CLOCK_BOOTTIME: every duration is measured on it, so that a step
	// of the wall clock moves nothing and suspend counts.
	Boot time.Duration
	// Wall is for people.
	Wall time.Time
}

// After is how much later t is than u.
func (t Time) After(u Time) time.Duration { return t.Boot - u.Boot }

// Add is the instant d later.
func (t Time) Add(d time.Duration) Time {
	return Time{Boot: t.Boot + d, Wall: t.Wall.Add(d)}
}

// IsZero tells an instant that was never set.
func (t Time) IsZero() bool { return t.Boot == 0 && t.Wall.IsZero() }

// Desired is what somebody wants, apart from what is.
type Desired string

// The wishes for a pool or a worker.
const (
	Up   Desired = "running"
	Down Desired = "stopped"
)

// WorkerState is one of the eight states that people see (docs/architecture.md
// has the picture).
type WorkerState string

// The states of a worker.
const (
	Stopped   WorkerState = "stopped"   // at rest, not wanted
	Starting  WorkerState = "starting"  // a run is being spawned or is not ready yet
	Running   WorkerState = "running"   // a run lives and is ready
	Stopping  WorkerState = "stopping"  // a run is being ended, or its leftovers are
	Backoff   WorkerState = "backoff"   // waits for NextStart, an ordinary restart
	Delayed   WorkerState = "delayed"   // waits for NextStart, since the window is used up
	Failed    WorkerState = "failed"    // at rest after failures
	Completed WorkerState = "completed" // at rest after success
)

// Pool is a set of identical workers.
type Pool struct {
	Name       string
	Config     *config.Pool // in force
	Desired    Desired
	Count      int  // in force: the override, else the config's
	Override   *int // given by scale, kept until the config's own count changes
	Revisions  []*Revision
	Target     int           // the revision that new runs take
	Stable     int           // 0: none yet
	Deployment *Deployment   // the one in progress, else nil
	Past       []*Deployment // ended ones, newest first, a bounded number
	// Workers by index; beyond Count only while they are being ended. They are
	// saved on their own.
	Workers []*Worker `json:"-"`
	// WaitsFor are the pools of `after` that this one waits for, until WaitsUntil.
	WaitsFor   []string
	WaitsUntil Time
	// Removed means that the configuration has no such pool any more: it goes
	// away with its last run.
	Removed bool
	// Operation is the last command that took charge of workers of this pool.
	Operation Operation

	alarm  alarm
	rested bool // a worker came to rest in the step at hand
	turned bool // something happened that a deployment may have waited for
	late   bool // its record of the step at hand follows those of its workers
}

// Operation is a command that was accepted.
type Operation struct {
	ID      string
	Verb    Verb
	Workers []int // nil: all
	Count   int   // of a scale
}

// Revision is an immutable snapshot of what a pool runs.
type Revision struct {
	Number    int
	Digest    string       // of the content: equal content has the same number
	Config    *config.Pool // as it was
	Release   string       // Config.Directory with symlinks resolved
	CreatedAt time.Time
}

// Worker is one slot of a pool.
type Worker struct {
	Index    int
	State    WorkerState `json:",omitzero"`
	Since    Time        `json:",omitzero"` // when State was entered
	Desired  Desired     `json:",omitzero"`
	Revision int         `json:",omitzero"` // what its next run takes
	Run      *Run        `json:",omitzero"` // the current run, nil when there is none
	LastExit *Exit       `json:",omitzero"`
	// Restarts counts automatic ones since the last operator start or deployment.
	Restarts int `json:",omitzero"`
	// Window are the instants (Time.Boot) of the automatic restarts that still
	// count against restart.attempts, oldest first.
	Window []time.Duration `json:",omitzero"`
	// Failures in a row, for the back-off.
	Failures  int  `json:",omitzero"`
	NextStart Time `json:",omitzero"` // in Backoff and Delayed
	// Again means that a new run is wanted as soon as the current one has ended.
	Again bool `json:",omitzero"`
	// Operation is the ID of the last command or deployment that took charge of
	// this worker: whoever waits for a command and finds another ID here was superseded.
	Operation string `json:",omitzero"`
	// Step is its part in the pool's deployment, nil before its turn and outside of one.
	Step *Step `json:",omitzero"`

	alarm   alarm // derived: its place in State.alarms
	saved   bool  // its saving stands in the step at hand already
	dropped bool  // it is gone from its pool
}

// Run is one life of one process.
type Run struct {
	ID          string `json:",omitzero"`
	Revision    int    `json:",omitzero"`
	Deployment  string `json:",omitzero"` // ID of the deployment that started it, or empty
	RequestedAt Time   `json:",omitzero"`
	// PID is zero until the keeper has said that the process exists.
	PID        int    `json:",omitzero"`
	StartTicks uint64 `json:",omitzero"` // field 22 of /proc/PID/stat, which tells a reused pid apart
	StartedAt  Time   `json:",omitzero"` // its program was executed; zero before that
	Healthy    bool   `json:",omitzero"`
	Work       Work   `json:",omitzero"` // what it was last seen to do
	// Restart means that it is an automatic restart: the last stamp of the window.
	Restart bool `json:",omitzero"`
	// Signaled is the last signal that an operator sent to it, without SIG: an
	// end by that very signal is no failure.
	Signaled string `json:",omitzero"`
	// Signals counts what was sent to it: the keeper takes each number once, so
	// that a signal repeated after a crash reaches the run one time.
	Signals int `json:",omitzero"`
	// Handed is the number of the last one that the keeper was told; see State.Handed.
	Handed int   `json:",omitzero"`
	Stop   *Stop `json:",omitzero"` // nil while nobody wants it to end
	// Exit is set when its main process has ended, and what it left is being
	// swept since SweptAt.
	Exit    *Exit `json:",omitzero"`
	SweptAt Time  `json:",omitzero"`
}

// Work is whether a run has work to do, where `busy` can tell.
type Work string

// The zero Work: nobody has looked, or nobody can tell.
const (
	AtWork Work = "busy"
	Idle   Work = "idle"
)

// Stop is how far the ending of a run has come.
type Stop struct {
	Sequence signals.Sequence `json:",omitzero"`
	Step     int              `json:",omitzero"` // the step whose signal was sent last; -1 before the first
	Number   int              `json:",omitzero"` // that signal's number among the run's
	Past     bool             `json:",omitzero"` // the keeper that was told of it is gone: the one there is now would send it twice
	At       Time             `json:",omitzero"` // when that was
	Began    Time             `json:",omitzero"` // when the first was
	Reason   string           `json:",omitzero"`
	Drain    bool             `json:",omitzero"` // it is the drain sequence: the run is being replaced
	Idle     Time             `json:",omitzero"` // the run is known to be idle since; zero: it is not
	Early    bool             `json:",omitzero"` // a wait of the sequence was ended because the run is idle
	// Failure means that the end counts as a failure of the run, as when it did
	// not come up in time, although it was superd that ended it.
	Failure bool `json:",omitzero"`
}

// Exit is how a run ended.
type Exit struct {
	RunID  string    `json:",omitzero"`
	PID    int       `json:",omitzero"`
	At     time.Time `json:",omitzero"`
	Code   *int      `json:",omitzero"` // nil: ended by a signal, never started, or unknown
	Signal string    `json:",omitzero"` // without SIG; empty: none
	Core   bool      `json:",omitzero"` // a core file was written
	Reason string    `json:",omitzero"` // in words
	// Success means that it was none of: a failure, a failed start, unknown.
	Success bool          `json:",omitzero"`
	Uptime  time.Duration `json:",omitzero"`
	// Stage is where a start failed that never came to a program; empty: it did.
	Stage string `json:",omitzero"`
	// Requested means that the run had been told to end, by a stop sequence or by
	// an operator's signal: it did not end by itself.
	Requested bool `json:",omitzero"`
}

// DeploymentState is where a deployment stands.
type DeploymentState string

// The states of a deployment.
const (
	DeployRunning    DeploymentState = "running"
	DeploySucceeded  DeploymentState = "succeeded"
	DeployFailed     DeploymentState = "failed"
	DeploySuperseded DeploymentState = "superseded"
	DeployCancelled  DeploymentState = "cancelled"
)

// Deployment takes a pool's workers to a revision, step by step.
type Deployment struct {
	ID        string
	Pool      string
	State     DeploymentState
	From, To  int
	Reason    string // "start", "restart" or "apply"
	StartedAt Time
	EndedAt   Time
	Error     string
	// AllAtOnce: the first start of a pool has nobody healthy to be careful about.
	AllAtOnce bool
	// Progress is when a worker last became healthy, or left an old run's stop
	// sequence behind; at first the start.
	Progress Time
	// Steps are what became of the workers. They are set in a clone and in an
	// ended deployment; while it runs each worker has its own Step.
	Steps []DeployStep
}

// Step is a worker's part in a running deployment, from the moment that it was touched.
type Step struct {
	Deployment string // its ID; a step of another one counts for nothing
	// TookDown means that a worker that might have been healthy was taken down
	// for it, so that it counts against max_parallel until it is healthy.
	TookDown bool
	Deadline Time // healthy by then; zero until the new run was first started
	Begun    bool // the new run's program was executed: the deadline counts from there
	Done     bool // healthy, or ended with success after it was
	Failed   bool // it is why the deployment failed
	Relapses int  // failures after it was healthy
}

// DeployStep is what people see of a worker's part in a deployment.
type DeployStep struct {
	Index    int
	State    StepState
	Deadline Time // zero: none yet
}

// StepState is a worker's place in a deployment.
type StepState string

// The states of a worker in a deployment.
const (
	StepPending  StepState = "pending"
	StepStopping StepState = "stopping"
	StepStarting StepState = "starting"
	StepWaiting  StepState = "waiting"
	StepHealthy  StepState = "healthy"
	StepFailed   StepState = "failed"
)

// Notice is something that happened, for events, the log and hooks. Its types
// are the closed list of the events in docs/events.md.
type Notice struct {
	Type       string
	Pool       string
	Worker     string // "mailers/0"
	RunID      string
	PID        int
	Revision   int
	Deployment string
	Message    string
	Data       map[string]any
}

// Verb is what a command asks for.
type Verb string

// The verbs of commands.
const (
	VerbStart   Verb = "start"
	VerbStop    Verb = "stop"
	VerbRestart Verb = "restart"
	VerbScale   Verb = "scale"
	VerbSignal  Verb = "signal"
)

// Command is what an operator asks of one pool.
type Command struct {
	Verb    Verb
	Pool    string
	Workers []int // nil: all
	Now     bool  // stop: KILL at once
	Count   int   // scale
	Signal  string
	Group   bool   // signal: the whole group
	Release string // restart: the directory, resolved afresh by the caller; empty if that failed
	By      string // who, for the events: "uid 1000"
}

// Reply is the answer to a command.
type Reply struct {
	// Operation is the ID of what was begun or joined; for a deployment its ID.
	Operation  string
	Joined     bool   // the same was under way already
	Superseded string // the ID of what this put an end to, or empty
	Deployment *Deployment
	Refusal    *Refusal // nil: accepted
}

// Refusal is why a command was not accepted.
type Refusal struct {
	Kind    RefusalKind
	Message string
}

// RefusalKind says what sort of refusal it is.
type RefusalKind string

// The kinds of refusals.
const (
	RefuseNotFound RefusalKind = "not_found" // no such pool or worker
	RefuseInvalid  RefusalKind = "invalid"   // the command makes no sense
	RefuseConflict RefusalKind = "conflict"  // something under way forbids it
	RefuseStopping RefusalKind = "stopping"  // superd is being shut down
)

func (r *Refusal) Error() string { return r.Message }

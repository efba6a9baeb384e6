package config

import (
	"os"
	"syscall"
	"time"

	"github.com/superd/superd/signals"
)

// Config is one accepted configuration, defaults resolved. It is never changed
// after Load has returned it, and so safe for concurrent use.
type Config struct {
	File  string   // the main file's absolute path
	Files []string // every file read: File first, then what include named, in order
	Superd
	Pools    map[string]*Pool // by name
	Warnings []Problem        // accepted, but worth a word
}

// Superd is the [superd] table.
type Superd struct {
	RuntimeDir, StateDir, LogDir string
	Viewers, Operators           []string
	ShutdownTimeout              time.Duration // bounds every stop sequence when the system goes down
}

// Pool is one [pool.NAME] table with [defaults] and the built-in defaults in it.
// The fields have the meaning of the keys of the same name.
type Pool struct {
	Name         string
	Command      []string // argv, substitutions not yet made
	Count        int
	Groups       []string
	Directory    string
	User, Group  string // as written; empty: superd's own
	Umask        os.FileMode
	Env          map[string]string
	EnvFiles     []EnvFile
	InheritEnv   []string
	Preset       string // its name; what it sets is in the other fields already
	Stop, Drain  signals.Sequence
	SignalScope  Scope // ScopeMain or ScopeGroup
	KillScope    Scope // ScopeProcess, ScopeGroup or ScopeCgroup
	SuccessExit  []ExitMatch
	Forward      []Forward // sorted by From
	Autostart    bool
	After        []string
	AfterTimeout time.Duration
	Essential    bool
	Restart      Restart
	Update       Update
	Log          Log
	Limits       Limits
	Busy         Busy
	Operators    []string
	Viewers      []string
	// Sources says by key ("restart.delay", "env.PORT") where a value that was
	// given comes from: "FILE:LINE", or "defaults FILE:LINE". What is not in it is
	// a built-in default. It is no part of what the pool does.
	Sources map[string]string
}

// Busy is how to see that a run is at work. The zero Busy: nobody can tell.
type Busy struct {
	Title string // regular expression (RE2) that a busy run's process title matches
}

// EnvFile is one file of KEY=VALUE lines, read at each start.
type EnvFile struct {
	Path     string
	Optional bool // written with a leading "-": may be missing
}

// Scope says which processes of a run a signal reaches.
type Scope string

// The scopes. A graceful signal goes to main or group; KILL and the sweeping
// that follows go to process, group or cgroup.
const (
	ScopeMain    Scope = "main"    // the main process
	ScopeProcess Scope = "process" // the main process, and nobody is swept
	ScopeGroup   Scope = "group"   // session and process group
	ScopeCgroup  Scope = "cgroup"  // everything in the run's cgroup
)

// ExitMatch is one entry of success_exit: a code, or the end by a signal.
type ExitMatch struct {
	Code   int            // meaningful when Signal is zero
	Signal syscall.Signal // 0: Code counts
}

// Forward is one entry of forward: when superd gets From, the pool's main processes get To.
type Forward struct{ From, To syscall.Signal }

// RestartOn is when an ended run has a successor.
type RestartOn string

// The values of restart.on.
const (
	RestartAlways  RestartOn = "always"
	RestartFailure RestartOn = "failure"
	RestartNever   RestartOn = "never"
)

// RestartMode is what happens when the restart window is used up.
type RestartMode string

// The values of restart.mode.
const (
	ModeDelay RestartMode = "delay" // wait until the oldest restart has left the window
	ModeFail  RestartMode = "fail"  // the worker is failed and stays so
)

// Restart is the [pool.x.restart] table.
type Restart struct {
	On       RestartOn
	Attempts int           // at most so many restarts in any Interval; 0: none
	Interval time.Duration // more than zero
	Delay    time.Duration // wait before a restart; may be zero
	MaxDelay time.Duration // at least Delay: the doubled wait stops growing here
	Jitter   float64       // 0 to 1: fraction of the wait added or taken at random
	Mode     RestartMode
}

// Update is the [pool.x.update] table.
type Update struct {
	MaxParallel      int
	MinHealthyTime   time.Duration
	HealthyDeadline  time.Duration
	ProgressDeadline time.Duration
	AutoRevert       bool
}

// LogTarget is where a pool's output goes.
type LogTarget string

// The values of log.target ("journal" is refused as not supported yet).
const (
	LogFile    LogTarget = "file"
	LogInherit LogTarget = "inherit"
	LogNone    LogTarget = "none"
)

// Log is the [pool.x.log] table.
type Log struct {
	Target         LogTarget
	MaxSize        int64 // bytes; 0: never rotated
	Keep           int   // rotated files kept
	Compress       bool
	SeparateStderr bool
	BlockOnFull    bool // on_full = "block"
}

// Limits is the part of [pool.x.limits] that the kernel keeps by itself.
// A nil pointer leaves what superd itself was started with.
type Limits struct {
	NoFile      *uint64 // RLIMIT_NOFILE, soft and hard
	NProc       *uint64 // RLIMIT_NPROC
	Core        *uint64 // RLIMIT_CORE in bytes; RLIM_INFINITY for "unlimited"
	Nice        *int    // -20 to 19
	OOMScoreAdj *int    // -1000 to 1000
}

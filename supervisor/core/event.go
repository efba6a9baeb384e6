package core

import (
	"time"

	"github.com/superd/superd/config"
)

// Event is something that happened outside. What concerns a run names it: an
// event of a run that is in no slot is answered by forgetting the run, and so
// cannot be taken for news of its successor.
type Event interface{ event() }

// Begin is the first event after the entities were loaded, and the only way to
// start: the first start of all is a recovery of nothing.
type Begin struct {
	Specs []Spec
	Found map[string]Found // what is known of each run of the loaded workers
	// SameBoot tells that the loaded instants are of this boot. If not, runs,
	// windows and back-offs belong to a world that is gone.
	SameBoot bool
	// KeeperLost tells that the keeper is another one than before: what it was
	// asked for last is known to nobody.
	KeeperLost bool
	// Leave has what lives be ended, and nothing taken on or started; nil: no.
	Leave *Leave
}

// Recheck tells what lives after the keeper was lost and another took over.
type Recheck struct{ Found map[string]Found }

// Configure is a configuration that was accepted as a whole.
type Configure struct{ Specs []Spec }

// Spec is one pool of a configuration.
type Spec struct {
	Config  *config.Pool
	Release string // Config.Directory with its symlinks resolved
}

// Found is what the keeper, or /proc, says of a run.
type Found struct {
	PID        int
	StartTicks uint64
	Started    bool  // its program was executed
	End        *End  // its main process has ended
	Failed     *Fail // it never started
	Gone       bool  // nothing is left of it
	Signals    int   // the number of the last signal that the keeper sent to it
	Pending    bool  // it is still to be asked for, which happens without further ado
}

// End is how the kernel says that a process ended.
type End struct {
	Code    int    // meaningful when Signal is empty and Unknown false
	Signal  string // without SIG
	Core    bool
	OOM     bool // the signal is KILL, and came from the kernel for want of memory
	Unknown bool // nobody was there to see it
}

// Fail is where and why a start failed.
type Fail struct{ Stage, Reason string }

// Do is a command; its answer is the Reply action with the same Ref.
type Do struct {
	Ref     uint64
	Command Command
}

// Forked tells that the process of a run exists, but has not yet executed its program.
type Forked struct {
	Run        string
	PID        int
	StartTicks uint64
}

// Started tells that a run's program was executed.
type Started struct {
	Run        string
	PID        int
	StartTicks uint64
}

// SpawnFailed tells that a run never came to be.
type SpawnFailed struct {
	Run string
	Fail
}

// Exited tells that a run's main process has ended; with Gone that nothing of
// what kill_scope covers is left.
type Exited struct {
	Run string
	End
	Gone bool
}

// Gone tells that what a run had left behind has gone.
type Gone struct{ Run string }

// Observed tells what a run was seen to do.
type Observed struct {
	Run  string
	Work Work
	// Changed is an instant after which what was looked at has changed; zero:
	// it was the same ever since it is looked at.
	Changed Time
}

// Warned tells of something that the host forbids or that went less than well,
// without harm to the run.
type Warned struct{ Run, Message string }

// Leave ends superd.
type Leave struct {
	Now bool // KILL at once
	// Within is how long a run may take to end, whatever its stop sequence says,
	// from when it is told to, or from now on; 0: as long as its sequence says.
	Within time.Duration
	Detach bool // the workers stay
	Code   int  // superd's exit code when all is done
	By     string
}

// Tick is the passing of time: Step does what Deadline announced.
type Tick struct{}

func (Begin) event()       {}
func (Recheck) event()     {}
func (Configure) event()   {}
func (Do) event()          {}
func (Forked) event()      {}
func (Started) event()     {}
func (SpawnFailed) event() {}
func (Exited) event()      {}
func (Gone) event()        {}
func (Observed) event()    {}
func (Warned) event()      {}
func (Leave) event()       {}
func (Tick) event()        {}

package supervisor

import (
	"context"
	"time"

	"github.com/superd/superd/supervisor/core"
)

// Snapshot is the state of everything at one instant. It is never changed after
// it was published, and safe for concurrent use.
type Snapshot struct {
	Info  Info
	Pools []*core.Pool // by name
	Seq   uint64       // of the newest event that it reflects
	At    core.Time
}

// Pool finds a pool by name, or nil.
func (s *Snapshot) Pool(name string) *core.Pool {
	for _, p := range s.Pools {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Info is what superd says of itself.
type Info struct {
	Version       string
	PID           int
	KeeperPID     int // 0 while there is none
	StartedAt     time.Time
	ConfigFile    string
	ConfigPending bool     // the files on disk were refused or not yet applied
	Adopted       int      // runs taken over when this superd started
	Degraded      []string // what does not work as it should; nil: nothing
	Stopping      bool     // told to end
	Viewers       []string // [superd] viewers and operators in force
	Operators     []string
	// Accounts are the numbers of those users, and of groups as "@group", among
	// the operators and viewers of everything that only the host's name services
	// know. It is never changed.
	Accounts map[string]uint32
}

// Event is a notice with its place in history.
type Event struct {
	Seq  uint64
	Time time.Time
	core.Notice
}

// ApplyResult is what an apply did, pool by pool.
type ApplyResult struct {
	Added, Removed, Scaled, Changed, InPlace []string
	Warnings                                 []string
	Deployments                              []*core.Deployment // begun by it
	Seq                                      uint64             // a snapshot of this Seq or later has all of it
}

// API is what the control socket may ask of the supervisor. All of it is safe
// for concurrent use and bounded by ctx.
type API interface {
	// Snapshot is the newest state, and a channel that is closed when there is a newer one.
	Snapshot() (*Snapshot, <-chan struct{})
	// Do hands a command to the core. The error is ctx's, or that superd ends;
	// what the core says against it is in Reply.Refusal.
	Do(ctx context.Context, c core.Command) (core.Reply, error)
	// Apply reads the configuration anew. A *config.Errors means that it was
	// refused as a whole and nothing was touched.
	Apply(ctx context.Context, by string) (*ApplyResult, error)
	// Events are those in memory after seq, oldest first (at most max of them),
	// and a channel that is closed when there are more. oldest is the first
	// sequence number that is still in memory (0: none ever).
	Events(seq uint64, max int) (events []Event, oldest uint64, more <-chan struct{})
	// Shutdown begins the end of superd: now kills, detach leaves the workers running.
	Shutdown(ctx context.Context, now, detach bool, by string) error
	// Upgrade has the program at path, or, when it is empty, at the path that superd
	// was started by, take superd's place. It returns when that was found good and
	// has begun, or a core.Refusal. superd.upgraded or superd.degraded tell the end.
	Upgrade(ctx context.Context, path, by string) (Upgrade, error)
	// Sample measures the live runs' main processes: resident bytes and the share
	// of one CPU since the last sample. What could not be measured is missing.
	Sample(pids []int) map[int]Usage
	// Logs gives emit the lines of a log in batches, which hold until it returns.
	// emit may block; its error ends the call. Errors: ErrNoLog, ErrNoRun, ctx's.
	Logs(ctx context.Context, q LogQuery, emit func([]LogLine) error) error
	// Exits are how runs of a pool ended, newest first. Beside an error, which says
	// that some may be missing and why, are those that are known.
	Exits(ctx context.Context, q ExitQuery) ([]Exit, error)
	// Work is what the live runs of a pool of a snapshot show of their work, by run
	// ID; nil where the pool has no `busy`. Runs that could not be seen are missing.
	Work(p *core.Pool) map[string]Work
}

// Usage is what one process uses.
type Usage struct {
	MemoryBytes int64
	CPU         float64 // 1.0 is one core
}

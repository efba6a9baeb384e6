package keeper

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
)

// Spawn is a run to be started.
type Spawn struct {
	Run        string // its ID: 1 to 32 of [0-9a-z]
	Label      string // what superd wants to find again in List; the keeper only keeps it
	Path       string // as in proc.Spec: without a slash it is found in Env's PATH
	Args, Env  []string
	Dir        string
	Credential *proc.Credential // nil: superd's own
	Umask      uint32
	Limits     config.Limits
	KillScope  config.Scope // ScopeProcess, ScopeGroup (also the empty one) or ScopeCgroup
	Cgroup     string       // the folder that the run is born into; empty: none
	// Direct says that Dir and Path are known to lie on local file systems, so that
	// the keeper may execute the program itself, without a stage. It is a permission:
	// the keeper takes a stage where it needs one.
	Direct bool
	// Stdout and Stderr are the worker's ends; nil is /dev/null, and the same file
	// twice is one description. They stay the caller's to close.
	Stdout, Stderr *os.File
	// Hold are descriptors that the keeper keeps under these names until the run is
	// acknowledged. They stay the caller's to close, too.
	Hold map[string]*os.File
}

// Adopt is a run whose keeper has died.
type Adopt struct {
	Run, Label string // as in Spawn
	PID        int
	StartTicks uint64 // of PID, which tells a reused pid apart
	KillScope  config.Scope
	Cgroup     string
	UID        uint32 // the worker's: what is swept when the leader is gone must belong to it
}

// EventKind is what an event tells.
type EventKind uint8

// The kinds of events, in the order in which one run's come.
const (
	Forked      EventKind = iota + 1 // a process exists and has a pid; the program is not yet executed
	Warning                          // Warnings: what the host forbids, or what could not be done
	Started                          // the program is executed; for an adopted run: its process was found
	SpawnFailed                      // at Stage for Reason; the run is over
	Exited                           // the main process ended with Status; Gone: and nothing of the scope is left
	Gone                             // what the scope covers has gone, some time after Exited
	Stuck                            // Leftovers survive KILL; told in answer to a Sweep
)

var kindNames = [...]string{"", "forked", "warning", "started", "spawn failed", "exited", "gone", "stuck"}

func (k EventKind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is something that has happened to a run. It may be told twice: after a
// repeated request, and around a reconnection.
type Event struct {
	Kind       EventKind
	Run        string
	PID        int    // 0: there never was a process
	StartTicks uint64 // 0: not known
	Stage      string // SpawnFailed: one of proc's stages
	Reason     string // SpawnFailed: "directory /srv/app: no such file or directory"
	Status     proc.ExitStatus
	Gone       bool
	Warnings   []string        // Warning: those that were not told yet
	Leftovers  []proc.Leftover // Exited without Gone, and Stuck: those that are known, at most 64
	Heard      time.Time       // when the client got it
}

// Phase is how far a run has come.
type Phase uint8

// The phases of a run.
const (
	PhaseForking Phase = iota + 1 // a stage is at work
	PhaseRunning                  // the program is executed
	PhaseFailed                   // it never was
	PhaseEnded                    // the main process has ended
)

var phaseNames = [...]string{"", "forking", "running", "failed", "ended"}

func (p Phase) String() string {
	if int(p) < len(phaseNames) && p > 0 {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase %d", uint8(p))
}

// RunState is what the keeper knows of a run that was not acknowledged.
type RunState struct {
	Run, Label string
	Phase      Phase
	PID        int
	StartTicks uint64
	Adopted    bool // its process is not the keeper's child
	Stage      string
	Reason     string
	Status     proc.ExitStatus // in PhaseEnded
	Gone       bool            // nothing of the scope is left; always so in PhaseFailed
	Signals    int             // the number of the last numbered signal that was sent to it
	Warnings   []string
	Leftovers  []proc.Leftover
	Heard      time.Time // when the client got it
}

// Events are the events that have led to this state, in their order.
func (s *RunState) Events() []Event {
	var kinds []EventKind
	if s.PID != 0 {
		kinds = append(kinds, Forked)
	}
	if len(s.Warnings) > 0 {
		kinds = append(kinds, Warning)
	}
	switch s.Phase {
	case PhaseRunning:
		kinds = append(kinds, Started)
	case PhaseFailed:
		kinds = append(kinds, SpawnFailed)
	case PhaseEnded:
		kinds = append(kinds, Started, Exited)
	}
	events := make([]Event, len(kinds))
	for i, k := range kinds {
		events[i] = s.event(k)
	}
	return events
}

// event is the state seen as one event.
func (s *RunState) event(kind EventKind) Event {
	e := Event{Kind: kind, Run: s.Run, PID: s.PID, StartTicks: s.StartTicks, Heard: s.Heard}
	switch kind {
	case Warning:
		e.Warnings = s.Warnings
	case SpawnFailed:
		e.Stage, e.Reason = s.Stage, s.Reason
	case Exited:
		e.Status, e.Gone = s.Status, s.Gone
		if !s.Gone {
			e.Leftovers = s.Leftovers
		}
	case Stuck:
		e.Leftovers = s.Leftovers
	}
	return e
}

// The errors of a Client that callers tell apart.
var (
	// ErrNotHeld: the keeper has no descriptor of that name.
	ErrNotHeld = errors.New("the keeper holds no descriptor of that name")
	// ErrLost: the connection is gone, and the keeper perhaps too.
	ErrLost = errors.New("the connection to the keeper is lost")
	// ErrLive: the keeper does not end while runs live.
	ErrLive = errors.New("the keeper still has runs that live")
)

const (
	maxRunID   = 32
	maxName    = 128 // bytes of a held descriptor's name
	maxHold    = 8   // descriptors held by one spawn
	maxLabel   = 128 // bytes
	maxCgroup  = 4096
	maxLefts   = 64   // leftovers told in one event
	maxWarning = 16   // warnings kept for one run
	maxText    = 1024 // bytes of a reason or a warning
)

func checkRun(id string) error {
	if len(id) == 0 || len(id) > maxRunID {
		return fmt.Errorf("the run ID has %d characters; 1 to %d are allowed", len(id), maxRunID)
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return fmt.Errorf("the run ID %.40q has other characters than 0-9 and a-z", id)
		}
	}
	return nil
}

func checkName(name string) error {
	if len(name) == 0 || len(name) > maxName {
		return fmt.Errorf("the descriptor's name has %d characters; 1 to %d are allowed", len(name), maxName)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f {
			return fmt.Errorf("the descriptor's name %.40q has other characters than printable ASCII", name)
		}
	}
	return nil
}

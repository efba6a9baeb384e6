package rpc

// Status is what GET /v1/status answers: everything that the asker may see.
type Status struct {
	Superd Superd `json:"superd"`
	Pools  []Pool `json:"pools"` // by name
	Jobs   []Job  `json:"jobs"`
}

// Superd is what superd says of itself.
type Superd struct {
	Version       string   `json:"version"`
	PID           int      `json:"pid"`
	KeeperPID     Number   `json:"keeper_pid"` // null while there is none
	StartedAt     Time     `json:"started_at"`
	Config        string   `json:"config"`         // the main file
	ConfigPending bool     `json:"config_pending"` // the files differ from what is in force
	Adopted       int      `json:"adopted"`        // runs taken over when this superd started
	Degraded      []string `json:"degraded"`       // what does not work as it should, or null
	Stopping      bool     `json:"stopping"`       // told to end
	Seq           uint64   `json:"seq"`            // of the newest event that this answer reflects
}

// Pool is a set of identical workers.
type Pool struct {
	Name           string      `json:"name"`
	Groups         []string    `json:"groups"`
	Desired        string      `json:"desired"` // "running" or "stopped"
	Count          int         `json:"count"`
	Running        int         `json:"running"` // of the indices below Count
	Healthy        int         `json:"healthy"` // likewise
	Revision       Number      `json:"revision"`
	StableRevision Number      `json:"stable_revision"`
	Deployment     *Deployment `json:"deployment"` // the one in progress, or null
	Workers        []Worker    `json:"workers"`    // by index; beyond Count while they are being ended
	Draining       []Draining  `json:"draining"`
	WaitsFor       []string    `json:"waits_for"` // pools of `after` that are not healthy yet
	Removed        bool        `json:"removed"`   // no longer configured: goes with its last run
}

// Worker is one slot of a pool.
type Worker struct {
	Name        string   `json:"name"` // "mailers/0"
	Index       int      `json:"index"`
	State       string   `json:"state"`
	Since       Time     `json:"since"`   // when it entered State
	Desired     string   `json:"desired"` // "running" or "stopped"
	Ready       bool     `json:"ready"`
	Healthy     bool     `json:"healthy"`
	PID         Number   `json:"pid"`
	RunID       Text     `json:"run_id"`
	Revision    Number   `json:"revision"`
	Outdated    bool     `json:"outdated"` // of another revision than the pool's
	Release     Text     `json:"release"`
	StartedAt   Time     `json:"started_at"`
	Uptime      Seconds  `json:"uptime"`   // of the current run, whatever the wall clock did
	Restarts    int      `json:"restarts"` // automatic ones since the last operator start or deployment
	Window      Window   `json:"window"`
	NextStartAt Time     `json:"next_start_at"`
	Stopping    *Stop    `json:"stopping"`    // how far the ending of the run has come, or null
	StatusText  Text     `json:"status_text"` // what the program says of itself
	Busy        *bool    `json:"busy"`
	MemoryBytes *int64   `json:"memory_bytes"` // resident, of the main process
	CPU         *float64 `json:"cpu"`          // 1.0 is one core
	NextRun     *NextRun `json:"next_run"`
	LastExit    *Exit    `json:"last_exit"` // null until a run has ended
	// Operation is the ID of the last command or deployment that took charge of the worker.
	Operation Text `json:"operation"`
}

// Window is how much of the restart budget is used up.
type Window struct {
	Used     int     `json:"used"` // restarts within the interval that ends now
	Attempts int     `json:"attempts"`
	Interval Seconds `json:"interval"`
}

// Stop is how far the ending of a run has come.
type Stop struct {
	Signal   Text   `json:"signal"` // sent last
	At       Time   `json:"at"`
	Next     Text   `json:"next"`     // the signal that follows, or null
	Deadline Time   `json:"deadline"` // when it does, or null
	Reason   string `json:"reason"`
}

// NextRun is the run that is to take a slot over once it is healthy.
type NextRun struct {
	PID       Number `json:"pid"`
	RunID     Text   `json:"run_id"`
	Revision  Number `json:"revision"`
	StartedAt Time   `json:"started_at"`
}

// Exit is how a run ended. One that nobody could know has neither code nor
// signal and says so in its reason.
type Exit struct {
	At      Time    `json:"at"`
	Code    *int    `json:"code"` // null when a signal ended it
	Signal  Text    `json:"signal"`
	Reason  string  `json:"reason"`
	RunID   Text    `json:"run_id"`
	PID     Number  `json:"pid"`
	Core    bool    `json:"core"`    // a core file was written
	Success bool    `json:"success"` // counts as no failure
	Uptime  Seconds `json:"uptime"`
}

// Draining is an old run that has left its slot and is finishing its work.
type Draining struct {
	RunID    string `json:"run_id"`
	Worker   string `json:"worker"`
	PID      Number `json:"pid"`
	Revision Number `json:"revision"`
	Since    Time   `json:"since"`
	Signal   Text   `json:"signal"`
	Deadline Time   `json:"deadline"`
}

// Job is a command that runs to completion.
type Job struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	NextRunAt Time   `json:"next_run_at"`
}

// Deployment takes a pool's workers to a revision, step by step.
type Deployment struct {
	ID        string       `json:"id"`
	Pool      string       `json:"pool"`
	State     string       `json:"state"`
	From      Number       `json:"from"`
	To        Number       `json:"to"`
	Reason    string       `json:"reason"`
	StartedAt Time         `json:"started_at"`
	EndedAt   Time         `json:"ended_at"`
	Error     Text         `json:"error"`
	Done      int          `json:"done"`
	Total     int          `json:"total"`
	Workers   []DeployStep `json:"workers"`
}

// DeployStep is one worker's part in a deployment.
type DeployStep struct {
	Name     string `json:"name"`
	State    string `json:"state"` // pending, stopping, starting, waiting, healthy or failed
	Deadline Time   `json:"deadline"`
}

// Ended tells whether the deployment has come to its end.
func (d *Deployment) Ended() bool { return !d.EndedAt.IsZero() }

// Revision is an immutable snapshot of what a pool runs.
type Revision struct {
	Number    int    `json:"number"`
	Digest    string `json:"digest"`
	Release   Text   `json:"release"`
	CreatedAt Time   `json:"created_at"`
	Current   bool   `json:"current"` // what new runs take
	Stable    bool   `json:"stable"`
}

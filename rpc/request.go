package rpc

// WorkersRequest is the body of start and restart: which workers, or all when
// Workers is nil. Now is for stop alone: KILL at once.
type WorkersRequest struct {
	Workers []int `json:"workers,omitempty"`
	Now     bool  `json:"now,omitempty"`
}

// ScaleRequest is the body of scale.
type ScaleRequest struct {
	Count *int `json:"count"` // required
}

// SignalRequest is the body of signal.
type SignalRequest struct {
	Signal  string `json:"signal"`            // with or without SIG, or a number
	Group   bool   `json:"group,omitempty"`   // the whole process group, not the main process alone
	Workers []int  `json:"workers,omitempty"` // nil: all
}

// ApplyRequest is the body of apply. It has no fields yet.
type ApplyRequest struct{}

// ShutdownRequest is the body of shutdown.
type ShutdownRequest struct {
	Now    bool `json:"now,omitempty"`    // KILL at once
	Detach bool `json:"detach,omitempty"` // leave the workers running
}

// UpgradeRequest is the body of upgrade.
type UpgradeRequest struct {
	Binary string `json:"binary,omitempty"` // absolute; empty: the path that superd was started by
}

// UpgradeReply is the answer to upgrade: the program was found good, and superd is
// about to become it.
type UpgradeReply struct {
	Upgrading bool   `json:"upgrading"`
	From      string `json:"from"` // versions
	To        string `json:"to"`
	Binary    string `json:"binary"`
	PID       int    `json:"pid"` // superd's, before and after
}

// CommandReply is the answer to start, stop, scale and signal, and to a restart
// of single workers.
type CommandReply struct {
	Operation  Text `json:"operation"`  // of what was begun or joined
	Joined     bool `json:"joined"`     // the same was under way already
	Superseded Text `json:"superseded"` // the ID of what this put an end to
	// Done tells that what was asked for is reached. Without ?wait it is false.
	Done bool `json:"done"`
	// Problems are why it cannot be reached any more.
	Problems []string `json:"problems"`
	Pool     Pool     `json:"pool"`
}

// ApplyReply is what an apply did, pool by pool.
type ApplyReply struct {
	Added       []string     `json:"added"`
	Removed     []string     `json:"removed"`
	Scaled      []string     `json:"scaled"`
	Changed     []string     `json:"changed"`  // by a deployment
	InPlace     []string     `json:"in_place"` // no process touched
	Warnings    []string     `json:"warnings"`
	Deployments []Deployment `json:"deployments"` // begun by it
}

// ShutdownReply is the answer to shutdown: it is under way.
type ShutdownReply struct {
	Stopping bool `json:"stopping"`
	PID      int  `json:"pid"` // superd's
}

// Health is the answer to GET /healthz.
type Health struct {
	Status string `json:"status"` // "ok"
}

// WorkerList is the answer to GET /v1/pools/{pool}/workers.
type WorkerList struct {
	Workers []Worker `json:"workers"`
}

// RevisionList is the answer to GET /v1/pools/{pool}/revisions, newest first.
type RevisionList struct {
	Revisions []Revision `json:"revisions"`
}

// DeploymentList is the answer to GET /v1/pools/{pool}/deployments, newest first.
type DeploymentList struct {
	Deployments []Deployment `json:"deployments"`
}

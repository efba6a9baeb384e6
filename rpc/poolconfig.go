package rpc

// PoolConfig is the configuration of a pool that is in force, defaults
// included: the answer to GET /v1/pools/{pool}/config. The fields are named and
// mean as the keys in the configuration file.
type PoolConfig struct {
	Pool   string `json:"pool"`
	File   string `json:"file"`   // the main configuration file
	Count  int    `json:"count"`  // in force, by scale or by the configuration
	Scaled bool   `json:"scaled"` // Count is from scale, not from the configuration
	// EnvHidden tells that the asker is no operator: the values in env are null.
	EnvHidden bool     `json:"env_hidden"`
	Config    PoolKeys `json:"config"`
	// Settings are the same keys for people, in the order of the documentation.
	Settings []Setting `json:"settings"`
}

// Setting is one key in force, and where it comes from.
type Setting struct {
	Key    string `json:"key"`    // "count", "restart.delay", "env.PORT"
	Value  Text   `json:"value"`  // as in TOML; null: superd's own holds, or it is hidden
	Source string `json:"source"` // "FILE:LINE", "defaults FILE:LINE" or "default"
}

// PoolKeys are the keys of a [pool.NAME] table.
type PoolKeys struct {
	Command      []string           `json:"command"`
	Count        int                `json:"count"`
	Groups       []string           `json:"groups"`
	Directory    string             `json:"directory"`
	User         Text               `json:"user"`  // null: superd's own
	Group        Text               `json:"group"` // null: the user's primary group
	Umask        string             `json:"umask"` // octal
	Env          map[string]*string `json:"env"`
	EnvFile      []string           `json:"env_file"`
	InheritEnv   []string           `json:"inherit_env"`
	Stop         []string           `json:"stop_sequence"`
	Drain        []string           `json:"drain_sequence"`
	SignalScope  string             `json:"signal_scope"`
	KillScope    string             `json:"kill_scope"`
	SuccessExit  []any              `json:"success_exit"` // codes and signal names
	Forward      map[string]string  `json:"forward"`
	Autostart    bool               `json:"autostart"`
	After        []string           `json:"after"`
	AfterTimeout Seconds            `json:"after_timeout"`
	Essential    bool               `json:"essential"`
	Restart      RestartKeys        `json:"restart"`
	Update       UpdateKeys         `json:"update"`
	Log          LogKeys            `json:"log"`
	Limits       LimitKeys          `json:"limits"`
	Operators    []string           `json:"operators"`
	Viewers      []string           `json:"viewers"`
}

// RestartKeys are the keys of [pool.NAME.restart].
type RestartKeys struct {
	On       string  `json:"on"`
	Attempts int     `json:"attempts"`
	Interval Seconds `json:"interval"`
	Delay    Seconds `json:"delay"`
	MaxDelay Seconds `json:"max_delay"`
	Jitter   float64 `json:"jitter"`
	Mode     string  `json:"mode"`
}

// UpdateKeys are the keys of [pool.NAME.update].
type UpdateKeys struct {
	MaxParallel      int     `json:"max_parallel"`
	MinHealthyTime   Seconds `json:"min_healthy_time"`
	HealthyDeadline  Seconds `json:"healthy_deadline"`
	ProgressDeadline Seconds `json:"progress_deadline"`
	AutoRevert       bool    `json:"auto_revert"`
}

// LogKeys are the keys of [pool.NAME.log].
type LogKeys struct {
	Target   string `json:"target"`
	MaxSize  int64  `json:"max_size"` // bytes; 0: never rotated
	Keep     int    `json:"keep"`
	Compress bool   `json:"compress"`
	Stderr   string `json:"stderr"`  // merge or separate
	OnFull   string `json:"on_full"` // drop or block
}

// LimitKeys are the keys of [pool.NAME.limits]. Null: what superd was started with.
type LimitKeys struct {
	NoFile      *uint64 `json:"nofile"`
	NProc       *uint64 `json:"nproc"`
	Core        *uint64 `json:"core"` // bytes; 2^64-1: unlimited
	Nice        *int    `json:"nice"`
	OOMScoreAdj *int    `json:"oom_score_adj"`
}

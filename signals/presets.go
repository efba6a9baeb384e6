package signals

import "slices"

// Preset is how a known program is ended, and how it shows that it is at work.
// The same signal is graceful for one program and abrupt for another.
type Preset struct {
	Name  string
	Stop  Sequence // when the run is stopped
	Drain Sequence // when it is replaced by another
	// Busy is a regular expression on the process title that matches while the
	// program has work; empty: its title does not tell.
	Busy   string
	Source string // the document of the program that says so
	Note   string // what a user should know beside that; one sentence, or empty
}

// presets are all that are known, in the order in which they are shown.
var presets = []Preset{
	{
		Name: "sidekiq", Stop: steps("TERM 30s", "KILL"), Drain: steps("TSTP 10m", "TERM 30s", "KILL"),
		Busy:   `\[([1-9]\d* of \d+ busy)\]`,
		Source: "https://github.com/sidekiq/sidekiq/wiki/Signals",
		Note:   "TSTP takes no new jobs; TERM waits for -t (25 s) and then gives jobs back to Redis, so keep -t below 30.",
	},
	{
		Name: "resque", Stop: steps("QUIT 30s", "TERM 10s", "KILL"), Drain: steps("QUIT 10m", "TERM 10s", "KILL"),
		Busy:   `^resque-[^:]+: ((?:Forked|Processing) .*)`,
		Source: "https://github.com/resque/resque#signals",
		Note:   "QUIT waits for the job; TERM ends it at once unless TERM_CHILD=1 is set.",
	},
	{
		Name: "celery", Stop: steps("TERM 30s", "QUIT 10s", "KILL"), Drain: steps("TERM 10m", "QUIT 10s", "KILL"),
		Source: "https://docs.celeryq.dev/en/stable/userguide/workers.html#stopping-the-worker",
		Note:   "Signals must reach the main process alone (signal_scope = \"main\"): TERM to its children breaks the warm shutdown.",
	},
	{
		Name: "rq", Stop: steps("TERM 30s", "KILL"), Drain: steps("TERM 10m", "KILL"),
		Source: "https://python-rq.org/docs/workers/#taking-down-workers",
		Note:   "One TERM waits for the job; a second one would end it.",
	},
	{
		Name: "laravel-queue", Stop: steps("TERM 30s", "KILL"), Drain: steps("TERM 10m", "KILL"),
		Source: "https://laravel.com/docs/queues#supervisor-configuration",
		Note:   "queue:work finishes its job after TERM where PHP has the pcntl extension.",
	},
	{
		Name: "solid-queue", Stop: steps("TERM 30s", "KILL"), Drain: steps("TERM 10m", "KILL"),
		Source: "https://github.com/rails/solid_queue#threads-processes-and-signals",
		Note:   "After TERM it waits for SolidQueue.shutdown_timeout (5 s by default): raise that for longer jobs.",
	},
	{
		Name: "shoryuken", Stop: steps("TERM 30s", "KILL"), Drain: steps("USR1 10m", "TERM 30s", "KILL"),
		Source: "https://github.com/ruby-shoryuken/shoryuken/wiki/Signals",
		Note:   "USR1 finishes what was fetched and exits; TERM gives up after its own timeout (8 s by default).",
	},
	{
		Name: "gunicorn", Stop: steps("TERM 30s", "QUIT 5s", "KILL"), Drain: steps("TERM 30s", "QUIT 5s", "KILL"),
		Source: "https://docs.gunicorn.org/en/stable/signals.html",
		Note:   "TERM finishes requests within graceful_timeout (30 s by default); QUIT cuts them.",
	},
	{
		Name: "puma", Stop: steps("TERM 30s", "KILL"), Drain: steps("TERM 30s", "KILL"),
		Source: "https://github.com/puma/puma/blob/master/docs/signals.md",
		Note:   "It finishes requests and then ends by TERM itself, which counts as success.",
	},
	{
		Name: "unicorn", Stop: steps("QUIT 30s", "TERM 5s", "KILL"), Drain: steps("QUIT 30s", "TERM 5s", "KILL"),
		Source: "https://yhbt.net/unicorn/SIGNALS.html",
		Note:   "TERM cuts requests. With upgrades of its own by USR2 set kill_scope = \"process\".",
	},
	{
		Name: "nginx", Stop: steps("QUIT 30s", "TERM 5s", "KILL"), Drain: steps("QUIT 30s", "TERM 5s", "KILL"),
		Source: "https://nginx.org/en/docs/control.html",
		Note:   "Run it with -g 'daemon off;'. TERM cuts requests. With upgrades of its own by USR2 set kill_scope = \"process\".",
	},
	{
		Name: "php-fpm", Stop: steps("QUIT 30s", "TERM 5s", "KILL"), Drain: steps("QUIT 30s", "TERM 5s", "KILL"),
		Source: "https://www.php.net/manual/en/install.fpm.configuration.php#process-control-timeout",
		Note:   "Run it with --nodaemonize, and set process_control_timeout, or QUIT does not wait for requests.",
	},
	{
		Name: "postgres", Stop: steps("INT 60s", "QUIT 30s", "KILL"), Drain: steps("TERM 10m", "INT 60s", "QUIT 30s", "KILL"),
		Source: "https://www.postgresql.org/docs/current/server-shutdown.html",
		Note:   "TERM waits for all clients to leave, INT cuts them off and closes cleanly, QUIT needs a recovery at the next start.",
	},
}

// steps is a sequence that is known to be right.
func steps(texts ...string) Sequence {
	seq, err := ParseSequence(texts)
	if err != nil {
		panic("signals: preset: " + err.Error())
	}
	return seq
}

// Presets are all known programs. The slice is the caller's own; what its
// sequences hold is shared and not to be changed.
func Presets() []Preset { return slices.Clone(presets) }

// PresetNames are their names, in the same order.
func PresetNames() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.Name
	}
	return names
}

// LookupPreset finds a preset by its exact name.
func LookupPreset(name string) (Preset, bool) {
	for _, p := range presets {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

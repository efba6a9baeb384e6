package cmd_test

import (
	"fmt"
	"os"
	"strings"
)

// The restart window of the pool "flaky".
const (
	flakyAttempts = 6
	flakyInterval = 3 // seconds
)

// The stop sequence of the pool "slow": TERM, INT and KILL, with these waits.
const (
	slowTerm = 1000 // ms
	slowInt  = 600  // ms
)

// brokenAttempts are the restarts of the pool "broken", which then has failed.
const brokenAttempts = 2

// soakPool is a pool and how its workers end up once all commands have been done.
type soakPool struct {
	name, kind string
	count      int
	keys       string
	// rest is the state that each worker comes to and stays in; empty: they come
	// and go. One in the state running has one process.
	rest string
}

// soakConfig is the configuration, and what of it commands change.
type soakConfig struct {
	dir     string
	pools   []soakPool
	clients int
	turn    int  // changes what `apply` finds
	extra   bool // a pool that comes and goes
}

func newSoakConfig(dir string, workers int) soakConfig {
	part := func(percent int) int { return max(2, workers*percent/100) }
	c := soakConfig{dir: dir, clients: 3}
	c.pools = []soakPool{
		{"chatty", "chatty", part(12), "log = { max_size = \"24K\", keep = 1000, compress = true }\nupdate.max_parallel = 100\n", "running"},
		{"flaky", "flaky", part(8), fmt.Sprintf("restart = { delay = \"10ms\", attempts = %d, interval = \"%ds\" }\nupdate.min_healthy_time = \"0s\"\n", flakyAttempts, flakyInterval), ""},
		{"brief", "brief", part(10), "update.min_healthy_time = \"0s\"\n", ""},
		{"slow", "slow", part(10), fmt.Sprintf("stop_sequence = [\"TERM %dms\", \"INT %dms\", \"KILL\"]\nupdate.max_parallel = 100\n", slowTerm, slowInt), "running"},
		{"forking", "forking", part(8), "kill_timeout = \"200ms\"\nlimits.nofile = 256\nupdate.max_parallel = 100\n", "running"},
		{"steady", "steady", part(45), "update.max_parallel = 100\n", "running"},
		{"once", "once", 2, "restart = { on = \"failure\" }\nupdate.min_healthy_time = \"0s\"\n", "completed"},
		{"broken", "broken", 2, fmt.Sprintf("restart = { delay = \"10ms\", attempts = %d, mode = \"fail\" }\nupdate.min_healthy_time = \"0s\"\n", brokenAttempts), "failed"},
	}
	if cgroups() {
		c.pools = append(c.pools, soakPool{"boxed", "boxed", part(5), "kill_scope = \"cgroup\"\nkill_timeout = \"200ms\"\nupdate.max_parallel = 100\n", "running"})
	}
	for i := range c.clients {
		c.pools = append(c.pools, soakPool{fmt.Sprintf("own%d", i), "steady", ownCount, "update.max_parallel = 2\n", "running"})
	}
	return c
}

// ownCount is how many workers a client's pool has by the configuration.
const ownCount = 3

// text is the configuration file.
func (c *soakConfig) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[superd]\nruntime_dir = %q\nstate_dir = %q\nlog_dir = %q\n", c.dir+"/run", c.dir+"/state", c.dir+"/log")
	// What changes in place, and what needs new processes.
	fmt.Fprintf(&b, "[defaults]\nupdate.min_healthy_time = \"100ms\"\nrestart = { delay = \"20ms\", attempts = 200, interval = \"1m\" }\nkill_timeout = \"%ds\"\n", 5+c.turn%3)
	pools := c.pools
	if c.extra {
		pools = append(pools[:len(pools):len(pools)], soakPool{"extra", "steady", 2 + c.turn%5, "", "running"})
	}
	for _, p := range pools {
		fmt.Fprintf(&b, "[pool.%s]\ncommand = [%q, %q, \"%s/slots/%s.${index}\"]\ncount = %d\n%s", p.name, c.dir+"/bin/soakworker", p.kind, c.dir, p.name, p.count, p.keys)
		if p.name == "forking" {
			fmt.Fprintf(&b, "env = { TURN = \"%d\" }\n", c.turn)
		}
	}
	return b.String()
}

// writeConfig puts the configuration where superd reads it, in one step.
func (s *soak) writeConfig() {
	path := s.dir + "/superd.toml"
	if err := os.WriteFile(path+".new", []byte(s.config.text()), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

package cmd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestContainerKeepers: the first process is a keeper of an older version by now. It
// gets no new run, stays when its last one has ended, and does its other duties.
func TestContainerKeepers(t *testing.T) {
	c := contain(t, containedConfig+"[pool.other]\ncommand = [\"sleep\", \"1000\"]\nupdate.min_healthy_time = \"10ms\"\n")
	c.up("w/0", "w/1")
	c.running("other/0")
	newer, err := variants["2.2"]()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(newer)
	if err != nil {
		t.Fatal(err)
	}
	if err := putProgram(c.dir+"/superd-2.2", data); err != nil {
		t.Fatal(err)
	}
	pids := func() string { return fmt.Sprint(c.worker("w", 0)["pid"], c.worker("w", 1)["pid"]) }
	before := pids()
	c.must("upgrade", "--binary", c.dir+"/superd-2.2")
	c.until("there is another keeper", func() bool { return c.status("superd", "keeper_pid") != 1.0 })
	next := c.outside(fmt.Sprint(c.status("superd", "keeper_pid")))
	c.must("restart", "other")
	if now := pids(); now != before {
		t.Errorf("workers were %s, and are %s", before, now)
	}
	parent, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.outside(fmt.Sprint(c.worker("other", 0)["pid"]))))
	if !strings.Contains(string(parent), fmt.Sprintf("\nPPid:\t%d\n", next)) {
		t.Errorf("the new run is not the newer keeper's, %d:\n%s", next, parent)
	}
	c.must("restart", "w") // the first process has no run any more
	c.crash()              // and starts the superd of its own path, which is the older one
	if before = pids(); !lives(c.first) {
		t.Fatal("the first process has ended with its last run")
	}
	c.must("upgrade", "--binary", c.dir+"/superd-2.2")
	if now := pids(); now != before {
		t.Errorf("workers were %s, and are %s", before, now)
	}
	c.must("shutdown")
	c.ends(0)
	if lives(next) {
		t.Error("the other keeper is left")
	}
}

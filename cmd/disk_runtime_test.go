package cmd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRuntimeDirFull: what lives is supervised as ever, since its records have their
// room. What is new is started too, and it is said that it is not recorded. A superd
// that is killed meanwhile is followed by one that knows all of it, from the keeper
// and state_dir.
func TestRuntimeDirFull(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	pools := `
[defaults]
update.min_healthy_time = "50ms"
restart = { delay = "50ms", attempts = 1000 }
[pool.w]
command = "sleep 1000"
count = 3
[pool.idle]
command = "sleep 1000"
`
	d := newDaemon(t, pools)
	tmpfs(t, d.dir+"/run", "size=4m")
	d.up()
	d.state("w/2", "running")
	d.state("idle/0", "running")
	release := fill(t, d.dir+"/run")

	d.restarts("w/0")
	d.must("stop", "idle")
	if was := d.degraded(); was != "" {
		t.Errorf("degraded by what there was room for: %s", was)
	}
	d.must("restart", "w")
	// More than there is room for: workers, a larger revision, a pool.
	d.must("scale", "w=40")
	for _, want := range []string{"no space left on device", "tried again"} {
		if was := d.degraded(); !strings.Contains(was, want) {
			t.Errorf("degraded says %q, without %q", was, want)
		}
	}
	d.configure(pools + "env = { LONG = '" + strings.Repeat("x", 8000) + "' }\n[pool.new]\ncommand = 'sleep 1000'\n")
	d.must("apply")
	d.must("stop", "w/1")
	d.must("start", "idle")
	d.must("scale", "idle=2")
	pids := d.pids()
	if len(pids) != 39+2+1 {
		t.Errorf("there are %d workers", len(pids))
	}
	d.crash()
	d.up()
	if after := d.pids(); fmt.Sprint(after) != fmt.Sprint(pids) {
		t.Errorf("after a crash there are\n%v, and there were\n%v", after, pids)
	}
	d.must("stop", "w/2")
	d.must("start", "w/1")
	release()
	d.within("all is recorded", func() bool { return !strings.Contains(d.degraded(), "no space") }, d.degraded)
	// Now all of it is recorded: with neither of both the records are all there is.
	pids = d.pids()
	d.crash()
	d.killKeeper()
	must(t, os.RemoveAll(d.dir+"/state"))
	d.up()
	if after := d.pids(); fmt.Sprint(after) != fmt.Sprint(pids) {
		t.Errorf("after the end of both there are\n%v, and there were\n%v", after, pids)
	}
	d.must("shutdown", "--now")
	d.exits()
}

// TestRuntimeDirWithoutInodes: a FIFO cannot be made, so a run cannot be started. It is
// said why, and tried again.
func TestRuntimeDirWithoutInodes(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	d := newDaemon(t, `
[defaults]
update.min_healthy_time = "50ms"
restart = { delay = "50ms", attempts = 1000 }
[pool.w]
command = "sleep 1000"
[pool.more]
command = "sleep 1000"
autostart = false
`)
	run := d.dir + "/run"
	tmpfs(t, run, "nr_inodes=100")
	d.up()
	lives := d.state("w/0", "running")
	var st unix.Statfs_t
	must(t, unix.Statfs(run, &st))
	must(t, unix.Mount("none", run, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("nr_inodes=%d", st.Files-st.Ffree)))
	d.must("start", "--no-wait", "more")
	d.event("cannot start: cannot make FIFO")
	d.event("no space left on device")
	d.crash()
	d.up()
	d.event("cannot start: cannot make FIFO")
	if d.state("w/0", "running") != lives {
		t.Error("w/0 is another one")
	}
	must(t, unix.Mount("none", run, "tmpfs", unix.MS_REMOUNT, "nr_inodes=200"))
	d.state("more/0", "running")
	d.well()
	d.must("shutdown", "--now")
	d.exits()
}

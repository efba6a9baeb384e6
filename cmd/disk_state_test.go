package cmd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const statePools = `
[defaults]
update.min_healthy_time = "50ms"
restart = { delay = "50ms", attempts = 1000 }
[pool.a]
command = "sleep 1000"
count = 2
[pool.b]
command = "sleep 1000"
`

// goesOn does what an operator does, and what a worker may do, beside a state_dir that
// is of no use. Afterwards a has 3 workers, and b is stopped.
func (d *daemon) goesOn() {
	d.t.Helper()
	d.must("scale", "a=3")
	d.must("stop", "b")
	d.restarts("a/0")
	d.must("restart", "a")
}

// wants checks that a has 3 workers and b is stopped.
func (d *daemon) wants() {
	d.t.Helper()
	d.state("a/2", "running")
	if state, _ := d.worker("b/0"); state != "stopped" {
		d.t.Errorf("b/0 is %s, and was to stay stopped", state)
	}
}

// TestStateDirUnwritable: full or read-only, nobody is held up, it is said, and what
// was desired meanwhile is in the file as soon as it can be, by itself; a superd that
// is killed and started in the midst of it knows as much.
func TestStateDirUnwritable(t *testing.T) {
	for _, c := range []struct{ name, says string }{
		{"full", "no space left on device"},
		{"readonly", "read-only file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ownMounts(t)
			d := newDaemon(t, statePools)
			dir := d.dir + "/state"
			tmpfs(t, dir, "size=2m")
			// No page that the file has is to be free: all of it is used, and grows.
			d.up()
			d.state("a/1", "running")
			d.state("b/0", "running")
			var release func()
			spoil := func() {
				if c.name == "full" {
					release = fill(t, dir)
					return
				}
				must(t, unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
				release = func() { must(t, unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "")) }
			}
			if c.name == "readonly" {
				// What is open for writing keeps a file system writable: superd that starts
				// finds it so.
				d.crash()
				spoil()
				d.up()
			} else {
				spoil()
			}
			d.goesOn()
			d.swell(c.says)
			d.event("superd.degraded")
			d.crash()
			d.up()
			d.wants()
			if c.name == "readonly" {
				d.degradedBy(c.says)
			} else {
				d.swell(c.says)
			}
			release()
			d.well()
			// It is in the file: nothing else is left.
			pids := d.pids()
			d.crash()
			d.killKeeper()
			for _, pid := range pids {
				signal(t, pid, unix.SIGKILL)
			}
			must(t, os.RemoveAll(d.dir+"/run"))
			d.up()
			d.wants()
			d.must("shutdown")
			d.exits()
		})
	}
}

// degradedBy waits until status says that something does not work.
func (d *daemon) degradedBy(text string) {
	d.t.Helper()
	d.within("degraded: "+text, func() bool { return strings.Contains(d.degraded(), text) }, d.degraded)
}

// swell has superd write more and more to a full disk, until that says so.
func (d *daemon) swell(text string) {
	d.t.Helper()
	n := 0
	d.within("degraded: "+text, func() bool {
		if strings.Contains(d.degraded(), text) {
			return true
		}
		n++
		d.configure(statePools + fmt.Sprintf("[pool.c%d]\ncommand = 'true'\nautostart = false\nenv = { LONG = '%s' }\n", n, strings.Repeat("x", 60000)))
		d.must("apply")
		return false
	}, d.degraded)
}

// TestStateDirHangs: a disk that does not answer is said so, and holds up nobody for
// longer than was promised: superctl, a superd that is killed and cannot end, the one
// that follows it, and its end.
func TestStateDirHangs(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	d := newDaemon(t, statePools)
	disk := freezable(t, d.dir+"/state")
	d.up()
	t.Cleanup(disk.thaw) // before superd is waited for
	d.state("a/1", "running")
	disk.freeze()
	d.goesOn()
	d.degradedBy("state.db: the disk does not answer (kept in memory until it does)")
	if out, code := d.superctl("upgrade"); code != 1 || !strings.Contains(out, "a disk does not answer") {
		t.Errorf("upgrade: exit code %d\n%s", code, out)
	}
	pids := d.pids()
	d.crashStuck()
	d.up()
	t.Cleanup(disk.thaw)
	if after := d.pids(); fmt.Sprint(after) != fmt.Sprint(pids) {
		t.Errorf("after a crash there are\n%v, and there were\n%v", after, pids)
	}
	d.degradedBy("cannot end: a disk does not answer it")
	d.degradedBy("/state: the disk does not answer (going on without)")
	d.must("scale", "a=4")
	disk.thaw()
	d.well()

	disk.freeze()
	d.must("scale", "a=3")
	d.degradedBy("does not answer")
	d.must("--timeout", "50s", "shutdown")
	disk.thaw()
	d.exits()
	d.up()
	d.wants()
	d.well()
	d.must("shutdown")
	d.exits()
}

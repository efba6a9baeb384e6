package cmd_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// logPools are two pools that print numbers as fast as a disk's faults need it, and
// one whose log is on another disk.
var logPools = `
[defaults]
update.min_healthy_time = "50ms"
restart = { delay = "50ms", attempts = 1000 }
command = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i` + padding + `; [ $((i%200)) != 0 ] || sleep 0.05; done"]
kill_timeout = "5s"
[pool.drop]
[pool.block]
log.on_full = "block"
[pool.other]
`

// TestLogDirFull: lines that have no room are dropped, counted, told of by a line in
// the file and by an event; with on_full = "block" the worker waits, and can be
// stopped. Another disk's logs go on, and so do these when there is room again.
func TestLogDirFull(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	d := newDaemon(t, logPools+"[pool.rotates]\nlog = { max_size = \"64K\", keep = 2, compress = true }\n")
	full := map[string]func(){}
	for _, pool := range []string{"drop", "block", "rotates"} {
		tmpfs(t, d.dir+"/log/"+pool, "size=2m")
	}
	d.up()
	for _, pool := range []string{"drop", "block", "rotates", "other"} {
		d.state(pool+"/0", "running")
		d.grows(pool + "/0.log")
	}
	for _, pool := range []string{"drop", "block", "rotates"} {
		full[pool] = fill(t, d.dir+"/log/"+pool)
	}
	d.event("no space left on device; lines are dropped until it can be written")
	d.event(`on_full is "block": the worker waits`)
	d.grows("other/0.log")
	// In the midst of it superd is killed, and who waits can be stopped.
	d.crash()
	d.up()
	d.grows("other/0.log")
	d.must("--timeout", "20s", "stop", "block")
	for _, release := range full {
		release()
	}
	for _, pool := range []string{"drop", "rotates", "other"} {
		d.grows(pool + "/0.log")
	}
	d.within("log.dropped tells how much", func() bool {
		for line := range strings.Lines(d.must("events", "--json")) {
			if strings.Contains(line, `"log.dropped"`) && strings.Contains(line, `"pool":"drop"`) && !strings.Contains(line, `"bytes":0`) {
				return true
			}
		}
		return false
	}, func() string { return d.must("events") })
	d.must("stop", "drop", "other", "rotates")
	if _, told := numbered(t, d.log("drop/0.log")); told == 0 {
		t.Error("no line tells of what was dropped")
	}
	if _, told := numbered(t, d.log("other/0.log")); told != 0 {
		t.Error("lines were dropped on another disk")
	}
	if _, told := numbered(t, d.log("block/0.log")); told != 0 {
		t.Error("lines were dropped in spite of on_full = block")
	}
	d.must("shutdown")
	d.exits()
}

// TestLogDirHangs: the logs on a disk that does not answer stand still, and nothing
// else: its workers can be stopped, other logs go on, superctl is answered, a superd
// that is killed is followed by another one. When the disk answers, everything that
// was printed is in the files, once and in order.
func TestLogDirHangs(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	d := newDaemon(t, strings.ReplaceAll(logPools, "sleep 0.05", "sleep 0.2")+"[pool.ends]\n")
	disk := freezable(t, d.dir+"/log")
	tmpfs(t, d.dir+"/log/other", "size=8m")
	d.up()
	t.Cleanup(disk.thaw)
	for _, pool := range []string{"drop", "block", "ends", "other"} {
		d.state(pool+"/0", "running")
		d.grows(pool + "/0.log")
	}
	disk.freeze()
	d.event("the disk hangs")
	d.grows("other/0.log")
	d.must("--timeout", "20s", "stop", "ends")
	d.must("--timeout", "20s", "logs", "-n", "5", "block")
	if out, code := d.superctl("upgrade"); code != 1 || !strings.Contains(out, "does not answer") && !strings.Contains(out, "in flight") {
		t.Errorf("upgrade: exit code %d\n%s", code, out)
	}
	pids := d.pids()
	d.crashStuck()
	d.up()
	t.Cleanup(disk.thaw)
	if after := d.pids(); fmt.Sprint(after) != fmt.Sprint(pids) {
		t.Errorf("after a crash there are\n%v, and there were\n%v", after, pids)
	}
	d.grows("other/0.log")
	d.event("the disk hangs")
	d.must("--timeout", "20s", "stop", "block")
	disk.thaw()
	d.well()
	d.grows("drop/0.log")
	d.must("stop", "drop", "other")
	for _, pool := range []string{"drop", "block", "ends", "other"} {
		numbered(t, d.log(pool+"/0.log"))
	}
	d.must("start", "drop")
	disk.freeze()
	d.must("--timeout", "50s", "shutdown")
	disk.thaw()
	d.exits()
	h := host{dir: d.dir}
	if left := h.processes(); len(left) > 0 {
		t.Errorf("these are left: %v", left)
	}
}

// TestLogWriteHangs: the same inside of a write, on a file system that has begun with
// it and does not come to an end, and then on one that fails in every way.
func TestLogWriteHangs(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	d := newDaemon(t, logPools)
	disk := newHostile(t, d.dir+"/log/drop")
	d.up()
	t.Cleanup(disk.mend)
	d.state("drop/0", "running")
	d.grows("other/0.log")
	d.until("there is a log", func() bool { return len(d.log("drop/0.log")) > 1000 })
	for _, f := range []fault{fault(unix.EIO), fault(unix.EDQUOT), fault(unix.EROFS), fault(unix.ENOSPC), dead} {
		seen := len(d.must("events"))
		disk.breaks(func(op uint32, _ string) fault {
			if op == fuseWrite {
				return f
			}
			return fine
		})
		if f == dead {
			d.within("it hangs", func() bool { return strings.Contains(d.must("events")[seen:], "the disk hangs") }, func() string { return d.must("events") })
			d.grows("other/0.log")
			d.crashStuck()
			d.up()
			t.Cleanup(disk.mend)
			d.grows("other/0.log")
			d.must("--timeout", "20s", "stop", "drop")
		} else {
			d.within("it is told", func() bool {
				return strings.Contains(d.must("events")[seen:], unix.Errno(f).Error()+"; lines are dropped")
			}, func() string { return d.must("events") })
		}
		disk.mend()
		if f != dead {
			d.grows("drop/0.log")
		}
	}
	d.well()
	d.must("stop", "other")
	d.must("shutdown")
	d.exits()
	if _, told := numbered(t, d.log("drop/0.log")); told < 2 {
		t.Errorf("%d lines tell of what was dropped", told)
	}
	numbered(t, d.log("other/0.log"))
}

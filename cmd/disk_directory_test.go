package cmd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDirectoryHangs: a start that hangs in a pool's directory, or in its program,
// hangs alone. It is ended at its deadline, says where it hung, and is tried again;
// it can be stopped; whoever has another directory by then need not wait.
func TestDirectoryHangs(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	pool := `
[pool.%s]
command = "%s"
directory = "%s"
update.min_healthy_time = "50ms"
restart = { delay = "50ms", attempts = 1000 }
`
	d := newDaemon(t, "")
	h := newHostile(t, d.dir+"/hung")
	for _, dir := range []string{"asked", "entered", "ran"} {
		must(t, os.Mkdir(d.dir+"/hung/"+dir, 0o755))
	}
	program, err := os.ReadFile("/bin/sleep")
	must(t, err)
	must(t, os.WriteFile(d.dir+"/hung/ran/sleep", program, 0o755))
	good := fmt.Sprintf(pool, "good", "sleep 1000", "/")
	moved := fmt.Sprintf(pool, "moved", "sleep 1000", d.dir+"/hung/asked")
	rest := fmt.Sprintf(pool, "asked", "sleep 1000", d.dir+"/hung/asked") +
		fmt.Sprintf(pool, "stopped", "sleep 1000", d.dir+"/hung/asked") +
		fmt.Sprintf(pool, "ran", d.dir+"/hung/ran/sleep 1000", "/")
	d.configure(good + moved + rest)
	h.breaks(func(op uint32, name string) fault { return hang })
	d.up()
	d.state("good/0", "running")
	d.state("asked/0", "starting")
	d.must("--timeout", "20s", "stop", "stopped")
	d.restarts("good/0")
	// Whoever points the pool somewhere else is served at once.
	d.configure(good + fmt.Sprintf(pool, "moved", "sleep 1000", "/") + rest)
	d.must("--timeout", "20s", "apply", "--no-wait")
	d.state("moved/0", "running")
	d.crash()
	d.up()
	d.state("good/0", "running")
	// It takes the minute that a start may take.
	late := time.Now().Add(2 * patience)
	for _, want := range []string{"asked/0        cannot start: its program was not executed within 1m (directory: directory " + d.dir + "/hung/asked: the disk does not answer)",
		"ran/0          cannot start: its program was not executed within 1m (exec: " + d.dir + "/hung/ran/sleep: the disk does not answer)"} {
		for !strings.Contains(d.must("events"), want) {
			if time.Now().After(late.Add(2 * patience)) {
				t.Fatalf("no event %q in\n%s", want, d.must("events"))
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	d.must("--timeout", "20s", "stop", "asked")
	d.must("start", "--no-wait", "asked")
	h.mend()
	d.state("asked/0", "running")
	d.state("ran/0", "running")
	d.must("start", "stopped")

	// The disk answers, and hangs when the worker's process enters the directory.
	must(t, os.Mkdir(d.dir+"/hung/late", 0o755))
	d.configure(good + fmt.Sprintf(pool, "late", "sleep 1000", d.dir+"/hung/late"))
	asked := 0
	h.breaks(func(op uint32, name string) fault {
		if op == fuseLookup && name == "late" {
			if asked++; asked > 2 { // superd resolves it, and looks what disk it is on
				return hang
			}
		}
		return fine
	})
	d.must("apply", "--no-wait")
	d.within("the stage hangs", func() bool { state, pid := d.worker("late/0"); return state == "starting" && pid != 0 }, d.output)
	d.restarts("good/0")
	d.must("--timeout", "20s", "stop", "late")
	h.mend()
	d.must("start", "late")
	d.must("shutdown")
	d.exits()
}

// TestVanished: what a worker needs is taken away while it runs: its next start fails
// and says why, and when it is there again the worker starts by itself.
func TestVanished(t *testing.T) {
	t.Parallel()
	ownMounts(t)
	d := newDaemon(t, "")
	base := d.dir + "/app"
	for _, dir := range []string{"directory", "command"} {
		must(t, os.MkdirAll(base+"/"+dir, 0o755))
	}
	program, err := os.ReadFile("/bin/sleep")
	must(t, err)
	must(t, os.WriteFile(base+"/command/sleep", program, 0o755))
	must(t, os.WriteFile(base+"/env", []byte("A=b\n"), 0o644))
	passwd, err := os.ReadFile("/etc/passwd")
	must(t, err)
	users := d.dir + "/passwd"
	must(t, os.WriteFile(users, []byte(string(passwd)+"superd-gone:x:71099:65534::/:/bin/sh\n"), 0o644))
	must(t, unix.Mount(users, "/etc/passwd", "", unix.MS_BIND, ""))
	unmount(t, "/etc/passwd")
	d.configure(strings.ReplaceAll(`
[defaults]
command = "sleep 1000"
update.min_healthy_time = "50ms"
restart = { delay = "100ms", attempts = 10000 }
[pool.directory]
directory = "@/directory"
[pool.command]
command = "@/command/sleep 1000"
[pool.env]
env_file = "@/env"
[pool.user]
user = "superd-gone"
[pool.log]
command = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"]
`, "@", base))
	d.up()
	gone := []string{"directory", "command", "env"}
	for _, pool := range append(gone, "user", "log") {
		d.state(pool+"/0", "running")
	}
	d.grows("log/0.log")
	for _, name := range gone {
		must(t, os.Rename(base+"/"+name, base+"/away-"+name))
		signal(t, d.state(name+"/0", "running"), unix.SIGKILL)
	}
	must(t, os.RemoveAll(d.dir+"/log/log"))
	d.event("cannot start: directory " + base + "/directory: no such file or directory")
	d.event(base + "/command/sleep: no such file or directory")
	d.event("cannot start: cannot read env_file " + base + "/env: no such file or directory")
	d.grows("log/0.log")
	// The user is known for a while, by this superd.
	must(t, os.WriteFile(users, passwd, 0o644))
	d.restarts("user/0")
	d.crash()
	signal(t, firstOf(t, d, "user"), unix.SIGKILL)
	d.up()
	d.event(`cannot start: cannot find user "superd-gone"`)
	must(t, os.WriteFile(users, []byte(string(passwd)+"superd-gone:x:71099:65534::/:/bin/sh\n"), 0o644))
	for _, name := range gone {
		must(t, os.Rename(base+"/away-"+name, base+"/"+name))
	}
	for _, pool := range append(gone, "user", "log") {
		d.state(pool+"/0", "running")
	}
	d.well()
	d.must("shutdown")
	d.exits()
}

// firstOf is the pid of a pool's worker, for when superd does not live.
func firstOf(t *testing.T, d *daemon, pool string) int {
	t.Helper()
	h := host{dir: d.dir}
	for _, pid := range h.processes() {
		if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); strings.Contains(string(env), "SUPERD_POOL="+pool+"\x00") {
			return pid
		}
	}
	t.Fatal("there is no worker of " + pool)
	return 0
}

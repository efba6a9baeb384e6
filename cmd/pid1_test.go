package cmd_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const containedConfig = `
[pool.w]
command = ["sh", "-c", "trap 'echo gone by TERM; sleep 0.2; exit 0' TERM; echo up; while :; do sleep 0.05; done"]
count = 2
stop_sequence = ["TERM 60s", "KILL"]
update.min_healthy_time = "10ms"
`

// TestContainer: superd dies, and is there again, and nobody has noticed.
func TestContainer(t *testing.T) {
	c := contain(t, containedConfig+`
[pool.mortal]
command = ["sh", "-c", "trap 'echo last words; exit 7' TERM; echo up; while :; do sleep 0.05; done"]
restart.delay = "1h"
restart.max_delay = "1h"
[pool.told]
command = ["sh", "-c", "trap 'echo told' USR1; echo up; while :; do sleep 0.05; done"]
forward = { USR1 = "USR1" }
[pool.loud]
command = ["sh", "-c", "echo hello; exec sleep 1000"]
log.target = "inherit"
`)
	c.up("w/0", "w/1", "mortal/0", "told/0")
	c.says("loud/0 | hello")
	pids := func() string { return fmt.Sprint(c.worker("w", 0)["pid"], c.worker("w", 1)["pid"]) }
	before := pids()
	c.crash()
	c.crash()
	if now := pids(); now != before || c.status("superd", "adopted") != 5.0 {
		t.Errorf("workers were %s, and are %s; %v adopted", before, now, c.status("superd", "adopted"))
	}
	c.says("has ended: signal SIGKILL (the next one is started")

	// While the first process is stopped no superd follows. Calls wait; signals and
	// the ends of workers are not lost.
	mortal := c.outside(fmt.Sprint(c.worker("mortal", 0)["pid"]))
	old := c.superd()
	c.kill(c.first, syscall.SIGSTOP)
	c.kill(old, syscall.SIGKILL)
	c.kill(mortal, syscall.SIGTERM)
	c.until("superd and a worker have ended", func() bool { return !lives(old) && !lives(mortal) })
	c.kill(c.first, syscall.SIGHUP)
	c.kill(c.first, syscall.SIGUSR1)
	called := make(chan string)
	go func() {
		out, code := c.superctl("--timeout", "60s", "status")
		called <- fmt.Sprint(code, out)
	}()
	c.kill(c.first, syscall.SIGCONT)
	if answer := <-called; !strings.HasPrefix(answer, "0") {
		t.Errorf("a call of meanwhile is answered %s", answer)
	}
	c.until("the end of meanwhile is known", func() bool {
		exit, _ := c.worker("mortal", 0)["last_exit"].(map[string]any)
		return exit["code"] == 7.0
	})
	c.until("last words are written", func() bool { return c.file("log/mortal/0.log") == "up\nlast words\n" })
	c.until("HUP is heeded", func() bool { return strings.Contains(c.must("events"), "config.applied") })
	c.until("USR1 is passed on", func() bool { return c.file("log/told/0.log") == "up\ntold\n" })
	if now := pids(); now != before {
		t.Errorf("workers were %s, and are %s", before, now)
	}

	if out, code := c.superctl("shutdown", "--detach"); code != 1 || !strings.Contains(out, "the container ends when superd has ended") {
		t.Errorf("to detach is answered %d, %s", code, out)
	}
	c.kill(c.first, syscall.SIGTERM)
	c.ends(0)
	if got := c.file("log/w/0.log"); got != "up\ngone by TERM\n" {
		t.Errorf("a worker was stopped like this: %q", got)
	}
	if _, err := os.Lstat(c.dir + "/run/keeper.sock"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the keeper's socket is left")
	}
}

// TestContainerReaps: whatever loses its parent is the first process's child, whoever
// has brought it into the container, and none stays a zombie.
func TestContainerReaps(t *testing.T) {
	c := contain(t, `[pool.forks]
command = ["sh", "-c", "while :; do (setsid sh -c 'sleep 0.02; echo x; exit 3' &); sleep 0.01; done"]
[pool.exits]
command = ["sh", "-c", "(setsid sleep 1000 > /dev/null 2>&1 &); exit 3"]
restart = { attempts = 2, interval = "10m", delay = "1ms", mode = "fail" }
kill_scope = "process"
`)
	c.running("forks/0")
	enter := exec.Command("nsenter", "-t", strconv.Itoa(c.init()), "-p", "-m", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sleep 0.01 &) ; done")
	if out, err := enter.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.until("there have been many orphans", func() bool { return len(c.file("log/forks/0.log")) > 100 })
	c.until("exits are counted", func() bool { return c.worker("exits", 0)["state"] == "failed" })
	exit, _ := c.worker("exits", 0)["last_exit"].(map[string]any)
	if exit["code"] != 3.0 {
		t.Errorf("exit status of a worker: %v", exit)
	}
	c.must("stop", "forks")
	c.until("nobody is a zombie", func() bool {
		for _, pid := range allDescendants(c.first) {
			if !lives(pid) {
				return false
			}
		}
		return true
	})
	left := 0
	for _, pid := range allDescendants(c.first) {
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); string(line) == "sleep\x001000\x00" {
			left++
		}
	}
	if left != 3 { // one of each run of exits, which kill_scope spares
		t.Errorf("%d processes that were left on purpose live", left)
	}
	c.kill(c.first, syscall.SIGINT)
	c.ends(0)
}

// TestContainerExitCodes: superd's code is the container's.
func TestContainerExitCodes(t *testing.T) {
	for name, want := range map[string]struct {
		text string
		code int
		says string
	}{
		"essential failed": {"[pool.e]\ncommand = \"false\"\nessential = true\nrestart.on = \"never\"\n", 10, "the essential pool e failed"},
		"essential done":   {"[pool.e]\ncommand = \"true\"\nessential = true\nrestart.on = \"failure\"\n", 0, "the essential pool e has completed"},
		"configuration":    {"[pool.e]\ncommand = \"true\"\ncolour = \"blue\"\n", 2, "superd.toml:7:1: pool.e.colour"},
	} {
		t.Run(name, func(t *testing.T) {
			c := contain(t, want.text+"[pool.other]\ncommand = \"sleep 1000\"\n")
			c.ends(want.code)
			if !strings.Contains(c.said(), want.says) {
				t.Errorf("it did not say %q", want.says)
			}
		})
	}
	t.Run("folder", func(t *testing.T) {
		c := &container{daemon: newDaemon(t, "")}
		c.install()
		if err := os.WriteFile(c.dir+"/run", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c.run()
		c.ends(1)
		if !strings.Contains(c.said(), "cannot make runtime_dir") {
			t.Error("it did not say why")
		}
	})
	t.Run("proc", func(t *testing.T) {
		c := &container{daemon: newDaemon(t, "")}
		c.launch(exec.Command("unshare", "-p", "-f", "--kill-child", c.program(), "-c", c.dir+"/superd.toml"))
		c.ends(1)
		if !strings.Contains(c.said(), "cannot be the first process of a container: /proc is that of another pid namespace") {
			t.Error("it did not say why")
		}
	})
}

// TestContainerStopGoesOn: superd is killed while it stops its workers, and so is what
// goes on with that. None is killed for that, and none is started again.
func TestContainerStopGoesOn(t *testing.T) {
	c := contain(t, `[pool.slow]
command = ["sh", "-c", "trap 'echo asked; while [ ! -e go ]; do sleep 0.05; done; echo done; exit 0' TERM; echo up; while :; do sleep 0.05; done"]
directory = "@DIR@"
stop_sequence = ["TERM 10m", "KILL"]
[pool.quick]
command = ["sh", "-c", "echo started; exec sleep 1000"]
`)
	c.up("slow/0")
	c.running("quick/0")
	superd := c.superd()
	c.kill(c.init(), syscall.SIGTERM)
	for i := range 3 {
		c.until("the worker is being stopped", func() bool {
			return c.worker("slow", 0)["state"] == "stopping" && strings.Contains(c.file("log/slow/0.log"), "asked") && c.worker("quick", 0)["pid"] == nil
		})
		if i < 2 {
			before := superd
			c.kill(superd, syscall.SIGKILL)
			c.until("somebody else answers", func() bool { superd = c.superd(); return superd != before })
		}
	}
	if err := os.WriteFile(c.dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.ends(0)
	if got := c.file("log/slow/0.log"); got != "up\nasked\ndone\n" {
		t.Errorf("the worker was stopped like this: %q", got)
	}
	if got := c.file("log/quick/0.log"); got != "started\n" {
		t.Errorf("another worker was started again: %q", got)
	}
}

// TestContainerBrokenConfiguration: superd dies when its configuration is broken. What
// runs goes on, and can be stopped, each worker in its own way.
func TestContainerBrokenConfiguration(t *testing.T) {
	c := contain(t, containedConfig)
	c.up("w/0", "w/1")
	pid := c.outside(fmt.Sprint(c.worker("w", 0)["pid"]))
	good := c.file("superd.toml")
	write := func(text string) {
		if err := os.WriteFile(c.dir+"/superd.toml", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	superd := c.superd()
	write("[superd]\ncolour = \"blue\"\n")
	c.kill(superd, syscall.SIGKILL)
	c.says("has ended: exit code 2 (the next one is started in")
	write(good)
	c.crash()
	if !lives(pid) {
		t.Error("a worker paid for a broken configuration")
	}
	superd = c.superd()
	write("[superd]\ncolour = \"blue\"\n")
	c.kill(superd, syscall.SIGKILL)
	c.says("colour")
	c.kill(c.first, syscall.SIGTERM)
	c.ends(0)
	if got := c.file("log/w/1.log"); got != "up\ngone by TERM\n" {
		t.Errorf("a worker was stopped like this: %q", got)
	}
}

// TestContainerHopelessSuperd: what is at superd's place dies at once, time and again,
// is not there at all, or is whole again. Workers go on; the container can be ended.
func TestContainerHopelessSuperd(t *testing.T) {
	c := contain(t, containedConfig)
	c.up("w/0", "w/1")
	pid := c.outside(fmt.Sprint(c.worker("w", 0)["pid"]))
	superd := c.superd()
	hopeless := "#!/bin/sh\necho $NOTHING >> " + c.dir + "/starts\nkill -9 $$\n"
	c.place(hopeless)
	c.kill(superd, syscall.SIGKILL)
	c.says("has ended: signal SIGKILL (the next one is started in 1s)")
	if n := len(c.file("starts")); n > 20 {
		t.Errorf("%d were started before there was a second between two", n)
	}
	if err := os.Remove(c.dir + "/bin/superd"); err != nil {
		t.Fatal(err)
	}
	c.says("the program that was started first is taken")
	c.running("w/1")
	c.install()
	c.crash()
	if !lives(pid) {
		t.Error("a worker has ended")
	}
	superd = c.superd()
	c.place(hopeless)
	c.kill(superd, syscall.SIGKILL)
	c.kill(c.first, syscall.SIGTERM)
	c.ends(0)
	if got := c.file("log/w/1.log"); got != "up\ngone by TERM\n" {
		t.Errorf("a worker was stopped like this: %q", got)
	}
}

// TestContainerStartedAgain: the same folders in another namespace, as after a restart
// of the container: the same boot, other processes with the same numbers. Nobody is
// taken for a worker who is none.
func TestContainerStartedAgain(t *testing.T) {
	c := contain(t, containedConfig)
	c.running("w/1")
	c.kill(c.init(), syscall.SIGKILL)
	c.exits()
	if err := os.WriteFile(c.dir+"/strangers", []byte(`i=0
while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done
echo "$!" > last
exec "$@"
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("sh", c.dir+"/strangers")
	c.running("w/1")
	strangers := 0
	for _, pid := range allDescendants(c.init()) {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(name) == "sleep\n" && inside(pid) <= 101 {
			strangers++
		}
	}
	if strangers != 100 {
		t.Errorf("%d of 100 strangers live", strangers)
	}
	for i := range 2 {
		w := c.worker("w", i)
		if pid, _ := w["pid"].(float64); pid <= 101 || w["last_exit"] != nil {
			t.Errorf("w/%d after a start of the container: %v", i, w)
		}
	}
	c.kill(c.first, syscall.SIGTERM)
	c.ends(0)
}

// TestContainerUpgrade: superd is replaced in its place, and the first process stays.
func TestContainerUpgrade(t *testing.T) {
	c := contain(t, containedConfig)
	c.running("w/1")
	superd, worker := c.superd(), fmt.Sprint(c.worker("w", 0)["pid"])
	c.install()
	c.must("upgrade")
	c.until("the upgrade is told", func() bool { return strings.Contains(c.must("events"), "superd.upgraded") })
	if c.superd() != superd || fmt.Sprint(c.worker("w", 0)["pid"]) != worker {
		t.Error("superd or a worker is another one")
	}
	if out, code := c.superctl("shutdown", "--detach"); code != 1 {
		t.Errorf("to detach is answered %d, %s", code, out)
	}
	c.kill(c.init(), syscall.SIGHUP)
	c.until("HUP is heeded", func() bool { return strings.Contains(c.must("events"), "config.applied") })
	c.crash()
	c.until("workers are the same", func() bool { return fmt.Sprint(c.worker("w", 0)["pid"]) == worker })
	c.must("shutdown")
	c.ends(0)
}

// TestContainerFolderDeleted: runtime_dir is deleted. Its keeper cannot be replaced,
// and makes its socket again when it is asked.
func TestContainerFolderDeleted(t *testing.T) {
	c := contain(t, containedConfig+"forward = { USR1 = \"KILL\" }\n")
	c.running("w/1")
	superd, worker := c.superd(), fmt.Sprint(c.worker("w", 0)["pid"])
	c.kill(c.first, syscall.SIGSTOP)
	c.kill(superd, syscall.SIGKILL)
	if err := os.RemoveAll(c.dir + "/run"); err != nil {
		t.Fatal(err)
	}
	c.kill(c.first, syscall.SIGCONT)
	c.running("w/1")
	if now := fmt.Sprint(c.worker("w", 0)["pid"]); now != worker {
		t.Errorf("the worker was %s, and is %s", worker, now)
	}
	if err := os.RemoveAll(c.dir + "/run"); err != nil {
		t.Fatal(err)
	}
	c.until("the folder is made again", func() bool {
		_, err := os.Lstat(c.dir + "/run/keeper.sock")
		return err == nil
	})
	c.crash()
	if c.status("superd", "keeper_pid") != 1.0 {
		t.Errorf("the keeper is %v", c.status("superd", "keeper_pid"))
	}
	c.kill(c.first, syscall.SIGTERM)
	c.ends(0)
}

// TestContainerRights: few rights are enough, and root is not needed.
func TestContainerRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give up rights")
	}
	// Those that container engines leave to root.
	const usual = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap"
	for name, who := range map[string]struct {
		uid  int
		wrap []string
	}{
		"root without the rights to administrate": {0, []string{"--bounding-set=" + usual}},
		"an ordinary user":                        {stranger, []string{"--reuid=71023", "--regid=71023", "--clear-groups", "--bounding-set=-all"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := prepared(t, who.uid)
			c.run(append([]string{"setpriv", "--inh-caps=-all", "--no-new-privs"}, who.wrap...)...)
			c.survives()
		})
	}
}

// TestContainerImage: a root with nothing in it but superd, on an overlay as engines
// make it, read-only, and in a user namespace of somebody who is not root.
func TestContainerImage(t *testing.T) {
	if !mounts() {
		t.Skip("nothing can be mounted here")
	}
	const readOnly = "[superd]\nstate_dir = \"/run/lib\"\nlog_dir = \"/run/log\"\n"
	for name, image := range map[string]struct {
		uid                 int
		table, proc, script string
	}{
		"overlay":   {0, "", "rw", `mount -t overlay -o lowerdir=image,upperdir=tmp/upper,workdir=tmp/work overlay root`},
		"read-only": {0, readOnly, "ro", `mount --bind image root; mount -o remount,bind,ro root; mount -t tmpfs tmpfs root/run; mkdir root/run/lib root/run/log`},
		"rootless":  {stranger, "", "rw", `mount --bind image root`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := prepared(t, image.uid)
			c.image(image.table+`[pool.w]
command = ["/superctl", "events", "-f"]
log.target = "inherit"
count = 2
update.min_healthy_time = "10ms"
`, image.uid)
			line := []string{"unshare", "-p", "-f", "-m", "--propagation", "private", "--kill-child", "sh", "-c", "set -e; cd " + c.dir +
				"; mount -t tmpfs tmpfs tmp; mkdir tmp/upper tmp/work; " + image.script +
				"; mount -t proc -o " + image.proc + " proc root/proc; mount --bind /dev/null root/dev/null; exec env -i $(command -v chroot) root /superd -c /superd.toml"}
			if image.uid != 0 {
				c.wrap = []string{"setpriv", "--reuid=71023", "--regid=71023", "--clear-groups", "--inh-caps=-all"}
				line = append(append(slices.Clone(c.wrap), "unshare", "-U", "-r"), line[1:]...)
			}
			c.launch(exec.Command(line[0], line[1:]...))
			// Its files are to be seen through its processes alone.
			if err := os.Symlink(fmt.Sprintf("/proc/%d/root/run/superd", c.init()), c.dir+"/run"); err != nil {
				t.Fatal(err)
			}
			c.survives()
		})
	}
}

// TestContainerNotify: whoever runs the container and wants to be told how superd is,
// is told.
func TestContainerNotify(t *testing.T) {
	c := &container{daemon: newDaemon(t, containedConfig)}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: c.dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Parallel()
	c.run("env", "NOTIFY_SOCKET="+c.dir+"/notify", "WATCHDOG_USEC=3600000000", "WATCHDOG_PID=1", "LISTEN_PID=1", "LISTEN_FDS=1")
	c.running("w/0")
	heard := ""
	buf := make([]byte, 4096)
	_ = l.SetReadDeadline(time.Now().Add(2 * patience))
	for !strings.Contains(heard, "READY=1") || strings.Count(heard, "WATCHDOG=1") < 2 {
		n, err := l.Read(buf)
		if err != nil {
			t.Fatalf("%v; heard: %s", err, heard)
		}
		heard += string(buf[:n]) + "\n"
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.outside(fmt.Sprint(c.worker("w", 0)["pid"]))))
	if err != nil || bytes.Contains(env, []byte("SUPERD_INIT")) {
		t.Errorf("a worker has in its environment: %q, %v", env, err)
	}
	c.kill(c.init(), syscall.SIGTERM)
	c.ends(0)
}

// TestContainerDocument: superd takes the configurations that docs/containers.md shows.
func TestContainerDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```toml\n")[1:]
	if len(blocks) < 2 {
		t.Fatal("it shows none")
	}
	for _, b := range blocks {
		toml, _, _ := strings.Cut(b, "```")
		file := t.TempDir() + "/superd.toml"
		if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(bin+"/superd", "check", "-c", file).CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, toml)
		}
	}
}

// TestContainerEarlySignal: a signal that comes before there is a superd waits for it.
func TestContainerEarlySignal(t *testing.T) {
	c := contain(t, containedConfig)
	for name := ""; name != "superd-init\n"; time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.init()))
		if err != nil {
			t.Fatal(err)
		}
		name = string(data)
	}
	c.kill(c.first, syscall.SIGTERM)
	c.ends(0)
}

// TestContainerTerminal: who sits at the container's terminal and presses Ctrl-C ends
// it as by a signal.
func TestContainerTerminal(t *testing.T) {
	t.Parallel()
	c := &container{daemon: newDaemon(t, containedConfig)}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setsid", "-c", "unshare", "-p", "-f", "-m", "--mount-proc", "--kill-child", c.program(), "-c", c.dir+"/superd.toml")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	ended := make(chan struct{})
	c.cmd, c.ended = cmd, ended
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	said := make(chan string)
	go func() {
		var all bytes.Buffer
		all.ReadFrom(master) // until nobody has the terminal open
		said <- all.String()
	}()
	c.running("w/1")
	if _, err := master.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	c.ends(0)
	if text := <-said; !strings.Contains(text, "level=INFO msg=superd.stopping") {
		t.Errorf("the terminal shows %s", text)
	}
}

package systemd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// workers take two seconds to end after TERM; one of them has a cgroup of its own.
const configuration = `[pool.slow]
command = ["sh", "-c", "trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done"]
count = 2
stop_sequence = ["TERM 30s", "KILL"]
update.min_healthy_time = "100ms"

[pool.apart]
command = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
kill_scope = "cgroup"
update.min_healthy_time = "100ms"
`

// The limits are short, so that what is promised beyond them shows. Their own lengths
// are for people.
const quick = `[Service]
TimeoutStopSec=1s
WatchdogSec=3s
`

const healthy = "2 pools, 3/3 healthy"

// TestUnderSystemd lives through what docs/operations.md promises of superd under
// systemd, with the real one.
func TestUnderSystemd(t *testing.T) {
	l := newLab(t)
	l.build()
	l.install()
	for _, part := range []struct {
		name string
		does func(*lab)
	}{
		{"verify", verify},
		{"start", start},
		{"superd killed", superdKilled},
		{"keeper killed", keeperKilled},
		{"reload", reload},
		{"hangs", hangs},
		{"restart", restart},
		{"stop", stop},
		{"leftovers", leftovers},
		{"refused", refused},
		{"detached", detached},
		{"socket", socket},
		{"poweroff", poweroff},
		{"reboot", reboot},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			inner := *l
			inner.t = t
			part.does(&inner)
		})
		if !ok {
			return // what follows finds what this one has left
		}
	}
}

// build has superd and its units in the folder that outlives the machine.
func (l *lab) build() {
	l.t.Helper()
	share := filepath.Join(l.dir, "share")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", share+"/", "../../cmd/superd", "../../cmd/superctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		l.t.Fatalf("cannot build superd: %v\n%s", err, out)
	}
	files := map[string]string{"superd.toml": configuration, "quick.conf": quick}
	for _, name := range units {
		text, err := os.ReadFile(name)
		if err != nil {
			l.t.Fatal(err)
		}
		files[name] = string(text)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(share, name), []byte(text), 0o644); err != nil {
			l.t.Fatal(err)
		}
	}
}

// install puts them in place, as make install does.
func (l *lab) install() {
	l.t.Helper()
	l.run("sh", "-ec", `cp /lab/superd /lab/superctl /usr/local/bin/
		rm -rf /etc/superd; mkdir -p /etc/superd /etc/systemd/system/superd.service.d
		cp /lab/superd.toml /etc/superd/
		cp /lab/superd.service /lab/superd.socket /etc/systemd/system/
		cp /lab/quick.conf /etc/systemd/system/superd.service.d/
		systemctl daemon-reload`)
}

// configure has superd find another configuration.
func (l *lab) configure(text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, "share/superd.toml"), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.run("cp", "/lab/superd.toml", "/etc/superd/")
}

func verify(l *lab) {
	out, err := l.try("systemd-analyze", "verify", "--man=no", "superd.service", "superd.socket")
	if err != nil || strings.Contains(out, "superd.") {
		l.t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// start: systemctl start comes back when superd answers, and the status is a summary.
func start(l *lab) {
	l.run("systemctl", "start", "superd")
	l.run("superctl", "--timeout", "1s", "status")
	l.is("StatusText", healthy)
	superd, _, _ := l.status()
	if main := l.property("MainPID"); main != fmt.Sprint(superd) {
		l.t.Errorf("superd is pid %d, and the main pid is %s", superd, main)
	}
}

// back waits until a superd other than the one with that pid is there.
func (l *lab) back(old int) {
	l.t.Helper()
	l.until("another superd is ready", func() bool {
		return l.property("ActiveState") == "active" && l.property("MainPID") != "0"
	})
	l.is("StatusText", healthy)
	if now, _, _ := l.status(); now == old {
		l.t.Fatalf("superd is still pid %d", old)
	}
}

func superdKilled(l *lab) {
	for range 2 {
		superd, keeper, workers := l.status()
		l.kill("KILL", superd)
		l.until("it was noticed", func() bool { return !l.alive(superd) })
		l.back(superd)
		l.same(workers, "superd was killed")
		if _, now, _ := l.status(); now != keeper {
			l.t.Errorf("the keeper was pid %d and is pid %d", keeper, now)
		}
	}
}

func keeperKilled(l *lab) {
	superd, keeper, workers := l.status()
	l.kill("KILL", keeper)
	l.until("there is another keeper", func() bool {
		_, now, _ := l.status()
		return now != 0 && now != keeper
	})
	l.same(workers, "the keeper was killed")
	if now, _, _ := l.status(); now != superd {
		l.t.Errorf("superd went with it: pid %d, then %d", superd, now)
	}
	// And both.
	_, keeper, _ = l.status()
	l.run("sh", "-c", "kill -KILL $0 $1", l.property("MainPID"), l.run("cat", "/run/superd/keeper.pid"))
	l.until("both are gone", func() bool { return !l.alive(superd) && !l.alive(keeper) })
	l.back(superd)
	l.same(workers, "both were killed")
}

// reload: it says whether the configuration was accepted; HUP does it without a word.
func reload(l *lab) {
	_, _, workers := l.status()
	l.configure("[superd]\ncolour = \"blue\"\n" + configuration)
	if out, err := l.try("systemctl", "reload", "superd"); err == nil {
		l.t.Errorf("a refused configuration is no error: %s", out)
	}
	l.is("ActiveState", "active")
	l.configure(strings.Replace(configuration, "count = 2", "count = 3", 1))
	l.run("systemctl", "reload", "superd")
	l.is("StatusText", "2 pools, 4/4 healthy")
	l.is("ActiveState", "active")
	l.configure(configuration)
	l.run("systemctl", "kill", "--kill-who=main", "-s", "HUP", "superd")
	l.is("StatusText", healthy)
	l.is("ActiveState", "active")
	l.until("the third worker is gone", func() bool {
		_, _, now := l.status()
		return len(now) == len(workers)
	})
	l.same(workers, "the configuration was applied")
}

// hangs: a superd that does nothing any more is replaced.
func hangs(l *lab) {
	superd, _, workers := l.status()
	l.kill("STOP", superd)
	l.until("it is killed", func() bool { return !l.alive(superd) })
	l.back(superd)
	l.same(workers, "superd hung")
	if log := l.journal(); !strings.Contains(log, "watchdog") && !strings.Contains(log, "Watchdog") {
		l.t.Errorf("it was not the watchdog:\n%s", log)
	}
}

// restart stops all workers by their sequences, longer than TimeoutStopSec=, and starts
// them again.
func restart(l *lab) {
	_, keeper, workers := l.status()
	l.run("systemctl", "restart", "superd")
	for name, pid := range workers {
		if l.alive(pid) {
			l.t.Errorf("%s, pid %d, lives on", name, pid)
		}
	}
	if l.alive(keeper) {
		l.t.Errorf("the keeper, pid %d, lives on", keeper)
	}
	l.is("StatusText", healthy)
	l.is("Result", "success")
}

// stop takes as long as the workers do, which is more than TimeoutStopSec=.
func stop(l *lab) {
	_, keeper, workers := l.status()
	begun := time.Now()
	l.run("systemctl", "stop", "superd")
	if took := time.Since(begun); took < 2*time.Second {
		l.t.Errorf("the workers had %s", took)
	}
	l.is("ActiveState", "inactive")
	l.is("Result", "success")
	l.gone(keeper, workers)
}

func (l *lab) gone(keeper int, workers map[string]int) {
	l.t.Helper()
	for name, pid := range workers {
		if l.alive(pid) {
			l.t.Errorf("%s, pid %d, lives on\n%s", name, pid, l.journal())
		}
	}
	if l.alive(keeper) {
		l.t.Errorf("the keeper, pid %d, lives on\n%s", keeper, l.journal())
	}
}

// leftovers: superd dies while it is being stopped, and systemd does not start another.
func leftovers(l *lab) {
	l.run("systemctl", "start", "superd")
	l.is("StatusText", healthy)
	superd, keeper, workers := l.status()
	stopped := l.begin("systemctl", "stop", "superd")
	l.is("StatusText", "stopping: 2 workers left")
	l.kill("KILL", superd)
	stopped()
	l.gone(keeper, workers)
	l.run("systemctl", "reset-failed", "superd")
}

// refused: superd dies, and the configuration that it comes back to is broken. The
// workers go on, and are those of the superd that is started when it is repaired.
func refused(l *lab) {
	l.run("systemctl", "start", "superd")
	l.is("StatusText", healthy)
	superd, _, workers := l.status()
	l.configure("[superd]\ncolour = \"blue\"\n" + configuration)
	l.kill("KILL", superd)
	l.is("ActiveState", "failed")
	l.configure(configuration)
	for name, pid := range workers {
		if !l.alive(pid) {
			l.t.Errorf("%s, pid %d, was ended\n%s", name, pid, l.journal())
		}
	}
	l.run("systemctl", "start", "superd")
	l.same(workers, "superd was refused its configuration")
	l.run("systemctl", "stop", "superd")
	l.gone(superd, workers)
}

// detached: workers that are to stay when superd ends do so, and the next one has them.
func detached(l *lab) {
	l.run("systemctl", "start", "superd")
	l.is("StatusText", healthy)
	_, _, workers := l.status()
	l.run("superctl", "shutdown", "--detach")
	l.is("ActiveState", "inactive")
	for name, pid := range workers {
		if !l.alive(pid) {
			l.t.Errorf("%s, pid %d, was ended\n%s", name, pid, l.journal())
		}
	}
	l.run("systemctl", "start", "superd")
	l.same(workers, "superd was away")

	// A superd that has nothing to stop does not leave a keeper that still does
	// something for it.
	l.run("superctl", "stop", "slow", "apart")
	_, keeper, _ := l.status()
	l.run("systemctl", "stop", "superd")
	l.gone(keeper, workers)
	l.run("systemctl", "start", "superd")
	l.run("superctl", "start", "slow", "apart")
	l.run("systemctl", "stop", "superd")
}

// socket: the first call starts superd; one that comes while superd is restarted waits.
func socket(l *lab) {
	l.run("systemctl", "start", "superd.socket")
	l.is("ActiveState", "inactive")
	inode := l.run("stat", "-c", "%i %a", "/run/superd/control.sock")
	if !strings.HasSuffix(inode, " 666") {
		l.t.Errorf("inode and mode of the socket: %s", inode)
	}
	l.run("superctl", "status")
	l.is("StatusText", healthy)
	superd, _, workers := l.status()
	l.kill("KILL", superd)
	l.run("superctl", "status")
	l.back(superd)
	l.same(workers, "superd was killed")
	superd, _, _ = l.status()
	restarted := l.begin("systemctl", "restart", "superd")
	l.until("it is stopped", func() bool { return !l.alive(superd) })
	l.run("superctl", "status")
	restarted()
	l.is("StatusText", healthy)
	if now := l.run("stat", "-c", "%i %a", "/run/superd/control.sock"); now != inode {
		l.t.Errorf("inode and mode of the socket were %s and are %s", inode, now)
	}
	l.run("systemctl", "stop", "superd.socket", "superd.service")
	l.is("ActiveState", "inactive")
}

// lasting lies on a disk that the machine's end does not take with it.
const lasting = `[superd]
state_dir = "/lab/state"
shutdown_timeout = "2s"
[pool.deaf]
command = ["sh", "-c", "trap 'date +%s >>/lab/term' TERM; while :; do sleep 0.1; done"]
stop_sequence = ["TERM 1h", "KILL"]
update.min_healthy_time = "100ms"
[pool.idle]
command = ["sleep", "1000"]
count = 2
update.min_healthy_time = "100ms"
`

// poweroff: when the system goes down no worker has more than shutdown_timeout, whatever
// its stop sequence says.
func poweroff(l *lab) {
	l.configure(lasting)
	l.run("rm", "-r", "/run/superd") // of a superd with another state_dir
	l.run("sh", "-c", "printf '[Service]\nStandardError=append:/lab/superd.log\n' >/etc/systemd/system/superd.service.d/log.conf; systemctl daemon-reload")
	l.run("systemctl", "start", "superd")
	l.is("StatusText", "2 pools, 3/3 healthy")
	l.run("superctl", "scale", "deaf=2")
	l.run("superctl", "stop", "idle")
	if out, err := l.command("down").CombinedOutput(); err != nil {
		l.t.Errorf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(l.dir, "share/superd.log"))
	if err != nil {
		l.t.Fatal(err)
	}
	at := 0
	for _, want := range []string{"worker.signaled", "the system goes down: no worker has more than 2s to end", "worker.killed", "worker.stopped"} {
		i := strings.Index(string(log[at:]), want)
		if i < 0 {
			l.t.Fatalf("superd's log has no %q where it should be:\n%s", want, log)
		}
		at += i
	}
	if _, err := os.Stat(filepath.Join(l.dir, "share/term")); err != nil {
		l.t.Errorf("the worker was not told to end: %v", err)
	}
}

// reboot: the machine comes up again, and all is as it was desired.
func reboot(l *lab) {
	if out, err := l.command("up").CombinedOutput(); err != nil {
		l.t.Fatalf("%v\n%s", err, out)
	}
	l.install()
	l.configure(lasting)
	l.run("systemctl", "start", "superd")
	l.is("StatusText", "2 pools, 2/2 healthy")
	_, _, workers := l.status()
	for name, up := range map[string]bool{"deaf/0": true, "deaf/1": true, "idle/0": false, "idle/1": false} {
		if l.alive(workers[name]) != up {
			l.t.Errorf("%s lives: %t; pids are %v\n%s", name, !up, workers, l.journal())
		}
	}
}

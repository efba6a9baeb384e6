package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fromGod runs the configuration of docs/from-god.md by god and, carried over,
// by superd.
func fromGod(t *testing.T) {
	const place = "/srv/mailer"
	c := carriedOver(t, "from-god.md", "ruby")
	d := deal{
		slots:  2,
		said:   map[string]string{"queue": "mail", "args": "--queue,mail", "uid": uid(t)},
		signal: "QUIT", longer: 11, done: -1, attempts: 5,
	}

	superd := func(t *testing.T) {
		d := d
		d.hopeless, d.since = "delayed", true
		w := newWorkshop(t, "worker.sh", "bin/worker")
		d.keeps(t, startSuperd(t, c, "mailers", place, w), w)
	}
	original := func(t *testing.T) {
		peer(t, "god", "ruby-god")
		d := d
		d.hopeless, d.orphans = "unmonitored", true
		w := newWorkshop(t, "worker.sh", "bin/worker")
		d.keeps(t, startGod(t, strings.ReplaceAll(asUser(c.original), place, w.dir), w), w)
	}
	move := func(t *testing.T) {
		peer(t, "god", "ruby-god")
		w := newWorkshop(t, "worker.sh", "bin/worker")
		g := startGod(t, strings.ReplaceAll(asUser(c.original), place, w.dir), w)
		eventually(t, "all are up", func() bool { return len(w.alive()) == d.slots })
		worker := w.give("work 2")
		g.ctl("unmonitor", "mailers")
		g.ctl("signal", "mailers", "QUIT")
		eventually(t, "all are gone", func() bool { return len(w.alive()) == 0 })
		if !w.has(fmt.Sprint("left ", worker)) || len(w.starts()) != d.slots {
			t.Errorf("the job was not finished, or somebody was started again")
		}
	}
	together(t, named{"superd", superd}, named{"god", original}, named{"move", move})
}

// god is one with a folder of its own.
type god struct {
	t       *testing.T
	w       *workshop
	port    string
	started bool
	asked   time.Time // when status was
	status  string
}

func startGod(t *testing.T, config string, w *workshop) *god {
	t.Helper()
	dir := tempDir(t)
	write(t, filepath.Join(dir, "mailers.god"), config)
	// Ruby 3 has no Kernel#timeout any more, without which this god does nothing.
	write(t, filepath.Join(dir, "timeout.rb"), `require "timeout"
module Kernel; def timeout(*args, &block) = Timeout.timeout(*args, &block); end
`)
	if out, err := exec.Command("ruby", "-c", filepath.Join(dir, "mailers.god")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Its socket is /tmp/god.PORT.sock, and no TCP port.
	port := fmt.Sprint(time.Now().UnixNano())
	g := &god{t: t, w: w, port: port}
	cmd := exec.Command("god", "-c", filepath.Join(dir, "mailers.god"), "-D", "-p", port, "--no-syslog", "--no-events")
	cmd.Env = append(os.Environ(), "RUBYOPT=-r"+filepath.Join(dir, "timeout.rb"))
	log, err := os.Create(filepath.Join(dir, "god.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGKILL) // its processes are ended by the workshop
		cmd.Wait()
		log.Close()
		os.Remove("/tmp/god." + port + ".sock")
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("god's own log:\n%s", text)
		}
	})
	return g
}

func (g *god) ctl(args ...string) string {
	out, _ := exec.Command("god", append([]string{"-p", g.port}, args...)...).CombinedOutput()
	return string(out)
}

// start leaves the first one to god.
func (g *god) start() {
	if g.started {
		g.ctl("start", "mailers")
	}
	g.started = true
}

// stop waits, since god does not.
func (g *god) stop() {
	g.t.Helper()
	g.ctl("stop", "mailers")
	eventually(g.t, "all are gone", func() bool { return len(g.w.alive()) == 0 })
}

func (g *god) log(n int) string { return fmt.Sprintf("%s/log/mailer-%d.log", g.w.dir, n) }

// state asks god twice a second at most: its command takes long to start.
func (g *god) state(n int) string {
	if time.Since(g.asked) > time.Second/2 {
		g.status, g.asked = g.ctl("status"), time.Now()
	}
	for _, line := range strings.Split(g.status, "\n") {
		name, state, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name == fmt.Sprint("mailer-", n) {
			if state == "up" {
				return "running"
			}
			return state
		}
	}
	return "none"
}

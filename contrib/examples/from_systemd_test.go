package examples_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fromSystemd holds that systemd has nothing to say of the unit in
// docs/from-systemd.md, and runs what became of it.
func fromSystemd(t *testing.T) {
	const place = "/srv/invoices"
	c := carriedOver(t, "from-systemd.md", "ini")

	unit := func(t *testing.T) {
		if _, err := exec.LookPath("systemd-analyze"); err != nil {
			t.Skipf("%v: sudo apt-get install -y systemd", err)
		}
		w := newWorkshop(t, "worker.sh", "bin/worker")
		unit := filepath.Join(tempDir(t), "invoices@.service")
		write(t, unit, strings.ReplaceAll(c.original, place, w.dir))
		out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput()
		if err != nil || strings.Contains(string(out), "invoices@") { // it also finds fault with other units
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	}
	superd := func(t *testing.T) {
		w := newWorkshop(t, "worker.sh", "bin/worker")
		write(t, filepath.Join(w.dir, "worker.env"), "# of all workers\nQUEUE=\"invoices\"\n")
		own(t, filepath.Join(w.dir, "worker.env"))
		s := startSuperd(t, c, "invoices", place, w)

		// An end by a signal that systemd takes for a clean one.
		eventually(t, "all are up", func() bool { return len(w.alive()) == 4 })
		victim := w.alive()[2]
		if err := syscall.Kill(victim.pid, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is completed", func() bool { return s.state(2) == "completed" })

		deal{
			slots: 4,
			said: map[string]string{
				"queue": "invoices", "args": "--queue,invoices", "uid": uid(t),
				"umask": "0027", "nofile": "4096", "nice": "5", "oom": "200",
			},
			signal: "INT", longer: 12, done: 3,
			hopeless: "failed", attempts: 6, since: true,
		}.keeps(t, s, w)
	}
	together(t, named{"unit", unit}, named{"superd", superd})
}

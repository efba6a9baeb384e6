package examples_test

import (
	"path/filepath"
	"strconv"
	"testing"
)

// TestGunicorn and TestUnicorn: see sharedPort.
func TestGunicorn(t *testing.T) { sharedPort(t, "gunicorn", "8000") }
func TestUnicorn(t *testing.T)  { sharedPort(t, "unicorn", "8080") }

// sharedPort: two workers on one port are restarted thrice under way. Nobody is
// refused, and what was accepted is answered.
func sharedPort(t *testing.T, name, port string) {
	t.Parallel()
	need(t, name, name)
	dir := install(t, name)
	l := newLedger(t, dir)
	free := freePorts(t, 1)
	h := start(t, filepath.Join(name, "superd.toml"), "/srv/"+name+"/ledger", l.file, "/srv/"+name, dir,
		port, strconv.Itoa(free), `min_healthy_time = "5s"`, `min_healthy_time = "3s"`)
	h.started("web")
	tr := startTraffic(t, l, free)
	tr.flows()
	for range 3 {
		h.restart("web")
	}
	tr.flows()
	tr.holds(everyAccepted)
}

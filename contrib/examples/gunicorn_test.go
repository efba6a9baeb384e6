package examples_test

import (
	"path/filepath"
	"strconv"
	"testing"
)

// TestGunicorn: two workers on one port are restarted thrice under way. Nobody is
// refused, and what was accepted is answered.
func TestGunicorn(t *testing.T) {
	t.Parallel()
	need(t, "gunicorn", "gunicorn")
	dir := install(t, "gunicorn")
	l := newLedger(t, dir)
	port := freePorts(t, 1)
	h := start(t, filepath.Join("gunicorn", "superd.toml"), "/srv/gunicorn/ledger", l.file, "/srv/gunicorn", dir,
		"8000", strconv.Itoa(port), `min_healthy_time = "5s"`, `min_healthy_time = "3s"`)
	h.started("web")
	tr := startTraffic(t, l, port)
	tr.flows()
	for range 3 {
		h.restart("web")
	}
	tr.flows()
	tr.holds(everyAccepted)
}

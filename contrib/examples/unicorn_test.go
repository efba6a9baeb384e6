package examples_test

import (
	"path/filepath"
	"strconv"
	"testing"
)

// TestUnicorn: two workers on one port are restarted thrice under way. Nobody is
// refused, and what was accepted is answered.
func TestUnicorn(t *testing.T) {
	t.Parallel()
	need(t, "unicorn", "unicorn")
	dir := install(t, "unicorn")
	l := newLedger(t, dir)
	port := freePorts(t, 1)
	h := start(t, filepath.Join("unicorn", "superd.toml"), "/srv/unicorn/ledger", l.file, "/srv/unicorn", dir,
		"8080", strconv.Itoa(port), `min_healthy_time = "5s"`, `min_healthy_time = "3s"`)
	h.started("web")
	tr := startTraffic(t, l, port)
	tr.flows()
	for range 3 {
		h.restart("web")
	}
	tr.flows()
	tr.holds(everyAccepted)
}

package examples_test

import (
	"path/filepath"
	"strconv"
	"testing"
)

// TestPuma: two workers on two ports are restarted thrice under way. What was
// accepted is answered, and a client that is refused finds the other one.
func TestPuma(t *testing.T) {
	t.Parallel()
	need(t, "puma", "puma")
	dir := install(t, "puma")
	l := newLedger(t, dir)
	port := freePorts(t, 2)
	h := start(t, filepath.Join("puma", "superd.toml"), "/srv/puma/ledger", l.file, "/srv/puma", dir,
		"9000", strconv.Itoa(port), `min_healthy_time = "5s"`, `min_healthy_time = "3s"`)
	h.started("web")
	tr := startTraffic(t, l, port, port+1)
	tr.flows()
	for range 3 {
		h.restart("web")
	}
	tr.flows()
	tr.holds(everyAccepted1)
}

package examples_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// startNginx is superd with nginx in front of two application workers, and traffic
// that goes through nginx.
func startNginx(t *testing.T) (*host, *traffic) {
	t.Helper()
	need(t, "nginx-light gunicorn", "/usr/sbin/nginx", "gunicorn")
	dir := install(t, "nginx")
	l := newLedger(t, dir)
	port := freePorts(t, 3)
	front, app, second := strconv.Itoa(port), strconv.Itoa(port+1), strconv.Itoa(port+2)
	name := filepath.Join(dir, "nginx.conf")
	conf, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, strings.NewReplacer("8088", front, "9000", app, "9001", second).Replace(string(conf)))
	h := start(t, filepath.Join("nginx", "superd.toml"), "/srv/nginx/ledger", l.file, "/srv/nginx", dir, "9000", app,
		`min_healthy_time = "5s"`, `min_healthy_time = "3s"`, `min_healthy_time = "3s"`, `min_healthy_time = "1s"`)
	h.started("app")
	h.started("nginx")
	tr := startTraffic(t, l, port)
	tr.flows()
	return h, tr
}

// TestNginxFront: behind nginx, the application is restarted thrice under way, and
// every request is answered at the first try.
func TestNginxFront(t *testing.T) {
	t.Parallel()
	h, tr := startNginx(t)
	for range 3 {
		h.restart("app")
	}
	tr.flows()
	tr.holds(everyRequest)
}

// TestNginxItself: nginx is restarted thrice under way. What it had passed on is
// answered; it may refuse while there is none.
func TestNginxItself(t *testing.T) {
	t.Parallel()
	h, tr := startNginx(t)
	for range 3 {
		h.restart("nginx")
		tr.flows()
	}
	tr.holds(everyAccepted1)
}

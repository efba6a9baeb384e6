package examples_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPollers: the polite leave, the flaky come back, the impolite are made to go,
// and superd's death changes nothing for any of them.
func TestPollers(t *testing.T) {
	h := start(t, "pollers.toml")
	h.must("start", "polite", "impolite")

	eventually(t, "the flaky one was restarted", func() bool { return h.pool("flaky").Workers[0].Restarts > 0 })
	eventually(t, "the others are healthy", func() bool {
		return h.pool("polite").Healthy == 2 && h.pool("impolite").Healthy == 1
	})

	polite, impolite := h.pool("polite").pids(), h.pool("impolite").pids()
	h.kill()
	h.begin()
	if now := h.pool("polite").pids(); !maps.Equal(now, polite) {
		t.Errorf("superd's death changed polite: %v, before %v", now, polite)
	}
	if now := h.pool("impolite").pids(); !maps.Equal(now, impolite) {
		t.Errorf("superd's death changed impolite: %v, before %v", now, impolite)
	}
	if st := h.status(); st.Superd.Adopted < 3 || st.Superd.Degraded != nil {
		t.Errorf("after superd's death: %+v", st.Superd)
	}

	h.must("restart", "polite")
	for name, pid := range h.pool("polite").pids() {
		if pid == polite[name] || pid == 0 {
			t.Errorf("%s has pid %d after a restart, before %d", name, pid, polite[name])
		}
	}

	h.must("stop", "impolite")
	if p := h.pool("impolite"); p.Running != 0 || p.Workers[0].State != "stopped" {
		t.Errorf("after a stop: %+v", p)
	}
	wantLog(t, h, "polite/0.log", "asked to leave: this job is the last one")
	wantLog(t, h, "impolite/0.log", "no\n")
	wantLog(t, h, "flaky/0.log", "the server has closed the connection")

	// A job that was begun was finished, whatever happened around it.
	for _, name := range []string{"polite/0.log", "polite/1.log"} {
		text := readLog(t, h, name)
		begun, done, _ := strings.Cut(text, "asked to leave")
		if !strings.Contains(done, "is done") {
			t.Errorf("%s: the last job was not finished:\n%s", name, begun+done)
		}
	}
}

func readLog(t *testing.T, h *host, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, "log", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantLog(t *testing.T, h *host, name, want string) {
	t.Helper()
	eventually(t, name+" has "+want, func() bool { return strings.Contains(readLog(t, h, name), want) })
}

package supervisor

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/logs"
)

// A keeper that dies while superd recovers has it begin once more. What was set aside
// by then is not there any more, nor is state.db empty; it is said all the same.
func TestRecoveringOnceMoreForgetsNoDamage(t *testing.T) {
	runtime, state := t.TempDir(), t.TempDir()
	r, _, _ := openTestRecords(t, runtime, state)
	_, actions := startedState(t, 3)
	saved(t, r, actions)
	if err := r.belong(); err != nil {
		t.Fatal(err)
	}
	r.close()
	for _, name := range []string{runtime + "/records/w.table", state + "/state.db"} {
		if err := os.Truncate(name, 0); err != nil {
			t.Fatal(err)
		}
	}

	opt := Options{Log: slog.New(slog.DiscardHandler), Config: &config.Config{Superd: config.Superd{RuntimeDir: runtime, StateDir: state, LogDir: t.TempDir()}}}
	s := newSupervisor(opt)
	recovering := func() {
		t.Helper()
		var err error
		if s.records, err = openRecords(runtime, state); err != nil {
			t.Fatal(err)
		}
		if s.clock, err = newAlarmClock(); err != nil {
			t.Fatal(err)
		}
		if s.logs, err = logs.New(logs.Options{RuntimeDir: runtime, LogDir: opt.Config.LogDir}); err != nil {
			t.Fatal(err)
		}
		_, damage, err := s.records.load(core.New(1))
		if err != nil {
			t.Fatal(err)
		}
		s.note(damage)
		if len(s.damage) != 1 || !strings.Contains(s.damage[0], "w.table.broken") {
			t.Errorf("damage: %q", s.damage)
		}
		if s.forgot(false) == "" {
			t.Error("it is not said that state_dir was emptied")
		}
		if !s.records.partial {
			t.Error("workers without a record are not looked for")
		}
	}
	recovering()
	s = s.again()
	recovering()
	s.again() // closes everything
}

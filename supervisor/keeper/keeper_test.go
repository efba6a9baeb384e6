package keeper

import (
	"syscall"
	"testing"
)

func TestExitStatus(t *testing.T) {
	r := newRig(t)
	both(t, func(t *testing.T, direct bool) {
		for _, c := range []struct {
			script string
			code   int
			signal syscall.Signal
		}{
			{"exit 0", 0, 0},
			{"exit 37", 37, 0},
			{"kill -9 $$", -1, syscall.SIGKILL},
			{"kill -TERM $$", -1, syscall.SIGTERM},
		} {
			s := shell(c.script, nil)
			s.Direct = direct
			id := r.spawn(s)
			started := r.wait(id, Started)
			if started.PID == 0 || started.StartTicks == 0 {
				t.Errorf("%s: started without pid or start time: %+v", c.script, started)
			}
			ev := r.wait(id, Exited)
			if ev.Status.Code != c.code || ev.Status.Signal != c.signal || ev.Status.Unknown || !ev.Gone {
				t.Errorf("%s: %+v", c.script, ev)
			}
			if ev.Status.Rusage.MaxRSS == 0 {
				t.Errorf("%s: no memory was used, it says", c.script)
			}
			r.Acknowledge(id)
		}
	})
}

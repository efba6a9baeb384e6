package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// orphan is a run whose keeper was killed.
func orphan(t *testing.T, r *rig, script string) (id string, started Event, out *os.File) {
	t.Helper()
	out = outFile(t)
	id = r.spawn(shell(script, out))
	started = r.wait(id, Started)
	eventually(t, "it is ready", func() bool { return strings.Contains(content(t, out), "ready") })
	killPID(t, r.PID())
	for ok := true; ok; {
		_, ok = <-r.Events()
	}
	r.Close()
	r.dial(true)
	if !alive(started.PID) {
		t.Fatal("the run has died with its keeper")
	}
	return id, started, out
}

func TestAdopt(t *testing.T) {
	r := newRig(t)
	exact := hasStrangerExit(t)
	for script, want := range map[string]proc.ExitStatus{
		`trap 'exit 42' TERM; echo ready; while :; do sleep 0.02; done`: {Code: 42},
		`echo ready; exec sleep 1000`:                                   {Code: -1, Signal: syscall.SIGTERM},
	} {
		id, ev, _ := orphan(t, r, script)
		if err := r.Adopt(Adopt{Run: id, Label: "a/0", PID: ev.PID, StartTicks: ev.StartTicks}); err != nil {
			t.Fatal(err)
		}
		if again := r.wait(id, Started); again.PID != ev.PID || again.StartTicks != ev.StartTicks {
			t.Errorf("%+v", again)
		}
		r.Signal(id, syscall.SIGTERM, config.ScopeMain, 1)
		end := r.wait(id, Exited)
		if !exact {
			want = proc.ExitStatus{Unknown: true}
		}
		if end.Status != want {
			t.Errorf("%s ended with %+v, want %+v", script, end.Status, want)
		}
		if !end.Gone {
			r.wait(id, Gone)
		}
		r.Acknowledge(id)
	}
}

// hasStrangerExit tells whether this kernel gives the exit status of a process
// that is not our child.
func hasStrangerExit(t *testing.T) bool {
	t.Helper()
	fd, err := proc.OpenPIDFD(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, ending := proc.StrangerExit(fd)
	return ending == proc.EndingNotYet
}

func TestAdoptedRunIsSwept(t *testing.T) {
	r := newRig(t)
	id, ev, out := orphan(t, r, `set -m; trap "" TERM; sleep 1000 & echo $!; sh -c 'echo $$; sleep 1000 & echo $!; wait' & sleep 0.2; echo ready; wait`)
	pids := pidsIn(t, out, 3)
	if err := r.Adopt(Adopt{Run: id, PID: ev.PID, StartTicks: ev.StartTicks, UID: uint32(os.Getuid())}); err != nil {
		t.Fatal(err)
	}
	r.Sweep(id)
	if end := r.gone(id); hasStrangerExit(t) && end.Status.Signal != syscall.SIGKILL {
		t.Errorf("%+v", end)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("%d has survived: %s", pid, proc.Describe(pid))
		}
	}
}

func TestAdoptOfAProcessThatIsGone(t *testing.T) {
	r := newRig(t)
	id, ev, out := orphan(t, r, `sleep 1000 & echo $!; echo ready; read x < /dev/null; sleep 1000`)
	child := pidsIn(t, out, 1)[0]
	killPID(t, ev.PID)
	eventually(t, "its parent has reaped it", func() bool { _, err := proc.ReadStat(ev.PID); return err != nil })
	a := Adopt{Run: id, PID: ev.PID, StartTicks: ev.StartTicks, UID: uint32(os.Getuid())}
	if err := r.Adopt(a); err != nil {
		t.Fatal(err)
	}
	if end := r.gone(id); !end.Status.Unknown {
		t.Errorf("%+v", end)
	}
	if alive(child) {
		t.Error("what it had left was not swept")
	}
	// A pid that is another process's by now is left alone.
	stranger := exec.Command("setsid", "sh", "-c", "sleep 1000 & echo $!; wait")
	words, err := stranger.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { syscall.Kill(-stranger.Process.Pid, syscall.SIGKILL); stranger.Wait() }()
	var member int
	if _, err := fmt.Fscan(words, &member); err != nil {
		t.Fatal(err)
	}
	a = Adopt{Run: newRun(), PID: stranger.Process.Pid, StartTicks: 1, UID: uint32(os.Getuid())}
	if err := r.Adopt(a); err != nil {
		t.Fatal(err)
	}
	if end := r.gone(a.Run); !end.Status.Unknown {
		t.Errorf("%+v", end)
	}
	if !alive(stranger.Process.Pid) || !alive(member) {
		t.Error("a session was killed that only has the same number")
	}
}

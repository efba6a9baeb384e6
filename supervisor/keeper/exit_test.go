package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
)

// gone waits until a run is over, and says how its main process ended.
func (r *rig) gone(id string) Event {
	r.t.Helper()
	ev := r.wait(id, Exited)
	if !ev.Gone {
		r.wait(id, Gone)
	}
	r.Acknowledge(id)
	return ev
}

func TestSweepOfAGroup(t *testing.T) {
	r := newRig(t)
	for name, script := range map[string]string{
		"children": `for i in 1 2 3; do sleep 1000 & echo $!; done`,
		"ignoring": `sh -c 'trap "" TERM HUP INT; echo $$; while :; do sleep 1000; done' & sleep 0.1`,
		"grandchildren": `
			sh -c 'sleep 1000 & echo $!; sh -c "sleep 1000 & echo \$!; wait" & echo $!; wait' &
			echo $!; sleep 0.2`,
		// Job control gives each background job a process group of its own.
		"groups": `set -m; sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!; exec sleep 1000' & echo $!; sleep 0.2`,
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, direct bool) {
				out := outFile(t)
				s := shell(script+"; echo done; exit 3", out)
				s.Direct = direct
				id := r.spawn(s)
				ev := r.gone(id)
				if ev.Status.Code != 3 {
					t.Errorf("%+v", ev)
				}
				pids := pidsIn(t, out, 1)
				for _, pid := range pids {
					if alive(pid) {
						t.Errorf("%d of %v has survived: %s", pid, pids, proc.Describe(pid))
					}
				}
			})
		})
	}
}

func TestSweepWhileTheMainProcessLives(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	id := r.spawn(shell(`trap "" TERM; set -m; sleep 1000 & echo $!; sh -c 'trap "" TERM; echo $$; sleep 1000; sleep 1000' & echo $$; wait; wait`, out))
	pids := pidsIn(t, out, 3)
	r.wait(id, Started)
	r.Signal(id, syscall.SIGTERM, config.ScopeGroup, 0)
	r.Sweep(id)
	if ev := r.gone(id); ev.Status.Signal != syscall.SIGKILL {
		t.Errorf("%+v", ev)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("%d has survived: %s", pid, proc.Describe(pid))
		}
	}
}

// A family in which each generation forks the next and ends, in a group of its
// own: whoever looks for it finds it somewhere else.
func TestSweepOfAFleeingFamily(t *testing.T) {
	r := newRig(t)
	for range 5 {
		out := outFile(t)
		script := write(t, "flee", "#!/bin/bash\nset -m\necho $$ >> "+out.Name()+"\n$0 &\n", 0o755)
		s := shell("set -m; "+script+" & sleep 0.2", nil)
		s.Path, s.Args[0] = "/bin/bash", "bash"
		id := r.spawn(s)
		r.gone(id)
		before := content(t, out)
		if strings.Count(before, "\n") < 3 {
			t.Fatalf("nobody has fled: %q", before)
		}
		pids, err := proc.PIDs()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if strings.Contains(string(line), script) && alive(pid) {
				t.Errorf("%d still flees", pid)
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

func TestEscapeBySetsid(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	id := r.spawn(shell(`setsid sh -c 'echo $$; trap "exit 0" TERM; while :; do sleep 0.05; done' & sleep 0.2; exit 1`, out))
	pid := pidsIn(t, out, 1)[0]
	if ev := r.wait(id, Exited); !ev.Gone {
		r.wait(id, Gone)
	}
	st, err := proc.ReadStat(pid)
	if err != nil || st.State == 'Z' {
		t.Fatalf("who has left the session was killed: %+v, %v", st, err)
	}
	if st.PPID != r.PID() {
		t.Errorf("the orphan's parent is %d, not the keeper %d", st.PPID, r.PID())
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orphan is reaped", func() bool { _, err := proc.ReadStat(pid); return err != nil })
	r.Acknowledge(id)
}

func TestKillScopeProcessSweepsNobody(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	s := shell(`sleep 1000 & echo $!; wait`, out)
	s.KillScope = config.ScopeProcess
	id := r.spawn(s)
	pid := pidsIn(t, out, 1)[0]
	r.wait(id, Started)
	r.Sweep(id)
	ev := r.wait(id, Exited)
	if !ev.Gone || ev.Status.Signal != syscall.SIGKILL {
		t.Errorf("%+v", ev)
	}
	r.Acknowledge(id)
	if !alive(pid) {
		t.Error("a child was killed")
	}
	killPID(t, pid)
	eventually(t, "the orphan is reaped", func() bool { _, err := proc.ReadStat(pid); return err != nil })
}

func TestSignalScopes(t *testing.T) {
	r := newRig(t)
	script := `trap 'echo main; exit 0' USR1; sh -c 'trap "echo child; exit 0" USR1; echo ready; while :; do sleep 0.02; done' & while :; do sleep 0.02; done`
	for scope, want := range map[config.Scope]string{config.ScopeMain: "main", config.ScopeGroup: "child main"} {
		out := outFile(t)
		s := shell(script, out)
		s.KillScope = config.ScopeProcess // or the sweep could come before the child's word
		id := r.spawn(s)
		eventually(t, "the child is ready", func() bool { return strings.Contains(content(t, out), "ready") })
		st, err := proc.ReadStat(r.wait(id, Started).PID)
		if err != nil {
			t.Fatal(err)
		}
		r.Signal(id, syscall.SIGUSR1, scope, 0)
		if ev := r.gone(id); ev.Status.Code != 0 {
			t.Errorf("%+v", ev)
		}
		has := func(word string) bool { return strings.Contains(content(t, out), word) }
		if strings.Contains(want, "child") {
			eventually(t, "the child has its signal", func() bool { return has("child") })
		} else if has("child") {
			t.Errorf("scope %s has reached the child", scope)
		}
		syscall.Kill(-st.PGID, syscall.SIGKILL)
	}
}

func TestNumberedSignalsAreSentOnce(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	id := r.spawn(shell(`trap 'echo usr1' USR1; trap 'echo usr2; exit 0' USR2; echo ready; while :; do sleep 0.02; done`, out))
	eventually(t, "it is ready", func() bool { return strings.Contains(content(t, out), "ready") })
	for range 3 {
		r.Signal(id, syscall.SIGUSR1, config.ScopeMain, 1)
	}
	eventually(t, "the signal has come", func() bool { return strings.Contains(content(t, out), "usr1") })
	runs, _, err := r.List(t.Context())
	if err != nil || len(runs) != 1 || runs[0].Signals != 1 {
		t.Errorf("%+v, %v", runs, err)
	}
	r.Signal(id, syscall.SIGUSR1, config.ScopeMain, 1)
	r.Signal(id, syscall.SIGUSR2, config.ScopeMain, 2)
	r.gone(id)
	if got := content(t, out); got != "ready\nusr1\nusr2\n" {
		t.Errorf("the worker got %q", got)
	}
}

// cgroup makes a cgroup for a run.
func cgroup(t *testing.T) string {
	t.Helper()
	root, err := proc.CgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(root, fmt.Sprintf("superd-test-%d-%s", os.Getpid(), newRun()))
	if err := proc.MakeCgroup(dir); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		proc.KillCgroup(dir)
		eventually(t, "the cgroup is removed", func() bool { return proc.RemoveCgroup(dir) == nil })
	})
	return dir
}

func TestKillScopeCgroup(t *testing.T) {
	r := newRig(t)
	both(t, func(t *testing.T, direct bool) {
		out := outFile(t)
		s := shell(`setsid sh -c 'trap "" TERM; echo $$; sleep 1000 & echo $!; wait' & sleep 0.2; cat /proc/self/cgroup; exit 6`, out)
		s.Direct, s.KillScope, s.Cgroup = direct, config.ScopeCgroup, cgroup(t)
		id := r.spawn(s)
		pids := pidsIn(t, out, 2)
		if ev := r.gone(id); ev.Status.Code != 6 {
			t.Errorf("%+v", ev)
		}
		if got := content(t, out); !strings.Contains(got, filepath.Base(s.Cgroup)+"\n") {
			t.Errorf("the worker was not born into its cgroup: %s", got)
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("%d has survived", pid)
			}
		}
		if _, err := os.Stat(s.Cgroup); !os.IsNotExist(err) {
			t.Errorf("the cgroup is left: %v", err)
		}
	})
}

func TestSignalToACgroup(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	s := shell(`trap : USR1; setsid sh -c 'trap "echo away; exit" USR1; echo ready; while :; do sleep 0.02; done' & away=$!
		while kill -0 $away 2>/dev/null; do wait $away; done; exit 2`, out)
	s.KillScope, s.Cgroup = config.ScopeCgroup, cgroup(t)
	id := r.spawn(s)
	eventually(t, "it is ready", func() bool { return strings.Contains(content(t, out), "ready") })
	r.Signal(id, syscall.SIGUSR1, config.ScopeCgroup, 0)
	if ev := r.gone(id); ev.Status.Code != 2 || !strings.Contains(content(t, out), "away") {
		t.Errorf("%+v, it says %q", ev, content(t, out))
	}
	id = r.spawn(func() Spawn {
		s := shell(`setsid sleep 1000 & echo $!; wait`, out)
		s.KillScope, s.Cgroup = config.ScopeCgroup, cgroup(t)
		return s
	}())
	r.wait(id, Started)
	r.Signal(id, syscall.SIGKILL, config.ScopeCgroup, 0)
	if ev := r.gone(id); ev.Status.Signal != syscall.SIGKILL {
		t.Errorf("%+v", ev)
	}
}

// A process that KILL does not end is one in the kernel's hands; a frozen cgroup
// of version 1 is the nearest that a test can make.
func TestStuckIsTold(t *testing.T) {
	frozen := filepath.Join("/sys/fs/cgroup/freezer", fmt.Sprintf("superd-test-%d", os.Getpid()))
	if err := os.Mkdir(frozen, 0o755); err != nil {
		t.Skip("no freezer of cgroup version 1: ", err)
	}
	set := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(frozen, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		set("freezer.state", "THAWED")
		eventually(t, "the freezer is removed", func() bool { return os.Remove(frozen) == nil })
	})
	r := newRig(t)
	t.Cleanup(func() { set("freezer.state", "THAWED") })
	out := outFile(t)
	id := r.spawn(shell(`sleep 1000 & echo $!; exec sleep 1000`, out))
	other := r.spawn(shell("sleep 1000", nil))
	pid := pidsIn(t, out, 1)[0]
	for _, pid := range []int{pid, r.wait(id, Started).PID} {
		eventually(t, "both are sleep", func() bool { return proc.Describe(pid).Comm == "sleep" })
	}
	set("tasks", fmt.Sprint(pid))
	set("freezer.state", "FROZEN")
	r.Signal(id, syscall.SIGTERM, config.ScopeMain, 0)
	ev := r.wait(id, Exited)
	if ev.Gone || ev.Status.Signal != syscall.SIGTERM {
		t.Fatalf("%+v", ev)
	}
	// It blocks nobody else's end.
	r.wait(other, Started)
	r.Sweep(other)
	r.gone(other)
	r.Sweep(id)
	stuck := r.wait(id, Stuck)
	if len(stuck.Leftovers) != 1 || stuck.Leftovers[0].PID != pid || stuck.Leftovers[0].Comm != "sleep" || stuck.Leftovers[0].State == "" {
		t.Errorf("%+v", stuck)
	}
	r.Acknowledge(id)
	if w := r.wait(id, Warning); !strings.Contains(strings.Join(w.Warnings, ""), "cannot be forgotten") {
		t.Errorf("%+v", w)
	}
	set("freezer.state", "THAWED")
	r.wait(id, Gone)
	r.Acknowledge(id)
}

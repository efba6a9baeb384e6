package systemd_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait. It is long: it only ever runs out when something is broken.
const patience = time.Minute

// lab is a machine of its own, in private namespaces, with a real systemd as PID 1.
type lab struct {
	t      *testing.T
	script string
	dir    string // LAB_DIR; its folder share is /lab inside
}

// newLab starts one, or says why there is none. SUPERD_SYSTEMD_LAB names the program
// that does it (up, down, exec COMMAND...); without it the one beside this repository
// is taken. With LAB_ROOTFS it takes another tree as its root, and so another systemd.
func newLab(t *testing.T) *lab {
	t.Helper()
	script := os.Getenv("SUPERD_SYSTEMD_LAB")
	if script == "" {
		script = "../../../shared/lab/systemd-lab.sh"
	}
	script, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(script); err != nil {
		t.Skipf("no lab for a real systemd: %v (name one in SUPERD_SYSTEMD_LAB)", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("a lab for a real systemd needs root")
	}
	dir, err := os.MkdirTemp("", "superd-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &lab{t: t, script: script, dir: dir}
	t.Cleanup(func() { l.command("down").Run() })
	if out, err := l.command("up").CombinedOutput(); err != nil {
		t.Skipf("no lab for a real systemd is possible here: %v\n%s", err, out)
	}
	return l
}

func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command("bash", append([]string{l.script}, args...)...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.dir)
	cmd.WaitDelay = time.Second // what it leaves in the background has its output
	return cmd
}

// try runs a command in the lab.
func (l *lab) try(args ...string) (string, error) {
	out, err := l.command(append([]string{"exec"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run is try for a command that must succeed.
func (l *lab) run(args ...string) string {
	l.t.Helper()
	out, err := l.try(args...)
	if err != nil {
		l.t.Fatalf("%s: %v\n%s\n%s", strings.Join(args, " "), err, out, l.journal())
	}
	return out
}

// begin runs a command in the background; the function waits for its success.
func (l *lab) begin(args ...string) (wait func()) {
	done := make(chan error, 1)
	go func() {
		out, err := l.try(args...)
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
		done <- err
	}()
	return func() {
		l.t.Helper()
		select {
		case err := <-done:
			if err != nil {
				l.t.Fatalf("%v\n%s", err, l.journal())
			}
		case <-time.After(patience):
			l.t.Fatalf("%s does not return\n%s", strings.Join(args, " "), l.journal())
		}
	}
}

func (l *lab) journal() string {
	out, _ := l.try("journalctl", "-u", "superd.service", "-n", "60", "--no-pager", "-o", "cat")
	return out
}

// is waits until systemd says so of superd.service.
func (l *lab) is(property, want string) {
	l.t.Helper()
	l.until(property+" is "+want, func() bool { return l.property(property) == want })
}

func (l *lab) property(name string) string {
	l.t.Helper()
	out, _ := l.try("systemctl", "show", "-p", name, "--value", "superd.service")
	return out
}

func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for late := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			l.t.Fatalf("not within %s: %s\n%s\n%s", patience, what, l.run("systemctl", "show", "superd.service",
				"-p", "ActiveState,SubState,StatusText,Result,MainPID,NRestarts"), l.journal())
		}
	}
}

// status is what superctl says: superd's pid, the keeper's, and those of the workers.
func (l *lab) status() (superd, keeper int, workers map[string]int) {
	l.t.Helper()
	var s struct {
		Superd struct {
			PID       int
			KeeperPID int `json:"keeper_pid"`
		}
		Pools []struct {
			Name    string
			Workers []struct{ Index, PID int }
		}
	}
	out := l.run("superctl", "status", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		l.t.Fatalf("%v\n%s", err, out)
	}
	workers = map[string]int{}
	for _, p := range s.Pools {
		for _, w := range p.Workers {
			workers[fmt.Sprintf("%s/%d", p.Name, w.Index)] = w.PID
		}
	}
	return s.Superd.PID, s.Superd.KeeperPID, workers
}

// alive tells whether a process lives in the lab.
func (l *lab) alive(pid int) bool {
	out, err := l.try("cat", fmt.Sprintf("/proc/%d/stat", pid))
	_, state, ok := strings.Cut(out, ") ")
	return err == nil && ok && !strings.HasPrefix(state, "Z")
}

func (l *lab) kill(signal string, pid int) {
	l.t.Helper()
	l.run("sh", "-c", fmt.Sprintf("kill -%s %d", signal, pid)) // a minimal system has no program of that name
}

// same wants the workers to be the processes that they were.
func (l *lab) same(before map[string]int, what string) {
	l.t.Helper()
	_, _, now := l.status()
	for name, pid := range before {
		if now[name] != pid || pid == 0 {
			l.t.Fatalf("%s: %s was pid %d and is pid %d\n%s", what, name, pid, now[name], l.journal())
		}
	}
}

package cmd_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refused starts a superd that is not to come up, and wants its exit code and words.
func (d *daemon) refused(code int, want string) {
	d.t.Helper()
	cmd := exec.Command(filepath.Join(bin, "superd"), "-c", d.dir+"/superd.toml")
	cmd.Dir, cmd.WaitDelay = d.dir, time.Second
	late := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		d.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code || !regexp.MustCompile(want).Match(out) {
		d.t.Fatalf("superd ended with %d, not %d with %q:\n%s", got, code, want, out)
	}
}

// TestMovedRuntimeDir: superd does not begin in another runtime_dir while something
// lives of what is kept in the one before, however little is left to know it by.
func TestMovedRuntimeDir(t *testing.T) {
	t.Parallel()
	pools := `
[defaults]
update.min_healthy_time = "50ms"
[pool.a]
command = "sleep 1000"
count = 2
`
	d := newDaemon(t, pools)
	other := host{dir: d.dir + "/other"}
	t.Cleanup(func() {
		for _, pid := range other.processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	must(t, os.Mkdir(other.dir, 0o755))
	back, err := os.ReadFile(d.dir + "/superd.toml")
	must(t, err)
	move := func(text []byte) {
		t.Helper()
		must(t, os.WriteFile(d.dir+"/superd.toml", text, 0o644))
	}
	away := []byte(strings.Replace(string(back), d.dir+"/run", other.dir+"/run", 1))
	d.up()
	d.state("a/1", "running")
	pids := d.pids()

	// It lives: two superds cannot have the same state_dir.
	move(away)
	d.refused(3, fmt.Sprintf(`another superd runs: pid %d \(superd\) has locked the state_dir .*/state,`, d.cmd.Process.Pid))
	d.crash()
	d.refused(2, `cannot start: 2 workers and the keeper, pid \d+, live in the runtime_dir .*/run, and .*/superd.toml names .*/other/run,.*set runtime_dir back to ".*/run"`)
	move(back)
	d.up()
	d.must("shutdown", "--detach")
	d.exits()
	d.killKeeper()
	move(away)
	d.refused(2, `cannot start: 2 workers live in the runtime_dir`)
	move(back)
	d.up()
	if after := d.pids(); fmt.Sprint(after) != fmt.Sprint(pids) {
		t.Errorf("afterwards there are\n%v, and there were\n%v", after, pids)
	}
	if found := other.processes(); len(found) > 0 {
		t.Errorf("in the other one there are %v", found)
	}

	// What was ended is no hindrance.
	d.must("shutdown")
	d.exits()
	move(away)
	d.wrap = []string{"env", "SUPERD_SOCKET=" + other.dir + "/run/control.sock"}
	d.up()
	d.state("a/1", "running")
	d.well()
	d.crash()
	move(back)
	d.refused(2, `cannot start: 2 workers and the keeper, pid \d+, live in the runtime_dir .*/other/run`)
	must(t, os.RemoveAll(other.dir+"/run"))
	d.refused(2, `cannot start: 2 workers and the keeper, pid \d+, live in the runtime_dir .*/other/run`)
	d.killKeeper()
	d.refused(2, `cannot start: 2 workers live in the runtime_dir .*/other/run`)
	move(away)
	d.up()
	d.must("shutdown")
	d.exits()
}

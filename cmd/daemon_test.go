package cmd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemon is a superd for a test that is written in Go.
type daemon struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
	wrap  []string // what superctl is started by
}

// newDaemon writes a configuration; begin starts superd with it.
func newDaemon(t *testing.T, text string) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir()}
	h := host{dir: d.dir}
	if err := os.WriteFile(d.dir+"/superd.toml", []byte(h.superdTable()+text), 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

// begin starts superd with these for standard output and error.
func (d *daemon) begin(stdout, stderr *os.File) {
	d.t.Helper()
	d.cmd = exec.Command(filepath.Join(bin, "superd"), "-c", d.dir+"/superd.toml")
	d.cmd.Dir = d.dir
	d.cmd.Stdout, d.cmd.Stderr = stdout, stderr
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	cmd, ended := d.cmd, make(chan struct{}) // there may be another one later
	d.ended = ended
	go func() { cmd.Wait(); close(ended) }()
	d.t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		h := host{dir: d.dir}
		for _, pid := range h.processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// until waits for a condition.
func (d *daemon) until(what string, ok func() bool) {
	d.t.Helper()
	for late := time.Now().Add(2 * patience); !ok(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-d.ended:
			d.t.Fatalf("superd ended (%s) before: %s", d.cmd.ProcessState, what)
		default:
		}
		if time.Now().After(late) {
			d.t.Fatalf("not within %s: %s", 2*patience, what)
		}
	}
}

// superctl runs superctl and returns what it says and its exit code.
func (d *daemon) superctl(args ...string) (string, int) {
	d.t.Helper()
	line := append(append(slices.Clone(d.wrap), filepath.Join(bin, "superctl")), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "SUPERD_SOCKET="+d.dir+"/run/control.sock", "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// must runs superctl and wants it to succeed.
func (d *daemon) must(args ...string) string {
	d.t.Helper()
	out, code := d.superctl(args...)
	if code != 0 {
		d.t.Fatalf("superctl %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// running waits until a worker runs.
func (d *daemon) running(worker string) {
	d.t.Helper()
	d.until(worker+" runs", func() bool {
		out, code := d.superctl("--timeout", "5s", "status")
		return code == 0 && strings.Contains(strings.Join(strings.Fields(out), " "), worker+" running")
	})
}

// degraded is what status says does not work.
func (d *daemon) degraded() string {
	d.t.Helper()
	var st struct {
		Superd struct{ Degraded []string }
	}
	if err := json.Unmarshal([]byte(d.must("status", "--json")), &st); err != nil {
		d.t.Fatal(err)
	}
	return strings.Join(st.Superd.Degraded, "\n")
}

// exits waits for superd's end.
func (d *daemon) exits() *os.ProcessState {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(2 * patience):
		d.t.Fatalf("superd did not end within %s", 2*patience)
	}
	return d.cmd.ProcessState
}

// has counts what superd has: "fd" for descriptors, "task" for threads.
func (d *daemon) has(what string) int {
	d.t.Helper()
	dir, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", d.cmd.Process.Pid, what))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(dir)
}

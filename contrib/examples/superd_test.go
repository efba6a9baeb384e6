// Package examples_test runs the examples with the real programs.
package examples_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bin is the folder of superd and superctl, built once for all tests.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "superd-examples-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "../../cmd/superd", "../../cmd/superctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build superd: %v\n%s", err, out)
		return 1
	}
	moreAtATime()
	return m.Run()
}

// moreAtATime lets more tests run at a time than there are processors, unless -parallel
// says how many: they wait for other programs nearly all the time.
func moreAtATime() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", "4")
	}
}

// host is one superd with folders of its own.
type host struct {
	t      *testing.T
	dir    string
	superd *exec.Cmd
	log    *os.File
}

// start runs superd with an example, which is copied beside a main file that
// names private folders, with some words replaced.
func start(t *testing.T, example string, replace ...string) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "superd-") // short, for the sockets' sake
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Fatalf("%s has no %q any more", example, replace[i])
		}
	}
	write(t, filepath.Join(dir, "example.toml"), strings.NewReplacer(replace...).Replace(string(text)))
	write(t, filepath.Join(dir, "superd.toml"), fmt.Sprintf(`[superd]
include     = ["example.toml"]
runtime_dir = "%[1]s/run"
state_dir   = "%[1]s/state"
log_dir     = "%[1]s/log"
`, dir))
	log, err := os.Create(filepath.Join(dir, "superd.log"))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, dir: dir, log: log}
	h.begin()
	t.Cleanup(h.end)
	return h
}

// begin starts superd, for the first time or after its death.
func (h *host) begin() {
	h.t.Helper()
	h.superd = exec.Command(filepath.Join(bin, "superd"), "run", "-c", filepath.Join(h.dir, "superd.toml"))
	h.superd.Stdout, h.superd.Stderr = h.log, h.log
	if err := h.superd.Start(); err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "superd answers", func() bool { return h.ctl("status") == nil })
}

func (h *host) kill() {
	h.superd.Process.Kill()
	h.superd.Wait()
}

// end stops superd and looks at how it ended and what it left.
func (h *host) end() {
	defer os.RemoveAll(h.dir)
	defer h.log.Close()
	h.superd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- h.superd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			h.t.Errorf("superd: %v", err)
		}
	case <-time.After(time.Minute):
		h.t.Error("superd does not end")
		h.superd.Process.Kill()
		<-done
	}
	if left := h.leftovers(); len(left) > 0 {
		h.t.Errorf("processes are left: %v", left)
	}
	if h.t.Failed() {
		log, _ := os.ReadFile(h.log.Name())
		h.t.Logf("superd's own log:\n%s", log)
		outputs, _ := filepath.Glob(filepath.Join(h.dir, "log/*/*.log"))
		for _, name := range outputs {
			output, _ := os.ReadFile(name)
			h.t.Logf("the end of %s:\n%s", name, output[max(0, len(output)-3000):])
		}
	}
}

// leftovers are the processes that still have this superd's folder in their
// command line or environment.
func (h *host) leftovers() []string {
	var left []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		for _, name := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(filepath.Join(p, name))
			if err == nil && p != fmt.Sprint("/proc/", os.Getpid()) && bytes.Contains(b, []byte(h.dir+"/")) {
				cmd, _ := os.ReadFile(filepath.Join(p, "cmdline"))
				left = append(left, fmt.Sprintf("%s %q", filepath.Base(p), bytes.ReplaceAll(cmd, []byte{0}, []byte{' '})))
				break
			}
		}
	}
	return left
}

// ctl runs superctl.
func (h *host) ctl(args ...string) error {
	_, err := h.output(args...)
	return err
}

func (h *host) output(args ...string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(bin, "superctl"), append([]string{"-s", filepath.Join(h.dir, "run/control.sock")}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("superctl %s: %w\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

// must runs superctl, which must succeed.
func (h *host) must(args ...string) {
	h.t.Helper()
	if err := h.ctl(args...); err != nil {
		h.t.Fatal(err)
	}
}

type status struct {
	Superd struct {
		Adopted  int
		Degraded any
	}
	Pools []pool
}

type pool struct {
	Name, Desired           string
	Count, Running, Healthy int
	Workers                 []worker
}

type worker struct {
	Name, State string
	PID         int
	Restarts    int
	Busy        bool
}

func (h *host) status() status {
	h.t.Helper()
	var st status
	out, err := h.output("status", "--json")
	if err == nil {
		err = json.Unmarshal(out, &st)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

func (h *host) pool(name string) pool {
	h.t.Helper()
	for _, p := range h.status().Pools {
		if p.Name == name {
			return p
		}
	}
	h.t.Fatalf("no pool %s", name)
	return pool{}
}

// worker is the one of that name, such as "sidekiq/0".
func (h *host) worker(name string) worker {
	h.t.Helper()
	pool, _, _ := strings.Cut(name, "/")
	for _, w := range h.pool(pool).Workers {
		if w.Name == name {
			return w
		}
	}
	h.t.Fatalf("no worker %s", name)
	return worker{}
}

// pids are the pool's processes, by worker.
func (p pool) pids() map[string]int {
	pids := make(map[string]int)
	for _, w := range p.Workers {
		pids[w.Name] = w.PID
	}
	return pids
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not in a minute and a half: %s", what)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

package cmd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// container is superd as the first process of a pid namespace, which is the part of a
// container that matters here: whoever is killed with it, reaped by it, or numbered
// anew. What superd itself is asked, it is asked from outside, through its socket.
type container struct {
	*daemon
	first int // the first process's pid, as we see it
}

// contain starts a superd with a configuration in a container. wrap stands between
// unshare and superd, and ends by executing it.
func contain(t *testing.T, text string, wrap ...string) *container {
	t.Helper()
	t.Parallel()
	if out, err := exec.Command("unshare", "-p", "-f", "-m", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("no pid namespace can be made here: %v %s", err, out)
	}
	c := &container{daemon: newDaemon(t, text)}
	text = strings.ReplaceAll(c.file("superd.toml"), "@DIR@", c.dir)
	if err := os.WriteFile(c.dir+"/superd.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c.run(wrap...)
	return c
}

// run starts the container, again.
func (c *container) run(wrap ...string) {
	c.t.Helper()
	line := append([]string{"-p", "-f", "-m", "--mount-proc", "--kill-child"}, wrap...)
	c.launch(exec.Command("unshare", append(line, c.program(), "run", "-c", c.dir+"/superd.toml")...))
}

// program is this container's own superd, which can be replaced.
func (c *container) program() string {
	path := c.dir + "/bin/superd"
	if _, err := os.Stat(path); err != nil {
		c.install()
	}
	return path
}

// install puts superd where it is started from, all of a sudden.
func (c *container) install() {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(bin, "superd"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.place(string(data))
}

// place puts a program where superd is started from.
func (c *container) place(program string) {
	c.t.Helper()
	path := c.dir + "/bin/superd"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := putProgram(path, []byte(program)); err != nil {
		c.t.Fatal(err)
	}
}

// launch starts a command whose child is the first process of a pid namespace.
func (c *container) launch(cmd *exec.Cmd) {
	c.t.Helper()
	out, err := os.OpenFile(c.dir+"/out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, c.dir
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	c.cmd, c.ended = cmd, ended
	go func() { cmd.Wait(); close(ended) }()
	c.t.Cleanup(func() {
		cmd.Process.Kill() // and the kernel the rest
		<-ended
		if c.t.Failed() {
			c.t.Logf("the container said:\n%s", c.said())
		}
	})
}

// said is what the container has written.
func (c *container) said() string {
	data, _ := os.ReadFile(c.dir + "/out")
	return string(data)
}

// says waits until the container has written something.
func (c *container) says(what string) {
	c.t.Helper()
	c.until(fmt.Sprintf("%q is said", what), func() bool { return strings.Contains(c.said(), what) })
}

// init is the container's first process, as we see it.
func (c *container) init() int {
	c.t.Helper()
	c.until("there is a first process", func() bool {
		for _, pid := range descendants(c.cmd.Process.Pid) {
			if inside(pid) == 1 {
				c.first = pid
				return true
			}
		}
		return false
	})
	return c.first
}

// inside is the number that a process has in its own pid namespace.
func inside(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" {
			n, _ := strconv.Atoi(f[len(f)-1])
			return n
		}
	}
	return 0
}

// outside is the number by which we know a process of the container; 0: none.
func (c *container) outside(pid string) int {
	for _, child := range allDescendants(c.init()) {
		if strconv.Itoa(inside(child)) == pid {
			return child
		}
	}
	return 0
}

// allDescendants are a process's children, whichever of its threads has them, and theirs.
func allDescendants(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		data, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(append(all, child), allDescendants(child)...)
			}
		}
	}
	return all
}

// superd is the superd that answers, as we see it.
func (c *container) superd() int {
	c.t.Helper()
	pid := 0
	c.until("superd lives", func() bool {
		pid = c.outside(fmt.Sprint(c.status("superd", "pid")))
		return pid != 0
	})
	return pid
}

// status is a value of superctl status --json; nil: it has none, or nobody answers.
func (c *container) status(keys ...string) any {
	c.t.Helper()
	out, code := c.superctl("--timeout", "5s", "status", "--json")
	var v any
	if code != 0 || json.Unmarshal([]byte(out), &v) != nil {
		return nil
	}
	for _, key := range keys {
		switch node := v.(type) {
		case map[string]any:
			v = node[key]
		case []any:
			v = element(node, key)
		default:
			return nil
		}
	}
	return v
}

// worker is what status says of a worker.
func (c *container) worker(pool string, index int) map[string]any {
	c.t.Helper()
	w, _ := c.status("pools", pool, "workers", strconv.Itoa(index)).(map[string]any)
	return w
}

// up waits until workers run and have said so: what they catch they catch by then.
func (c *container) up(workers ...string) {
	c.t.Helper()
	for _, w := range workers {
		c.running(w)
		c.until(w+" is up", func() bool { return strings.HasPrefix(c.file("log/"+w+".log"), "up\n") })
	}
}

// kill sends a signal.
func (c *container) kill(pid int, sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		c.t.Fatalf("kill %d: %v", pid, err)
	}
}

// crash kills superd, and waits until another one answers.
func (c *container) crash() {
	c.t.Helper()
	before := c.superd()
	c.kill(before, syscall.SIGKILL)
	c.until("another superd answers", func() bool { return c.superd() != before })
}

// ends waits for the container's end, and wants an exit code.
func (c *container) ends(code int) {
	c.t.Helper()
	if st := c.exits(); st.ExitCode() != code {
		c.t.Fatalf("the container ended with %s, not %d", st, code)
	}
}

// file is what a file in the container's folder has.
func (c *container) file(name string) string {
	data, _ := os.ReadFile(filepath.Join(c.dir, name))
	return string(data)
}

// stranger is a user whom nobody knows.
const stranger = 71023

// prepared is a container that a user may run.
func prepared(t *testing.T, uid int) *container {
	t.Helper()
	c := &container{daemon: newDaemon(t, containedConfig)}
	c.install()
	for dir := filepath.Dir(c.dir); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.give(c.dir, uid)
	return c
}

// give makes a folder, and all in it, somebody's.
func (c *container) give(dir string, uid int) {
	c.t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, uid, uid))
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// survives is what every container can.
func (c *container) survives() {
	c.t.Helper()
	c.running("w/1")
	worker := fmt.Sprint(c.worker("w", 0)["pid"])
	c.crash()
	if now := fmt.Sprint(c.worker("w", 0)["pid"]); now != worker {
		c.t.Errorf("the worker was %s, and is %s", worker, now)
	}
	if d := c.degraded(); d != "" {
		c.t.Errorf("degraded: %s", d)
	}
	c.kill(c.init(), syscall.SIGTERM)
	c.ends(0)
}

// image makes a folder that is a container's root.
func (c *container) image(config string, uid int) {
	c.t.Helper()
	for _, dir := range []string{"image/proc", "image/dev", "image/run", "root", "tmp"} {
		if err := os.MkdirAll(filepath.Join(c.dir, dir), 0o755); err != nil {
			c.t.Fatal(err)
		}
	}
	files := map[string]string{"superd.toml": config, "dev/null": ""}
	for _, name := range []string{"superd", "superctl"} {
		data, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			c.t.Fatal(err)
		}
		files[name] = string(data)
	}
	for name, data := range files {
		if err := putProgram(filepath.Join(c.dir, "image", name), []byte(data)); err != nil {
			c.t.Fatal(err)
		}
	}
	c.give(c.dir, uid)
}

package cmd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests of disk_*_test.go break the disks below superd: full, read-only, frozen,
// failing, without an answer. Each is a real file system, in a mount namespace that
// only the test and what it starts are in, so that nothing is left of it.

// ownMounts puts the test's goroutine, and whatever is started from it, into a
// mount namespace of its own.
func ownMounts(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skipf("cannot have mounts of its own here: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

// unmount has a file system be taken away when the test is over.
func unmount(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error("unmount:", err)
		}
	})
}

// tmpfs mounts one at dir, which it makes.
func tmpfs(t *testing.T, dir, options string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	must(t, unix.Mount("none", dir, "tmpfs", 0, "mode=755,"+options))
	unmount(t, dir)
}

// fill leaves no room on a disk until it is told to.
func fill(t *testing.T, dir string) (release func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for block := 64 << 10; block > 0; block /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, block))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	return func() { must(t, os.Remove(name)) }
}

// frost is a disk that can be frozen: whoever writes to it then hangs, beyond the
// reach of any signal.
type frost struct {
	t      *testing.T
	disk   *os.File
	frozen bool
}

// freezable mounts a small ext4 at dir, which it makes.
func freezable(t *testing.T, dir string) *frost {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.MkdirAll(dir, 0o755))
	for _, args := range [][]string{
		{"truncate", "-s", "32M", image},
		{"mke2fs", "-q", "-t", "ext4", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("cannot mount a disk to freeze here: %v: %v\n%s", args, err, out)
		}
	}
	unmount(t, dir)
	disk, err := os.Open(dir)
	must(t, err)
	f := &frost{t: t, disk: disk}
	t.Cleanup(func() { f.thaw(); disk.Close() })
	return f
}

// Requests of ioctl(2) from linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

func (f *frost) freeze() {
	f.t.Helper()
	must(f.t, unix.IoctlSetInt(int(f.disk.Fd()), fiFreeze, 0))
	f.frozen = true
}

func (f *frost) thaw() {
	if f.frozen {
		f.frozen = false
		must(f.t, unix.IoctlSetInt(int(f.disk.Fd()), fiThaw, 0))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// up starts superd and waits until it answers.
func (d *daemon) up() {
	d.t.Helper()
	out, err := os.OpenFile(d.dir+"/superd.out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(d.t, err)
	defer out.Close()
	d.begin(out, out)
	d.until("superd answers", func() bool { _, code := d.superctl("--timeout", "5s", "status"); return code == 0 })
}

// crash kills superd and waits until it is gone.
func (d *daemon) crash() {
	d.t.Helper()
	must(d.t, d.cmd.Process.Kill())
	d.exits()
}

// crashStuck kills a superd that a disk does not answer: it stays. Another one can be
// started all the same.
func (d *daemon) crashStuck() {
	d.t.Helper()
	must(d.t, d.cmd.Process.Kill())
	pid, gone := d.cmd.Process.Pid, d.ended
	d.until("its last thread hangs", func() bool {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		select {
		case <-gone:
			d.t.Fatal("superd did not wait for the disk")
		default:
		}
		return bytes.Contains(data, []byte(") Z ")) || bytes.Contains(data, []byte(") D "))
	})
}

// status is a worker's state, as status gives it, and its pid.
func (d *daemon) worker(name string) (state string, pid int) {
	d.t.Helper()
	var st struct {
		Pools []struct {
			Workers []struct {
				Name, State string
				PID         int
			}
		}
	}
	must(d.t, json.Unmarshal([]byte(d.must("status", "--json")), &st))
	for _, p := range st.Pools {
		for _, w := range p.Workers {
			if w.Name == name {
				return w.State, w.PID
			}
		}
	}
	return "", 0
}

// restarts kills a worker and waits until another process is in its place.
func (d *daemon) restarts(name string) {
	d.t.Helper()
	old := d.state(name, "running")
	signal(d.t, old, syscall.SIGKILL)
	d.until(name+" is another one", func() bool { state, pid := d.worker(name); return state == "running" && pid != old })
}

// configure writes another configuration.
func (d *daemon) configure(text string) {
	d.t.Helper()
	h := host{dir: d.dir}
	must(d.t, os.WriteFile(d.dir+"/superd.toml", []byte(h.superdTable()+text), 0o644))
}

// pids are those of all workers that have one.
func (d *daemon) pids() map[string]int {
	d.t.Helper()
	var st struct {
		Pools []struct {
			Workers []struct {
				Name string
				PID  int
			}
		}
	}
	must(d.t, json.Unmarshal([]byte(d.must("status", "--json")), &st))
	all := map[string]int{}
	for _, p := range st.Pools {
		for _, w := range p.Workers {
			if w.PID != 0 {
				all[w.Name] = w.PID
			}
		}
	}
	return all
}

// well waits until nothing is degraded any more.
func (d *daemon) well() {
	d.t.Helper()
	d.within("all is well", func() bool { return d.degraded() == "" }, d.degraded)
}

// killKeeper kills the keeper of superd, and waits until it is gone.
func (d *daemon) killKeeper() {
	d.t.Helper()
	h := host{dir: d.dir}
	for _, pid := range h.processes() {
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(line, []byte("\x00keep\x00")) {
			signal(d.t, pid, syscall.SIGKILL)
			for late := time.Now().Add(patience); lives(pid) && time.Now().Before(late); {
				time.Sleep(time.Millisecond)
			}
		}
	}
}

// state waits until a worker is in a state, and gives its pid.
func (d *daemon) state(name, want string) (pid int) {
	d.t.Helper()
	d.until(name+" is "+want, func() bool {
		var state string
		state, pid = d.worker(name)
		return state == want
	})
	return pid
}

// said waits until one of the events has a text.
func (d *daemon) event(text string) {
	d.t.Helper()
	var last string
	d.within("event "+text, func() bool {
		last = d.must("events")
		return strings.Contains(last, text)
	}, func() string { return last })
}

// within is until, which shows something when it fails.
func (d *daemon) within(what string, ok func() bool, show func() string) {
	d.t.Helper()
	for late := time.Now().Add(2 * patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			d.t.Fatalf("not within %s: %s\n%s\nsuperd said:\n%s", 2*patience, what, show(), d.output())
		}
	}
}

// output is what superd said, the newest.
func (d *daemon) output() string {
	data, _ := os.ReadFile(d.dir + "/superd.out")
	return string(data[max(0, len(data)-20000):])
}

// log is what is in a log file below log_dir.
func (d *daemon) log(name string) []byte {
	data, _ := os.ReadFile(d.dir + "/log/" + name)
	return data
}

// grows waits until a file below log_dir has become longer.
func (d *daemon) grows(name string) {
	d.t.Helper()
	before := len(d.log(name))
	d.until(name+" grows", func() bool { return len(d.log(name)) > before })
}

// numbered checks that lines are 1, 2, 3 and so on, but for those that a line of
// superd's own tells of as dropped, and gives the last number and how many of these
// lines there are. A gap without a word, a torn line and one that comes twice fail.
func numbered(t *testing.T, text []byte) (last, told int) {
	t.Helper()
	word := 0
	for line := range bytes.Lines(text) {
		line = bytes.Replace(line, []byte(padding), nil, 1)
		var n, size, lost int
		if _, err := fmt.Sscanf(string(line), "superd: %d bytes dropped here, %d lines:", &size, &lost); err == nil {
			told, word = told+1, word+lost
			continue
		}
		if _, err := fmt.Sscanf(string(line), "%d\n", &n); err != nil || fmt.Sprintf("%d\n", n) != string(line) {
			t.Fatalf("after %d comes %q", last, line)
		}
		if n != last+1+word {
			t.Fatalf("after %d comes %d, and %d lines are told of", last, n, word)
		}
		last, word = n, 0
	}
	return last, told
}

// padding is what makes the lines of a worker longer.
var padding = " " + strings.Repeat("x", 250)

// signal sends one to a process.
func signal(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	must(t, syscall.Kill(pid, sig))
}

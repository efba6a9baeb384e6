package cmd_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// soakProcess is a process that belongs to a soak: a worker, a child of one, a
// keeper, a superd.
type soakProcess struct {
	pid, session int
	slot         string // POOL.INDEX; empty: it is no worker
	line         string
}

func (p soakProcess) kill() { syscall.Kill(p.pid, syscall.SIGKILL) }

// processes are all of them that live, by one pass over /proc.
func (s *soak) processes() []soakProcess {
	var all []soakProcess
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || !bytes.Contains(data, []byte(s.dir)) || !bytes.Contains(data, []byte(s.dir+"/bin/")) &&
			!bytes.Contains(data, []byte(s.dir+"/slots/")) && !bytes.Contains(data, []byte(s.dir+"/run")) {
			continue
		}
		if pid == os.Getpid() || !lives(pid) {
			continue
		}
		p := soakProcess{pid: pid, session: session(pid), line: strings.TrimSpace(string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})))}
		for word := range bytes.SplitSeq(data, []byte{0}) {
			if name, ok := bytes.CutPrefix(word, []byte(s.dir+"/slots/")); ok {
				p.slot = string(name)
			}
		}
		if strings.HasPrefix(p.line, filepath.Join(bin, "superctl")) {
			continue
		}
		all = append(all, p)
	}
	return all
}

func session(pid int) int {
	sid, err := unix.Getsid(pid)
	if err != nil {
		return 0
	}
	return sid
}

// isKeeper tells whether a pid is this soak's keeper.
func (s *soak) isKeeper(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(line, []byte("\x00keep\x00")) && bytes.Contains(line, []byte(s.dir+"/run"))
}

// keeper is the pid of the keeper, 0 when there is none just now.
func (s *soak) keeper() int {
	data, _ := os.ReadFile(s.dir + "/run/keeper.pid")
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && s.isKeeper(pid) {
		return pid
	}
	for _, p := range s.processes() {
		if s.isKeeper(p.pid) {
			return p.pid
		}
	}
	return 0
}

// bootNow is CLOCK_BOOTTIME in nanoseconds, by which the workers take notes.
func bootNow() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}

// soakNotes is what the workers of one slot have written down, in order.
type soakNotes struct {
	doubles []string
	runs    []*soakRun
}

// soakRun is one run, as its process saw it. Times are ns since boot.
type soakRun struct {
	id                  string
	start               int64
	signals             []soakSignal
	printed, last, late int64
	left                bool // it ended because it was asked to
}

type soakSignal struct {
	name     string
	at, late int64
}

// readNotes reads the notes of a slot, and the state that its last run has left.
func readNotes(path string) (*soakNotes, error) {
	data, err := os.ReadFile(path + ".notes")
	if err != nil {
		return nil, err
	}
	n, byID := &soakNotes{}, map[string]*soakRun{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			return nil, fmt.Errorf("%s: a note is torn: %q", path, line)
		}
		numbers := make([]int64, len(f))
		for i := range f {
			numbers[i], _ = strconv.ParseInt(f[i], 10, 64)
		}
		switch r := byID[f[1]]; {
		case f[0] == "double":
			n.doubles = append(n.doubles, strings.TrimSpace(line))
		case f[0] == "start" && r == nil:
			r = &soakRun{id: f[1], start: numbers[3]}
			n.runs, byID[r.id] = append(n.runs, r), r
		case f[0] == "start":
			n.doubles = append(n.doubles, "run "+r.id+" was started twice")
		case f[0] == "signal" && r != nil:
			r.signals = append(r.signals, soakSignal{f[2], numbers[3], numbers[4]})
		case f[0] == "left" && r != nil:
			r.left = true
		case f[0] == "closed" && r != nil:
			r.printed, r.last, r.late = numbers[2], numbers[3], numbers[4]
		default:
			return nil, fmt.Errorf("%s: a note makes no sense: %q", path, line)
		}
	}
	if state, err := os.ReadFile(path); err == nil && len(state) >= 56 {
		if r := byID[unix.ByteSliceToString(state[:32])]; r != nil {
			v := (*[3]int64)(unsafe.Pointer(&state[32]))
			r.printed, r.last, r.late = v[0], v[1], v[2]
		}
	}
	return n, nil
}

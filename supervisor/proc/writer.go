package proc

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Writer is a process that leads its session and has a run's FIFO as its standard
// output or error.
type Writer struct {
	PID        int
	StartTicks uint64
	UID        uint32            // of the FIFO
	Run        string            // by the FIFO's name
	Named      bool              // the FIFO still has its name
	Env        map[string]string // its environment as it says; empty when it has overwritten it
}

// Writers finds the processes that write to FIFOs named RUN.out or RUN.err in the
// folder fifos, whether or not that is still there: those first whose FIFO is, and the
// oldest of either kind. Runs that known tells need not be looked at. The FIFO must
// have been opened through the mount on which beside lies: in a mount namespace of
// their own others can have folders of any name.
func Writers(beside, fifos string, known func(run string) bool) ([]Writer, error) {
	f, err := os.Open(beside)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mount, err := mountOf("/proc/self/fdinfo/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return nil, err
	}
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	var all []Writer
	for _, pid := range pids {
		if sid, err := unix.Getsid(pid); err != nil || sid != pid {
			continue
		}
		if w, ok := writer(pid, fifos, mount, known); ok {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b Writer) int {
		switch {
		case a.Named && !b.Named:
			return -1
		case b.Named && !a.Named:
			return 1
		}
		return cmp.Or(cmp.Compare(a.StartTicks, b.StartTicks), cmp.Compare(a.PID, b.PID))
	})
	return all, nil
}

// fifoRun is the run whose FIFO in the folder fifos a file's name is.
func fifoRun(name, fifos string) (run string, named, ok bool) {
	plain, deleted := strings.CutSuffix(name, deletedMark)
	dir, file := filepath.Split(plain)
	if filepath.Clean(dir) != fifos {
		return "", false, false
	}
	return strings.TrimSuffix(strings.TrimSuffix(file, ".out"), ".err"), !deleted, true
}

func writer(pid int, fifos, mount string, known func(run string) bool) (Writer, bool) {
	root := "/proc/" + strconv.Itoa(pid)
	ticks, err := StartTicks(pid)
	if err != nil {
		return Writer{}, false
	}
	for _, n := range []string{"1", "2"} {
		name, err := os.Readlink(root + "/fd/" + n)
		if err != nil {
			continue
		}
		run, named, ok := fifoRun(name, fifos)
		if !ok || known(run) {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(root+"/fd/"+n, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			continue
		}
		if m, err := mountOf(root + "/fdinfo/" + n); err != nil || m != mount {
			continue
		}
		w := Writer{PID: pid, StartTicks: ticks, UID: st.Uid, Run: run, Named: named, Env: environ(root)}
		// All of it was read of one process if that is still the one.
		again, err := StartTicks(pid)
		return w, err == nil && again == ticks
	}
	return Writer{}, false
}

// mountOf is the mount_id of an open file (proc_pid_fdinfo(5)).
func mountOf(fdinfo string) (string, error) {
	data, err := os.ReadFile(fdinfo)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", fmt.Errorf("%s names no mount", fdinfo)
}

func environ(root string) map[string]string {
	data, _ := os.ReadFile(root + "/environ")
	env := make(map[string]string)
	for v := range bytes.SplitSeq(data, []byte{0}) {
		if name, value, ok := strings.Cut(string(v), "="); ok {
			env[name] = value
		}
	}
	return env
}

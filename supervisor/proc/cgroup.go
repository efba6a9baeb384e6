package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// CgroupRoot finds the folder of cgroup v2 that the caller is in. Cgroups of
// runs are made below it, as leaves, and no controller is ever enabled in it: a
// cgroup with controllers for its children may have no process of its own, and
// superd could not be started in it again. The error says why there is none.
func CgroupRoot() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("cannot find cgroup v2: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot find cgroup v2: %w", err)
	}
	dir, err := cgroupDir(string(mounts), string(own))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
		return "", fmt.Errorf("cannot use cgroup v2: %w", err)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return "", fmt.Errorf("cannot make cgroups in %s: %w (it has to be delegated to superd's user)", dir, err)
	}
	return dir, nil
}

// cgroupDir joins where cgroup v2 is mounted with where in it the caller is.
func cgroupDir(mountinfo, cgroup string) (string, error) {
	path, ok := "", false
	for line := range strings.Lines(cgroup) {
		if path, ok = strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			break
		}
	}
	if !ok {
		return "", errors.New("cannot find cgroup v2: this kernel has put the process into none")
	}
	// systemd puts there what it starts beside the main process of a unit with
	// Delegate=; the runs have their cgroups beside the main process.
	path = strings.TrimSuffix(path, "/.control")
	for line := range strings.Lines(mountinfo) {
		// "31 23 0:28 ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS"
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 6 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		rel, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/"))
		if !ok || rel != "" && rel[0] != '/' {
			continue // a mount of another part of the tree
		}
		return filepath.Join(point, rel), nil
	}
	return "", errors.New("cannot find cgroup v2: it is not mounted")
}

// unescape undoes what mountinfo does to blanks and backslashes (proc(5)).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// MakeCgroup makes the cgroup dir and those above it that are missing. One that
// is there already is fine, as after a crash, unless its processes may not be
// killed (Linux before 5.14).
func MakeCgroup(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make cgroup: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		return fmt.Errorf("cannot use cgroup %s: %w (it needs Linux 5.14)", dir, err)
	}
	return nil
}

// KillCgroup kills everything in the cgroup, what is being forked included.
func KillCgroup(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("1")
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot kill cgroup: %w", err)
	}
	return nil
}

// Populated tells whether a process lives in the cgroup or below it. One that is
// not there has none.
func Populated(dir string) (bool, error) {
	f, err := OpenEvents(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(f)
	return PopulatedFD(f)
}

// OpenEvents opens the cgroup's events file: the descriptor reports POLLPRI when
// what [PopulatedFD] says has changed since it was last asked.
func OpenEvents(dir string) (int, error) {
	path := filepath.Join(dir, "cgroup.events")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// PopulatedFD reads a descriptor of OpenEvents. A cgroup that was removed in the
// meantime has nobody in it.
func PopulatedFD(fd int) (bool, error) {
	var buf [256]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err == unix.ENODEV {
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("read cgroup.events", err)
	}
	return strings.Contains(string(buf[:n]), "populated 1"), nil
}

// CgroupPIDs lists the processes in the cgroup itself.
func CgroupPIDs(dir string) ([]int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list cgroup: %w", err)
	}
	var pids []int
	for f := range strings.FieldsSeq(string(data)) {
		pid := 0
		for i := range len(f) {
			pid = pid*10 + int(f[i]-'0')
		}
		if pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// RemoveCgroup removes an empty cgroup with the empty ones below it. One that is
// not there is fine.
func RemoveCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove cgroup: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := RemoveCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove cgroup %s: %w", dir, err)
	}
	return nil
}

// SignalCgroup sends sig to everything in the cgroup that can be found in it.
// What is forked meanwhile may be missed; for KILL there is [KillCgroup].
func SignalCgroup(dir string, sig syscall.Signal) error {
	pids, err := CgroupPIDs(dir)
	if err != nil {
		return err
	}
	pinned := make(map[int]int, len(pids))
	for _, pid := range pids {
		if fd, err := OpenPIDFD(pid); err == nil {
			pinned[pid] = fd
			defer unix.Close(fd)
		}
	}
	// Those that are still in it are the ones that were pinned.
	if pids, err = CgroupPIDs(dir); err != nil {
		return err
	}
	var first error
	for _, pid := range pids {
		fd, ok := pinned[pid]
		if !ok {
			continue
		}
		if err := SendSignal(fd, sig); err != nil && err != unix.ESRCH && first == nil {
			first = err
		}
	}
	return first
}

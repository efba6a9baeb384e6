package proc

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Leftover is a process that a run has left behind.
type Leftover struct {
	PID   int
	State string // "R", "S", "D", "Z", "T" as in /proc; empty: not known
	Comm  string // its name as the kernel keeps it
}

// String is "4711 (ruby, state D)".
func (l Leftover) String() string {
	if l.State == "" {
		return strconv.Itoa(l.PID)
	}
	return fmt.Sprintf("%d (%s, state %s)", l.PID, l.Comm, l.State)
}

// Describe tells what /proc says about pid now.
func Describe(pid int) Leftover {
	st, err := ReadStat(pid)
	if err != nil {
		return Leftover{PID: pid}
	}
	return Leftover{PID: pid, State: string(rune(st.State)), Comm: strings.ToValidUTF8(st.Comm, "?")}
}

// Member is a process of a session, pinned. The PIDFD is whoever's asked for it.
type Member struct{ PID, SID, PIDFD int }

// Sessions finds every living process whose session is among sids, in one pass,
// and pins it. Zombies are no members: they are gone already. A process that is
// born while the pass goes on may be missed, so a caller that kills must look
// again until nothing is found.
func Sessions(sids map[int]bool) ([]Member, error) {
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	var found []Member
	for _, pid := range pids {
		sid, err := unix.Getsid(pid)
		if err != nil || !sids[sid] {
			continue
		}
		fd, err := OpenPIDFD(pid)
		if err == unix.ESRCH {
			continue
		}
		if err != nil {
			// Out of descriptors, most likely: those found so far are not lost.
			return found, os.NewSyscallError("pidfd_open", err)
		}
		// The pid was read before it was pinned: ask once more. It cannot have been
		// another process in between if the pinned one is still unreaped now.
		again, err := unix.Getsid(pid)
		if err != nil || again != sid || SendSignal(fd, 0) == unix.ESRCH || Ended(fd) {
			unix.Close(fd)
			continue
		}
		found = append(found, Member{PID: pid, SID: sid, PIDFD: fd})
	}
	return found, nil
}

// PIDs lists the processes in /proc.
func PIDs() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Children appends the children that thread tid of this process has, zombies
// included. Orphans that come to a subreaper belong to its first thread, the one
// whose tid is the pid. The error is ENOENT on a kernel without
// CONFIG_PROC_CHILDREN.
func Children(pids []int, tid int) ([]int, error) {
	path := "/proc/self/task/" + strconv.Itoa(tid) + "/children"
	var small [4096]byte
	data, err := readSmall(path, small[:])
	if err == nil && len(data) == len(small) {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return pids, err
	}
	for len(data) > 0 {
		pid, n := 0, 0
		for n < len(data) && data[n] >= '0' && data[n] <= '9' {
			pid = pid*10 + int(data[n]-'0')
			n++
		}
		if pid > 0 {
			pids = append(pids, pid)
		}
		data = data[max(n, 1):]
	}
	return pids, nil
}

// HoldersOf finds the processes whose standard output or error is the file with
// this device and inode, oldest first: how a run is found whose pid nobody wrote
// down. Processes that we may not look at are passed over.
func HoldersOf(dev, ino uint64) ([]int, error) {
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	type holder struct {
		pid   int
		start uint64
	}
	var found []holder
	for _, pid := range pids {
		for _, fd := range []string{"1", "2"} {
			if !isFile("/proc/"+strconv.Itoa(pid)+"/fd/"+fd, dev, ino) {
				continue
			}
			start, err := StartTicks(pid)
			if err == nil {
				found = append(found, holder{pid, start})
			} else if !Absent(err) {
				return nil, err // it holds the file all the same
			}
			break
		}
	}
	slices.SortFunc(found, func(a, b holder) int {
		if a.start != b.start {
			if a.start < b.start {
				return -1
			}
			return 1
		}
		return a.pid - b.pid
	})
	out := make([]int, len(found))
	for i, h := range found {
		out[i] = h.pid
	}
	return out, nil
}

// isFile compares without asking the file system that path may lie on: it could
// hang.
func isFile(path string, dev, ino uint64) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st)
	return err == nil && st.Ino == ino && unix.Mkdev(st.Dev_major, st.Dev_minor) == dev
}

// Owner is the user whose process pid is.
func Owner(pid int) (uint32, error) {
	var st unix.Stat_t
	path := "/proc/" + strconv.Itoa(pid)
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Uid, nil
}

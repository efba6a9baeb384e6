package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deletedMark is what the kernel puts behind the name of a file that has none any
// more (proc_pid_fd(5)).
const deletedMark = " (deleted)"

// OpenOutput opens the reading end of a FIFO that a process has as its standard
// output or error and that had this name, in whatever folder: that works when the
// name itself is gone. The process is known by pid and start time.
func OpenOutput(pid int, ticks uint64, fifo string) (*os.File, error) {
	for _, n := range []string{"1", "2"} {
		path := "/proc/" + strconv.Itoa(pid) + "/fd/" + n
		name, err := os.Readlink(path)
		if err != nil || filepath.Base(strings.TrimSuffix(name, deletedMark)) != fifo {
			continue
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		if now, failed := StartTicks(pid); err == nil && (failed != nil || now != ticks || st.Mode&unix.S_IFMT != unix.S_IFIFO) {
			err = unix.ESRCH
		}
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0) // O_NONBLOCK was for the opening alone
		}
		if err != nil {
			unix.Close(fd)
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), fifo), nil
	}
	return nil, fmt.Errorf("pid %d does not write to %s: %w", pid, fifo, os.ErrNotExist)
}

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Stat is what one read of /proc/PID/stat tells (proc_pid_stat(5)).
type Stat struct {
	PID, PPID, PGID, SID int
	Comm                 string // the program's name as the kernel keeps it; any bytes, at most 15
	State                byte   // R, S, D, Z, T, ...
	CPUTicks             uint64 // user and system time, in ticks of ClockTicks
	StartTicks           uint64 // since boot; with the pid it names one process for good
	RSS                  int64  // resident memory in bytes
}

// ClockTicks is how many ticks of /proc make a second. The kernel has shown
// user space 100 on every architecture that Go knows.
const ClockTicks = 100

var pageSize = int64(os.Getpagesize())

// ReadStat reads /proc/PID/stat. The error is ENOENT or ESRCH when there is no
// such process.
func ReadStat(pid int) (Stat, error) {
	var buf [1024]byte
	data, err := readSmall("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return Stat{}, err
	}
	st, err := parseStat(data)
	if err != nil {
		return Stat{}, fmt.Errorf("cannot read /proc/%d/stat: %w", pid, err)
	}
	return st, nil
}

// Absent tells that what failed with err has failed because the process is not
// there (any more), or the cgroup. Any other error says nothing about it.
func Absent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}

// StartTicks is the start time of pid in clock ticks since boot.
func StartTicks(pid int) (uint64, error) {
	st, err := ReadStat(pid)
	return st.StartTicks, err
}

// Usage is the resident memory of pid in bytes and its processor time so far in
// ticks of ClockTicks, by one read.
func Usage(pid int) (rss int64, ticks uint64, err error) {
	st, err := ReadStat(pid)
	return st.RSS, st.CPUTicks, err
}

// The fields after the name, counted from the state as 0 (field 3 of the page).
const (
	statState  = 0
	statPPID   = 1
	statPGID   = 2
	statSID    = 3
	statUTime  = 11
	statSTime  = 12
	statStart  = 19
	statRSS    = 21
	statFields = 22
)

// parseStat takes the line apart. The name stands in parentheses and may itself
// hold anything, parentheses and newlines included: the last one closes it.
func parseStat(data []byte) (Stat, error) {
	var st Stat
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 2 || end < open {
		return st, fmt.Errorf("no name in parentheses")
	}
	pid, err := strconv.Atoi(string(data[:open-1]))
	if err != nil {
		return st, fmt.Errorf("no pid at its start")
	}
	st.PID = pid
	st.Comm = string(data[open+1 : end])
	rest := bytes.TrimSpace(data[end+1:])
	for i := range statFields {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{' '})
		if len(field) == 0 {
			return st, fmt.Errorf("only %d fields after the name", i)
		}
		if i == statState {
			st.State = field[0]
			continue
		}
		switch i {
		case statPPID, statPGID, statSID, statUTime, statSTime, statStart, statRSS:
		default:
			continue
		}
		v, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return st, fmt.Errorf("field %d after the name is no number", i)
		}
		switch i {
		case statPPID:
			st.PPID = int(v)
		case statPGID:
			st.PGID = int(v)
		case statSID:
			st.SID = int(v)
		case statUTime, statSTime:
			st.CPUTicks += uint64(v)
		case statStart:
			st.StartTicks = uint64(v)
		case statRSS:
			st.RSS = v * pageSize
		}
	}
	return st, nil
}

// readSmall reads a file of /proc that fits buf, without an *os.File and its
// finalizer: the keeper does it for every start.
func readSmall(path string, buf []byte) ([]byte, error) {
	var fd int
	var err error
	for {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if m == 0 {
			break
		}
		n += m
	}
	return buf[:n], nil
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A process that is killed while one of its threads waits for a disk that does not
// answer stays, and with it every lock that it had, until the disk does. It will never
// do anything again but to come to the end of that one system call. Whoever would
// follow it need not wait, and must not: the disk may be that of one pool's logs.

// TakeOver takes a lock as Lock does from such a process, and tells its pid: the file
// that it has locked gets another one in its place. The error is ErrLocked when the
// lock is held by anybody else.
func TakeOver(path string) (lock *os.File, from int, err error) {
	err = instead(path, func(pid int) error {
		from = pid
		return os.Remove(path)
	})
	if err != nil {
		return nil, 0, err
	}
	if lock, err = Lock(path, 0); err != nil { // somebody else was faster
		return nil, 0, err
	}
	return lock, from, nil
}

// instead has a locked file replaced if all who have it locked are doomed. Two who
// want to do so must not do it one after the other: the second would take the lock
// of the first away.
func instead(path string, replace func(pid int) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return ErrLocked
	}
	pids, err := holders(path)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if !doomed(pid) {
			return ErrLocked
		}
	}
	if len(pids) == 0 {
		return ErrLocked // by somebody whom we cannot see, or not any more
	}
	return replace(pids[0])
}

// holders are the processes that have a flock(2) on a file (proc_locks(5)). Some file
// systems show another device there than stat(2) does: it goes by the inode alone, and
// so may give one too many.
func holders(path string) ([]int, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, err
	}
	return lockedBy(data, st.Ino), nil
}

// Holder is the process that has a lock as Lock takes it, lives, and will go on living;
// 0: there is none, or it cannot be known who it is.
func Holder(path string) int {
	pids, _ := holders(path)
	for _, pid := range pids {
		if pid > 0 && unix.Kill(pid, 0) != unix.ESRCH && !doomed(pid) {
			return pid
		}
	}
	return 0
}

func lockedBy(locks []byte, inode uint64) (pids []int) {
	for line := range bytes.Lines(locks) {
		f := strings.Fields(string(line)) // 1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF
		if len(f) < 6 || f[1] != "FLOCK" {
			continue
		}
		place := strings.Split(f[5], ":")
		if n, err := strconv.ParseUint(place[len(place)-1], 10, 64); err != nil || n != inode {
			continue
		}
		pid, err := strconv.Atoi(f[4])
		if err != nil {
			pid = 0 // unknown, and so not doomed
		}
		pids = append(pids, pid)
	}
	return pids
}

// doomed tells that no thread of a process will run any more: each has ended, or has
// KILL waiting for the end of its system call.
func doomed(pid int) bool {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(tasks) == 0 {
		return false // it has gone, or is somebody else's
	}
	for _, task := range tasks {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil || !ending(status) {
			return false
		}
	}
	return true
}

// ending judges a thread by its proc_pid_status(5).
func ending(status []byte) bool {
	for line := range bytes.Lines(status) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "State":
			if value != "" && (value[0] == 'Z' || value[0] == 'X') {
				return true
			}
		case "SigPnd":
			pending, err := strconv.ParseUint(value, 16, 64)
			return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0
		}
	}
	return false
}

// takeOver puts a copy in the place of a state file that a doomed process has locked.
// Its last write may be in the file or not, as after any death.
func (d *disk) takeOver() error {
	return instead(d.path(), func(int) error {
		fresh := d.path() + newSuffix
		if err := copyFile(d.path(), fresh); err != nil {
			os.Remove(fresh)
			return err
		}
		return os.Rename(fresh, d.path())
	})
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Sync(), dst.Close())
}

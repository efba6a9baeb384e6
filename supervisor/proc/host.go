package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BootID is what the kernel calls this boot: a pid or a start time of another
// one means nothing.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell which boot this is: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// PIDNamespace is the inode of the caller's pid namespace: pids of another one
// mean nothing.
func PIDNamespace() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0, fmt.Errorf("cannot tell the pid namespace: %w", err)
	}
	return st.Ino, nil
}

// CheckProc tells whether /proc shows the processes of the caller's pid namespace. One
// that was left there by whoever made the namespace shows others by our numbers.
func CheckProc() error {
	self, err := os.Readlink("/proc/self")
	switch {
	case err != nil:
		return fmt.Errorf("/proc is not there: %w (mount it: mount -t proc proc /proc)", err)
	case self != strconv.Itoa(os.Getpid()):
		return fmt.Errorf("/proc is that of another pid namespace: this process is %d, and %s there (mount it anew: mount -t proc proc /proc)", os.Getpid(), self)
	}
	return nil
}

// NamespaceStart is when the first process of the caller's pid namespace was started,
// in clock ticks since boot; 0: that is not to be seen. The number of a namespace is
// given to another one when it is gone, and with a container that is started again
// that is a matter of seconds.
func NamespaceStart() uint64 {
	ticks, err := StartTicks(1)
	if err != nil {
		return 0
	}
	return ticks
}

// BootTime is CLOCK_BOOTTIME: no step of the wall clock moves it, and it counts
// while the machine sleeps.
func BootTime() time.Duration {
	var ts unix.Timespec
	// It cannot fail: the clock is there since Linux 2.6.39, and ts is ours.
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// localFS are file systems that need nobody but this machine to answer
// (statfs(2)). What is not among them may hang: network file systems, FUSE,
// autofs, and whatever is not known.
var localFS = map[uint32]bool{
	unix.EXT4_SUPER_MAGIC:      true, // ext2, ext3 and ext4 have the same
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.TMPFS_MAGIC:           true,
	unix.RAMFS_MAGIC:           true,
	unix.F2FS_SUPER_MAGIC:      true,
	unix.SQUASHFS_MAGIC:        true,
	unix.EROFS_SUPER_MAGIC_V1:  true,
	unix.OVERLAYFS_SUPER_MAGIC: true, // the root of most containers
	unix.ISOFS_SUPER_MAGIC:     true,
	unix.MSDOS_SUPER_MAGIC:     true,
	unix.PROC_SUPER_MAGIC:      true,
	unix.SYSFS_MAGIC:           true,
	0x2fc12fc1:                 true, // zfs
	0xca451a4e:                 true, // bcachefs
	0x3153464a:                 true, // jfs
}

// IsLocalFS tells whether path lies on a file system of this machine, which a
// forked child may touch before it executes. It asks the file system itself and
// so may hang: it is not for a loop.
func IsLocalFS(path string) (bool, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, &os.PathError{Op: "statfs", Path: path, Err: err}
		}
		return localFS[uint32(st.Type)], nil
	}
}

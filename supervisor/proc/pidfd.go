package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A pidfd is a plain descriptor here, not an *os.File: the keeper has one for
// every run, and closes them itself.

// OpenPIDFD pins the process pid. The error is ESRCH when there is none.
//
// Of a number that stands for no process, but is in use (by a thread, or by the
// pidfd of a process that was reaped), pidfd_open(2) says EINVAL or ENOENT, by the
// age of the kernel.
func OpenPIDFD(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.EINVAL && pid > 0 || err == unix.ENOENT {
		err = unix.ESRCH
	}
	return fd, err
}

// SendSignal sends sig to the process that pidfd pins; ESRCH when it was reaped.
func SendSignal(pidfd int, sig syscall.Signal) error {
	return unix.PidfdSendSignal(pidfd, sig, nil, 0)
}

// pidfdSignalProcessGroup is PIDFD_SIGNAL_PROCESS_GROUP (Linux 6.9, pidfd_send_signal(2)).
const pidfdSignalProcessGroup = 4

// SendGroupSignal sends sig to the process group that the pinned process leads.
// It does so even when the leader was reaped already, and can never reach a
// group that has the same number by accident. ESRCH: nobody is left in it.
// EINVAL: the kernel is older than 6.9; see [HasGroupSignal].
func SendGroupSignal(pidfd int, sig syscall.Signal) error {
	return unix.PidfdSendSignal(pidfd, sig, nil, pidfdSignalProcessGroup)
}

// HasGroupSignal finds out whether the kernel has what SendGroupSignal needs.
func HasGroupSignal() bool {
	fd, err := OpenPIDFD(unix.Getpid())
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// Signal 0 reaches nobody. ESRCH: we lead no group, but the flag is known.
	err = SendGroupSignal(fd, 0)
	return err == nil || err == unix.ESRCH || err == unix.EPERM
}

// ExitStatus is how a process ended.
type ExitStatus struct {
	Code   int            // of exit(2); meaningless if Signal is not zero or Unknown is set
	Signal syscall.Signal // that ended it; 0: it exited by itself
	Core   bool           // the signal left a core dump
	// Unknown means that the process has ended and nobody could say how.
	Unknown bool
	Rusage  Rusage
}

// Rusage is what a process and those of its children that it waited for have
// used. It is zero for a process that was not our child.
type Rusage struct {
	User, System time.Duration
	MaxRSS       int64 // bytes
}

// String is "exit code 1", "signal SIGKILL" or "unknown exit status".
func (s ExitStatus) String() string {
	switch {
	case s.Unknown:
		return "unknown exit status"
	case s.Signal != 0 && s.Core:
		return fmt.Sprintf("signal %s (core dumped)", signalName(s.Signal))
	case s.Signal != 0:
		return "signal " + signalName(s.Signal)
	}
	return fmt.Sprintf("exit code %d", s.Code)
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("%d", int(sig))
}

// fromWait takes apart the status of wait(2).
func fromWait(ws syscall.WaitStatus) ExitStatus {
	if ws.Signaled() {
		return ExitStatus{Code: -1, Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return ExitStatus{Code: ws.ExitStatus()}
}

// siginfo is the part of siginfo_t that waitid(2) fills in.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

const (
	cldKilled = 2 // si_code of waitid(2)
	cldDumped = 3
)

// wait asks waitid(2) once. Pid is 0 when nobody has ended yet.
func wait(kind, id, options int) (pid int, st ExitStatus, err error) {
	var si siginfo
	var ru syscall.Rusage
	for {
		err = unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&si)), options|unix.WEXITED|unix.WNOHANG, (*unix.Rusage)(unsafe.Pointer(&ru)))
		if err != unix.EINTR {
			break
		}
	}
	if err != nil || si.pid == 0 {
		return 0, st, err
	}
	if si.code == cldKilled || si.code == cldDumped {
		st = ExitStatus{Code: -1, Signal: syscall.Signal(si.status), Core: si.code == cldDumped}
	} else {
		st = ExitStatus{Code: int(si.status)}
	}
	st.Rusage = Rusage{
		User:   time.Duration(ru.Utime.Nano()),
		System: time.Duration(ru.Stime.Nano()),
		MaxRSS: ru.Maxrss << 10,
	}
	return int(si.pid), st, nil
}

// Reap takes the exit status of the child that pidfd pins. ok is false while it
// lives; the error is ECHILD when it is not our child (or was reaped before).
func Reap(pidfd int) (st ExitStatus, ok bool, err error) {
	pid, st, err := wait(unix.P_PIDFD, pidfd, 0)
	return st, pid != 0, err
}

// AnyZombie tells the pid of one child that has ended, and leaves it unreaped:
// the same one is told until somebody reaps it. Zero: there is none.
func AnyZombie() int {
	pid, _, err := wait(unix.P_ALL, 0, unix.WNOWAIT)
	if err != nil {
		return 0
	}
	return pid
}

// ReapPID reaps the child pid, if it has ended, and forgets its status. It is
// for a pid that AnyZombie has told: a zombie's pid is not used again.
func ReapPID(pid int) bool {
	got, _, err := wait(unix.P_PID, pid, 0)
	return err == nil && got == pid
}

// Ended asks whether the pinned process has ended (reaped or not).
func Ended(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err == unix.EINTR {
			continue
		}
		return n == 1 && p[0].Revents&(unix.POLLIN|unix.POLLHUP) != 0
	}
}

// pidfdInfo is struct pidfd_info in its first published form (64 bytes and two
// fields more), asked for by PIDFD_GET_INFO (Linux 6.13; the exit status 6.15).
type pidfdInfo struct {
	mask, cgroup                                                      uint64
	pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid uint32
	exitCode                                                          int32
	coredumpMask, spare                                               uint32
}

const (
	pidfdInfoExit    = 1 << 3
	ioctlReadWrite   = 3 << 30
	pidfdIoctlMagic  = 0xFF
	pidfdInfoNumber  = 11
	pidfdGetInfoCall = ioctlReadWrite | unsafe.Sizeof(pidfdInfo{})<<16 | pidfdIoctlMagic<<8 | pidfdInfoNumber
)

// Ending is what PIDFD_GET_INFO could say about the end of a process that is
// not our child.
type Ending int

// The answers of [StrangerExit].
const (
	EndingKnown   Ending = iota // the status is exact
	EndingNotYet                // it lives, or it is a zombie that its parent has not reaped
	EndingHidden                // this kernel does not tell
	EndingTooLate               // it had ended before it was pinned
)

// StrangerExit asks for the exit status of a process that is not our child. The
// kernel knows it only once the real parent has reaped it, which is when the
// pidfd reports POLLHUP.
func StrangerExit(pidfd int) (ExitStatus, Ending) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfoCall, uintptr(unsafe.Pointer(&info)))
	switch {
	case errno == unix.ESRCH:
		return ExitStatus{Unknown: true}, EndingTooLate
	case errno != 0:
		return ExitStatus{Unknown: true}, EndingHidden
	case info.mask&pidfdInfoExit == 0:
		return ExitStatus{Unknown: true}, EndingNotYet
	}
	return fromWait(syscall.WaitStatus(info.exitCode)), EndingKnown
}

// ZombieExit is the exit status of a process that has ended and that its parent,
// which we are not, has not yet reaped: /proc/PID/stat has it, for those who may
// know (proc_pid_stat(5), field 52). The pid must be pinned; ok is false for what
// is no zombie, or when it cannot be told whether the 0 there is meant.
func ZombieExit(pid, pidfd int) (st ExitStatus, ok bool) {
	var buf [1024]byte
	data, err := readSmall("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return st, false
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const exitCode = 52 - 3
	if len(fields) <= exitCode || fields[statState][0] != 'Z' {
		return st, false
	}
	status, err := strconv.ParseUint(string(fields[exitCode]), 10, 32)
	if err != nil || status == 0 && !mayTrace(pid) {
		return st, false
	}
	// The pid was the pinned process's when its line was read, if it still is.
	if SendSignal(pidfd, 0) == unix.ESRCH {
		return st, false
	}
	return fromWait(syscall.WaitStatus(status)), true
}

// mayTrace tells whether /proc shows us all about pid, going by ptrace(2)'s rules
// for a process that has no memory any more.
func mayTrace(pid int) bool {
	if uid, err := Owner(pid); err == nil && int(uid) == unix.Geteuid() {
		return true
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}

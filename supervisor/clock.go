package supervisor

import (
	"os"
	"time"

	"github.com/superd/superd/supervisor/core"
	"golang.org/x/sys/unix"
)

// now reads both clocks. CLOCK_BOOTTIME counts suspend and is moved by nobody
// (clock_gettime(2)).
func now() core.Time {
	var ts unix.Timespec
	// It cannot fail with a clock that exists since Linux 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return core.Time{Boot: time.Duration(ts.Nano()), Wall: time.Now().Round(0)}
}

// forkedAt is when a process was forked, by field 22 of its /proc/PID/stat, which
// counts hundredths of seconds of CLOCK_BOOTTIME (proc_pid_stat(5)); now if that is
// not known.
func forkedAt(ticks uint64) core.Time {
	at := now()
	boot := time.Duration(ticks) * (time.Second / 100)
	if ticks == 0 || boot > at.Boot {
		return at
	}
	return core.Time{Boot: boot, Wall: at.Wall.Add(boot - at.Boot)}
}

// alarmClock wakes the loop at an instant of CLOCK_BOOTTIME. Go's own timers
// run on CLOCK_MONOTONIC, which stands still while the machine sleeps.
type alarmClock struct {
	file *os.File
	fd   int
	ring chan struct{}
	set  time.Duration // what it is set to; 0: nothing
}

func newAlarmClock() (*alarmClock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	c := &alarmClock{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd, ring: make(chan struct{}, 1)}
	go c.watch()
	return c, nil
}

// watch passes the timer's expiries on, until the file is closed.
func (c *alarmClock) watch() {
	var buf [8]byte
	for {
		if _, err := c.file.Read(buf[:]); err != nil {
			return
		}
		select {
		case c.ring <- struct{}{}:
		default:
		}
	}
}

// arm sets the clock to the core's next deadline, with no system call when it
// is set so already.
func (c *alarmClock) arm(at core.Time, ok bool) error {
	want := at.Boot
	if !ok {
		want = 0
	} else if want <= 0 {
		want = 1 // zero would disarm it
	}
	if want == c.set {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(want))}
	if err := unix.TimerfdSettime(c.fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return os.NewSyscallError("timerfd_settime", err)
	}
	c.set = want
	return nil
}

func (c *alarmClock) close() { c.file.Close() }

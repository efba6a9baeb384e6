package proc

import (
	"bytes"
	"os"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// OOM tells whom the kernel has killed for want of memory. The zero value is ready;
// it is for one goroutine. It costs nothing before somebody ends by KILL, and then
// one read of /proc/vmstat for all that were heard of until then, unless the kernel
// has killed somebody since.
//
// The kernel's log names the victim (kmsg in Linux' Documentation/ABI): that is
// exact, but needs a superd that may read it and is in no pid namespace of its own.
// Where that is not so, nobody is said to have been a victim.
type OOM struct {
	// Count is how many the kernel has killed so far; nil: as /proc/vmstat has it.
	Count func() uint64

	looked  time.Time             // when that was last asked for
	kills   uint64                // oom_kill of /proc/vmstat when the log was read
	victims map[int]time.Duration // by pid: when, since boot by the log's clock
}

// initPIDNamespace is the inode of the pid namespace of the host (PROC_PID_INIT_INO):
// the log names pids of that one alone.
const initPIDNamespace = 0xEFFFFFFC

// Killed tells whether a process that was ended by KILL was killed for want of memory.
// ticks is its start time, which tells it apart from others of that pid; heard is when
// its end was heard of: of many that end together, one look tells.
func (o *OOM) Killed(pid int, ticks uint64, heard time.Time) bool {
	o.look(heard)
	at, ok := o.victims[pid]
	// The log's clock is not quite that of start times, and stands still while the
	// machine sleeps: it is never much later.
	return ok && at+clockSlack >= time.Duration(ticks)*time.Second/ClockTicks
}

// look counts, unless it has since an end was heard of: the kernel counts before it kills.
func (o *OOM) look(heard time.Time) {
	if o.looked.After(heard) {
		return
	}
	count := o.Count
	if count == nil {
		count = oomKills
	}
	o.looked = time.Now()
	kills := count()
	if kills != 0 && kills != o.kills {
		o.victims = readVictims()
	}
	o.kills = kills
}

const clockSlack = 2 * time.Second

func oomKills() uint64 {
	data, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(data, []byte("\noom_kill "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, _ := strconv.ParseUint(string(line), 10, 64)
	return n
}

// victimLine is a record of /dev/kmsg: priority, number, microseconds since boot,
// flags; text.
var victimLine = regexp.MustCompile(`^([0-9]+),[0-9]+,([0-9]+),[^;]*;.*\bKilled process ([0-9]+) \(`)

func readVictims() map[int]time.Duration {
	victims := make(map[int]time.Duration)
	if ns, err := PIDNamespace(); err != nil || ns != initPIDNamespace {
		return victims
	}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return victims
	}
	defer unix.Close(fd)
	buf := make([]byte, 8<<10) // more than a record can have
	for range maxRecords {
		n, err := unix.Read(fd, buf)
		switch err {
		case nil:
			enterVictim(victims, buf[:n])
		case unix.EINTR, unix.EPIPE: // the record was overwritten: on with the next
		default:
			return victims // EAGAIN: that was all
		}
	}
	return victims
}

// maxRecords bounds a log that grows as fast as it is read.
const maxRecords = 100_000

// enterVictim takes a victim's pid from a record that the kernel itself has made.
func enterVictim(victims map[int]time.Duration, record []byte) {
	m := victimLine.FindSubmatch(record)
	if m == nil {
		return
	}
	priority, err := strconv.Atoi(string(m[1]))
	if err != nil || priority >= 8 { // facility 0 is the kernel's, syslog(3)
		return
	}
	micros, err := strconv.ParseInt(string(m[2]), 10, 64)
	pid, err2 := strconv.Atoi(string(m[3]))
	if err == nil && err2 == nil {
		victims[pid] = time.Duration(micros) * time.Microsecond
	}
}

package service

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Manager is the service manager that has started superd. The nil Manager is there
// when nobody has: telling it anything does nothing. Safe for concurrent use.
type Manager struct {
	addr     *net.UnixAddr
	watchdog time.Duration
	log      func(string)

	mu      sync.Mutex
	queue   []string
	sending chan struct{} // closed when the queue is empty; nil: it is
	failed  bool          // the last message did not arrive
}

// Find is the service manager that the environment tells of (NOTIFY_SOCKET,
// WATCHDOG_USEC, WATCHDOG_PID); nil: none. log is told when it cannot be reached.
func Find(log func(string)) *Manager {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" || name[0] != '/' && name[0] != '@' {
		return nil // vsock: and the like are for virtual machines
	}
	m := &Manager{addr: &net.UnixAddr{Name: name, Net: "unixgram"}, log: log}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 && usec < int64(maxWatchdog/time.Microsecond) {
			m.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return m
}

// maxWatchdog is what is taken for no watchdog at all: USEC_INFINITY, and what comes near.
const maxWatchdog = 365 * 24 * time.Hour

// Watchdog is how long the manager lets superd be silent, once it is ready; 0: for ever.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Alive is the message of a superd whose loop goes round.
const Alive = "WATCHDOG=1"

// Ready says that superd has recovered, or has read its configuration anew.
const Ready = "READY=1"

// Status is what people read in systemctl status.
func Status(text string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// Stopping says that superd is on its way to its end.
const Stopping = "STOPPING=1"

// Extend asks for so much time from now on for what is under way, a start or a stop.
func Extend(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}

// Reloading says that superd reads its configuration anew, until Ready.
func Reloading() string {
	var ts unix.Timespec
	// It cannot fail with a clock that exists.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000)
}

// patience is how long a manager may take to take a message: one that restarts
// itself is away for less.
const patience = 5 * time.Second

// Tell sends assignments, in one message, and does not wait for that. Messages
// arrive in their order; one that says the same as one that still waits is dropped,
// and so is what a newer status has made old.
func (m *Manager) Tell(assignments ...string) {
	if m == nil {
		return
	}
	message := strings.Join(assignments, "\n")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = append(without(m.queue, message), message)
	if m.sending == nil {
		m.sending = make(chan struct{})
		go m.send(m.sending)
	}
}

// without is the queue without those messages that a newer one replaces.
func without(queue []string, newer string) []string {
	kept := queue[:0]
	for _, old := range queue {
		status := strings.HasPrefix(old, "STATUS=") && strings.HasPrefix(newer, "STATUS=")
		if old != newer && !status {
			kept = append(kept, old)
		}
	}
	return kept
}

// send sends what is queued, in order, and ends.
func (m *Manager) send(done chan struct{}) {
	for {
		m.mu.Lock()
		if len(m.queue) == 0 {
			m.sending = nil
			close(done)
			m.mu.Unlock()
			return
		}
		message := m.queue[0]
		m.queue = m.queue[1:]
		m.mu.Unlock()
		m.report(m.write(message))
	}
}

// write sends one message. The socket is opened for each: the manager makes its own
// anew when it restarts itself.
func (m *Manager) write(message string) error {
	conn, err := net.DialUnix("unixgram", nil, m.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	return err
}

// report logs the first of several failures.
func (m *Manager) report(err error) {
	m.mu.Lock()
	first := err != nil && !m.failed
	m.failed = err != nil
	m.mu.Unlock()
	if first && m.log != nil {
		m.log(fmt.Sprintf("cannot tell the service manager how superd is: %v (it may take superd for one that hangs)", err))
	}
}

// Flush waits until everything was sent, and no longer than so.
func (m *Manager) Flush(wait time.Duration) {
	if m == nil {
		return
	}
	m.mu.Lock()
	sending := m.sending
	m.mu.Unlock()
	if sending == nil {
		return
	}
	select {
	case <-sending:
	case <-time.After(wait):
	}
}

package keeper

import (
	"fmt"
	"os"

	"github.com/superd/superd/supervisor/proc"
)

// Observe connects to the keeper of dir to List what it has, and takes no superd's
// place. Whatever else is asked is refused, and no events come.
// A keeper that is older than this request hangs up.
func Observe(dir string, opts Options) (*Client, error) {
	if opts.Log == nil {
		opts.Log = func(string) {}
	}
	if opts.Timeout == 0 {
		opts.Timeout = greetPatience
	}
	conn, err := connect(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot observe the keeper of %s: %w", dir, err)
	}
	c := newClient(conn, opts.Log)
	c.word = reqObserve
	if err := c.greet(opts.Timeout); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot observe the keeper of %s: %w", dir, err)
	}
	go c.read()
	go c.pump()
	return c, nil
}

// maxWatchers is how many may observe at once; the oldest makes way.
const maxWatchers = 4

// observe makes c a connection that may list.
func (k *keeper) observe(c *conn) {
	if len(k.watchers) == maxWatchers {
		k.hangUp(k.watchers[0])
	}
	c.watches = true
	k.watchers = append(k.watchers, c)
}

// flushWatchers goes on with answers that an observer did not take at once.
func (k *keeper) flushWatchers() {
	for i := len(k.watchers) - 1; i >= 0; i-- { // from the end: one may be hung up on
		c := k.watchers[i]
		k.sendAnswers(c)
		k.sendListing(c)
	}
}

// ourChild pins the keeper if it is our child although we have not started it: we
// were executed in the place of a superd that had. Else it is -1.
func ourChild(pid int) int {
	st, err := proc.ReadStat(pid)
	if err != nil || st.PPID != os.Getpid() {
		return -1
	}
	fd, err := proc.OpenPIDFD(pid) // nobody but us reaps it, so it is still the same
	if err != nil {
		return -1
	}
	return fd
}

package keeper

import (
	"fmt"
	"os"

	"github.com/superd/superd/supervisor/proc"
)

// Observe connects to the keepers of dir, the current one first, to List what they
// have, and takes no superd's place. Whatever else is asked is refused, and no events
// come. A keeper that is older than this request hangs up.
func Observe(dir string, opts Options) ([]*Client, error) {
	opts = opts.complete()
	names, err := formerNames(dir)
	if err != nil {
		return nil, err
	}
	var all []*Client
	for _, name := range append([]string{socketName}, names...) {
		c, err := observe(dir, name, opts)
		if name != socketName && nobody(err) {
			continue // it has ended
		}
		if err != nil {
			hangUp(all)
			return nil, fmt.Errorf("cannot observe the keeper of %s: %w", dir, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func observe(dir, name string, opts Options) (*Client, error) {
	conn, err := connect(dir, name)
	if err != nil {
		return nil, err
	}
	c := newClient(conn, opts.Log)
	c.dir, c.name, c.word = dir, name, reqObserve
	if err := c.greet(opts.Timeout); err != nil {
		conn.Close()
		return nil, err
	}
	c.follow()
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

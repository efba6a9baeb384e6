package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
)

// A keeper that is stopped, or hangs, closes nothing: requests that have no answer
// would be lost in its socket for ever. So before a request, unless one is under
// way already, goes one that every keeper answers and that asks for nothing. When
// nothing at all comes back for long, the connection is given up. While nothing is
// asked of the keeper, nothing is done.

// hangName is no descriptor's name: to release it is no deed.
const hangName = "superd.alive"

// How long a keeper may be silent that was asked for something. Once that is over
// it gets some more time: it may be we who were stopped, and its answer lies in
// the socket. Changed by tests alone.
var (
	hangAfter = 8 * time.Second
	hangGrace = 2 * time.Second
)

// hang watches for an answer; but for packets it is guarded by Client.mu.
type hang struct {
	id      uint64 // the request that is to be answered; 0: none is under way
	timer   *time.Timer
	packets atomic.Uint64 // received
	seen    uint64        // packets when the time began
	late    bool          // the time is over, and the grace has begun
	hung    bool
}

// watchHang begins to wait for an answer, and gives the number of the request that
// is to ask for it; 0: one is under way.
func (c *Client) watchHang() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.hang
	if h.id != 0 || c.err != nil {
		return 0
	}
	c.last++
	h.id, h.seen, h.late = c.last, h.packets.Load(), false
	if h.timer == nil {
		h.timer = time.AfterFunc(hangAfter, c.suspect)
	} else {
		h.timer.Reset(hangAfter)
	}
	return h.id
}

// heard ends the wait for the answer of that number, and tells if it was waited for.
func (c *Client) heard(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 || c.hang.id != id {
		return false
	}
	c.hang.id = 0
	c.hang.timer.Stop()
	return true
}

// stopWatching is for a connection that is lost.
func (c *Client) stopWatching() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hang.id = 0
	if c.hang.timer != nil {
		c.hang.timer.Stop()
	}
}

// suspect is called when the answer has not come in time.
func (c *Client) suspect() {
	c.mu.Lock()
	h := &c.hang
	packets := h.packets.Load()
	switch {
	case h.id == 0:
		c.mu.Unlock()
		return
	case packets != h.seen: // it lives, and has much to say
		h.seen, h.late = packets, false
		h.timer.Reset(hangAfter)
		c.mu.Unlock()
		return
	case !h.late:
		h.late = true
		h.timer.Reset(hangGrace)
		c.mu.Unlock()
		return
	}
	h.hung = true
	c.mu.Unlock()
	c.lost(fmt.Errorf("the keeper has not answered for %s", hangAfter+hangGrace))
	c.conn.Close()
}

// Hung tells that the connection was given up because the keeper did not answer.
// It may live.
func (c *Client) Hung() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hang.hung
}

// Kill ends the keeper, even one that is stopped, and waits until it has ended.
// Its runs live on as orphans. That it is not there any more is no error.
func (c *Client) Kill() error {
	p, err := pinKeeper(c.pid, c.dir)
	if err != nil {
		return nil
	}
	defer p.close()
	if err := p.kill(); err != nil {
		return fmt.Errorf("cannot end the keeper, pid %d: %w", c.pid, err)
	}
	return nil
}

// BindAgain has the keeper make its socket again, after somebody has deleted it, and
// waits until it is there: a few seconds at most. current is the current keeper, c or
// another one: a socket is made under its name, which another one gives up for so long.
func (c *Client) BindAgain(current *Client) error {
	p, err := pinKeeper(c.pid, c.dir)
	if err != nil {
		err = errors.New("it is not found in /proc")
	} else {
		defer p.close()
		err = c.bindAgain(p, current)
	}
	if err != nil {
		return fmt.Errorf("cannot have the keeper, pid %d, make its socket again: %w", c.pid, err)
	}
	return nil
}

func (c *Client) bindAgain(p process, current *Client) error {
	if c == current {
		return p.bindAgain(c.dir)
	}
	if err := current.rename(socketOf(current.pid)); err != nil {
		return err
	}
	err := p.bindAgain(c.dir)
	if err == nil {
		err = os.Rename(filepath.Join(c.dir, socketName), filepath.Join(c.dir, socketOf(c.pid)))
	}
	return errors.Join(err, current.rename(socketName))
}

// WritePID writes the pid of the current keeper where people look for it.
func (c *Client) WritePID() error {
	path, text := filepath.Join(c.dir, pidName), strconv.Itoa(c.pid)+"\n"
	if have, err := os.ReadFile(path); err == nil && string(have) == text {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

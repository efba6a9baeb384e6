package logs

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

var errHangs = errors.New("a write has been in flight for more than a second: the disk hangs")

// place is the answer to which device a pool's folder is on.
type place struct {
	disk    *device      // nil: still being asked
	pending []func(sink) // to be done then, in order
}

// resolver asks on which device folders lie. To ask is to touch the disk, so it
// is done in a goroutine: one at a time, and if that is stuck for slowAnswer and
// others wait, one more.
type resolver struct {
	m       *Manager
	pools   []string // to be asked for; guarded by Manager.mu
	running int      // goroutines that are not stuck; guarded by Manager.mu
}

const slowAnswer = 200 * time.Millisecond

// locate does then with the device of the pool's folder, at once if it is known.
// m.mu is held.
func (m *Manager) locate(pool string, then func(sink)) {
	p := m.places[pool]
	if p == nil {
		p = &place{}
		m.places[pool] = p
		m.lookup.pools = append(m.lookup.pools, pool)
		m.lookup.more()
	}
	if p.disk != nil {
		then(p.disk)
		return
	}
	p.pending = append(p.pending, then)
}

// more starts a goroutine unless one is at work; Manager.mu is held.
func (r *resolver) more() {
	if r.running == 0 && len(r.pools) > 0 {
		r.running++
		go r.run()
	}
}

func (r *resolver) run() {
	m := r.m
	for {
		m.mu.Lock()
		if len(r.pools) == 0 || m.closed {
			r.running--
			m.mu.Unlock()
			return
		}
		pool := r.pools[0]
		r.pools = r.pools[1:]
		m.mu.Unlock()

		stuck, began := false, time.Now() // stuck is guarded by m.mu
		timer := time.AfterFunc(slowAnswer, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			stuck = true
			r.running--
			r.more()
			m.opt.Notify(Notice{Kind: Stalled, Pool: pool, Err: fmt.Errorf("cannot find the log folder of %s: the disk does not answer; its logs wait", pool)})
		})
		id := deviceOf(filepath.Join(m.opt.LogDir, pool))
		m.mu.Lock()
		timer.Stop()
		m.settlePlace(pool, id)
		if stuck {
			m.opt.Notify(Notice{Kind: Stalled, Pool: pool, For: time.Since(began)})
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
	}
}

// settlePlace hands over what waited for the answer; m.mu is held.
func (m *Manager) settlePlace(pool string, id uint64) {
	if m.closed {
		return
	}
	p := m.places[pool]
	d := m.disks[id]
	if d == nil {
		var err error
		if d, err = newDevice(m, id); err != nil {
			// Without descriptors for it the pool's logs wait in their FIFOs.
			m.opt.Notify(Notice{Kind: Stalled, Pool: pool, Err: fmt.Errorf("cannot read the logs of %s: %w (retrying in 1s)", pool, err)})
			time.AfterFunc(time.Second, func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.lookup.pools = append(m.lookup.pools, pool)
				m.lookup.more()
			})
			return
		}
		m.disks[id] = d
	}
	p.disk = d
	for _, then := range p.pending {
		then(d)
	}
	p.pending = nil
}

// deviceOf is st_dev of path, or of its nearest ancestor that is there.
func deviceOf(path string) uint64 {
	for {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			return st.Dev
		}
		up := filepath.Dir(path)
		if up == path {
			return 0
		}
		path = up
	}
}

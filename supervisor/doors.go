package supervisor

import (
	"net"
	"os"
	"sync"
)

// doors are the listeners that were given out. The socket behind them is replaced
// when its name was deleted, and whoever accepts from one does not notice.
type doors struct {
	mu  sync.Mutex
	all map[*door]bool
}

// door is a listener on the control socket.
type door struct {
	net.Listener // the first; only its Addr is used
	set          *doors

	mu     sync.Mutex
	now    net.Listener
	closed bool
}

// open gives a listener out.
func (d *doors) open(l net.Listener) net.Listener {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[*door]bool{}
	}
	one := &door{Listener: l, set: d, now: l}
	d.all[one] = true
	return one
}

// replace puts descriptors of another socket behind all doors.
func (d *doors) replace(l *net.UnixListener) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for one := range d.all {
		next, err := again(l)
		if err != nil {
			return err
		}
		one.become(next)
	}
	return nil
}

// close closes all doors.
func (d *doors) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for one := range d.all {
		one.shut()
	}
	clear(d.all)
}

// again is a listener on the same socket, with a descriptor of its own.
func again(l *net.UnixListener) (net.Listener, error) {
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	next, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return unlinkless(next), nil
}

func (o *door) become(next net.Listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		next.Close()
		return
	}
	old := o.now
	o.now = next
	old.Close() // whoever waits on it wakes up
}

func (o *door) current() net.Listener {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

// Accept implements net.Listener.
func (o *door) Accept() (net.Conn, error) {
	for {
		l := o.current()
		conn, err := l.Accept()
		if err == nil || o.current() == l {
			return conn, err
		}
	}
}

// Close implements net.Listener.
func (o *door) Close() error {
	o.set.mu.Lock()
	delete(o.set.all, o)
	o.set.mu.Unlock()
	return o.shut()
}

func (o *door) shut() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.now.Close()
}

// identity names a file for as long as somebody has it open.
type identity struct{ info os.FileInfo }

func identify(path string) identity {
	info, err := os.Lstat(path)
	if err != nil {
		return identity{}
	}
	return identity{info}
}

// still tells whether path names the same file as then.
func (i identity) still(path string) bool {
	now := identify(path)
	return i.info != nil && now.info != nil && os.SameFile(i.info, now.info)
}

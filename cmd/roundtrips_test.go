package cmd_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRecoveryWaitsForTheKeeperAFewTimes counts how often a superd that finds workers
// alive has to wait for its keeper: no more often for sixty than for four. A crash is
// to cost little however many there are.
func TestRecoveryWaitsForTheKeeperAFewTimes(t *testing.T) {
	t.Parallel()
	few, many := recoveryRounds(t, 4), recoveryRounds(t, 60)
	t.Logf("%d rounds for 4 workers, %d for 60", few, many)
	// Some more, since a superd that got no processor for a while looks as if it waited.
	if few == 0 || many > few+15 {
		t.Errorf("superd waited for its keeper %d times with 4 live workers and %d times with 60", few, many)
	}
}

// recoveryRounds is how often a superd waits for the keeper from its start until it
// answers, with so many live workers.
func recoveryRounds(t *testing.T, workers int) int {
	t.Helper()
	d := newDaemon(t, fmt.Sprintf("[pool.w]\ncommand = [\"sleep\", \"100000\"]\ncount = %d\n", workers))
	d.begin(nil, nil)
	alive := func() bool {
		out, code := d.superctl("--timeout", "5s", "status")
		return code == 0 && strings.Count(out, " running") >= workers
	}
	d.until("all run", alive)
	d.cmd.Process.Kill()
	d.exits()
	p := newSlowLink(t, d.dir+"/run")
	d.begin(nil, nil)
	d.until("superd answers", alive)
	return p.count()
}

// quiet is how long superd must have sent nothing to be taken for waiting.
const quiet = 20 * time.Millisecond

// slowLink stands between superd and its keeper. It passes on what the keeper says
// when superd has no more to say: that is a round.
type slowLink struct {
	mu     sync.Mutex
	rounds int
	heard  time.Time  // when superd last sent something
	back   [][]byte   // packets for superd
	beside [][]int    // the descriptors beside each
	filled *sync.Cond // back is not empty, or it is over
	over   bool
}

// newSlowLink takes the place of the keeper's socket.
func newSlowLink(t *testing.T, dir string) *slowLink {
	t.Helper()
	name, behind := dir+"/keeper.sock", dir+"/behind"
	if err := os.Rename(name, behind); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: name, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	p := &slowLink{}
	p.filled = sync.NewCond(&p.mu)
	var ends []*net.UnixConn
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		near, err := l.AcceptUnix()
		if err != nil {
			return
		}
		far, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: behind, Net: "unixpacket"})
		if err != nil {
			near.Close()
			return
		}
		ends = []*net.UnixConn{near, far}
		go p.forth(near, far)
		go p.take(far)
		go p.give(near)
	}()
	t.Cleanup(func() {
		l.Close()
		<-ready
		for _, c := range ends {
			c.Close()
		}
		p.mu.Lock()
		p.over = true
		p.filled.Broadcast()
		p.mu.Unlock()
	})
	return p
}

func (p *slowLink) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rounds
}

// receive takes a packet with what is beside it.
func receive(c *net.UnixConn) (packet []byte, fds []int, err error) {
	packet, oob := make([]byte, 128<<10), make([]byte, unix.CmsgSpace(16*4))
	n, oobn, _, _, err := c.ReadMsgUnix(packet, oob)
	if err != nil {
		return nil, nil, err
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		got, _ := unix.ParseUnixRights(&messages[i])
		fds = append(fds, got...)
	}
	return packet[:n], fds, nil
}

func pass(c *net.UnixConn, packet []byte, fds []int) {
	c.WriteMsgUnix(packet, unix.UnixRights(fds...), nil)
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// forth passes on at once what superd says.
func (p *slowLink) forth(near, far *net.UnixConn) {
	for {
		packet, fds, err := receive(near)
		if err != nil {
			far.Close()
			return
		}
		p.mu.Lock()
		p.heard = time.Now()
		p.mu.Unlock()
		pass(far, packet, fds)
	}
}

// take keeps what the keeper says.
func (p *slowLink) take(far *net.UnixConn) {
	for {
		packet, fds, err := receive(far)
		p.mu.Lock()
		if err != nil {
			p.over = true
		} else {
			p.back, p.beside = append(p.back, packet), append(p.beside, fds)
		}
		p.filled.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// give passes it on when superd waits for it.
func (p *slowLink) give(near *net.UnixConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.back) == 0 && !p.over {
			p.filled.Wait()
		}
		if len(p.back) == 0 {
			near.Close()
			return
		}
		if left := quiet - time.Since(p.heard); left > 0 {
			p.mu.Unlock()
			time.Sleep(left)
			p.mu.Lock()
			continue
		}
		back, beside := p.back, p.beside
		p.back, p.beside = nil, nil
		p.rounds++
		p.mu.Unlock()
		for i, packet := range back {
			pass(near, packet, beside[i])
		}
		p.mu.Lock()
	}
}

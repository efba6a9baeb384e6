package keeper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// TestFetchAll gets many descriptors in one go, each the right one, and what cannot
// be had in its place.
func TestFetchAll(t *testing.T) {
	r := newRig(t)
	const n = 3*lot + 7
	inodes := map[string]uint64{}
	var names []string
	for i := range n {
		f, err := os.CreateTemp(t.TempDir(), "held")
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("r%d.out", i)
		if err := r.Hold(name, f); err != nil {
			t.Fatal(err)
		}
		names, inodes[name] = append(names, name), inodeOf(t, f)
		f.Close()
	}
	names[lot-1], names[2*lot] = "not.held", strings.Repeat("x", 1000)
	for i, got := range r.FetchAll(names) {
		switch i {
		case lot - 1:
			if !errors.Is(got.Err, ErrNotHeld) {
				t.Errorf("what is not held: %v", got.Err)
			}
			continue
		case 2 * lot:
			if got.Err == nil || errors.Is(got.Err, ErrNotHeld) {
				t.Errorf("what is no name: %v", got.Err)
			}
			continue
		}
		if got.Err != nil {
			t.Fatalf("%d: %v", i, got.Err)
		}
		if ino := inodeOf(t, got.File); ino != inodes[names[i]] {
			t.Errorf("%s has inode %d, want %d", names[i], ino, inodes[names[i]])
		}
		got.File.Close()
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if all := r.FetchAll(nil); len(all) != 0 {
		t.Errorf("of no names: %v", all)
	}
}

func inodeOf(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestFetchAllWaitsOncePerLot has a keeper that answers a lot only when the next one
// is there too: whoever waits for an answer in between waits for ever.
func TestFetchAllWaitsOncePerLot(t *testing.T) {
	const n = 10 * lot
	c, far := pairedClient(t)
	var most atomic.Int64
	go func() {
		var under []uint64
		buf := make([]byte, maxPacket)
		for seen := 0; seen < n; {
			k, err := far.Read(buf)
			if err != nil {
				return
			}
			r := pack.NewReader(string(buf[:k]))
			what, id := kind(r.Byte()), r.Uint()
			if what != reqFetch { // it is asked whether it lives
				answerDone(far, id)
				continue
			}
			seen++
			under = append(under, id)
			most.Store(max(most.Load(), int64(len(under))))
			if len(under) == 2*lot || seen == n {
				for len(under) > lot || seen == n && len(under) > 0 {
					answerRefused(far, under[0])
					under = under[1:]
				}
			}
		}
	}()
	done := make(chan []Fetched)
	go func() {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("r%d.out", i)
		}
		done <- c.FetchAll(names)
	}()
	select {
	case all := <-done:
		for _, f := range all {
			if !errors.Is(f.Err, ErrNotHeld) {
				t.Fatalf("%v", f.Err)
			}
		}
	case <-time.After(bound / 2): // before patience has an end
		t.Fatalf("answers were waited for one by one, or in smaller lots; at most %d were under way", most.Load())
	}
	if most.Load() >= maxAnswers {
		t.Errorf("%d requests under way are more than a keeper keeps answers for", most.Load())
	}
}

// TestFetchAllFromALostKeeper ends with an error for each.
func TestFetchAllFromALostKeeper(t *testing.T) {
	c, far := pairedClient(t)
	go func() {
		far.Read(make([]byte, maxPacket))
		far.Close()
	}()
	for _, f := range c.FetchAll(make([]string, 3*lot)) {
		if f.Err == nil {
			t.Fatal("a descriptor from nowhere")
		}
	}
	names := make([]string, 3*lot)
	for i := range names {
		names[i] = "name"
	}
	for _, f := range c.FetchAll(names) {
		if !errors.Is(f.Err, ErrLost) {
			t.Fatalf("%v, want %v", f.Err, ErrLost)
		}
	}
}

// pairedClient is a client whose keeper the test is.
func pairedClient(t *testing.T) (*Client, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	c := newClient(ends[0], func(s string) { t.Log("keeper:", s) })
	go c.read()
	go c.pump()
	t.Cleanup(func() {
		c.Close()
		ends[1].Close()
		<-c.over
	})
	return c, ends[1]
}

func answerDone(far *net.UnixConn, id uint64) {
	var w pack.Writer
	head(&w, ansDone, id)
	far.Write(w.Buf)
}

func answerRefused(far *net.UnixConn, id uint64) {
	var w pack.Writer
	head(&w, ansRefused, id)
	w.Uint(refuseNotHeld)
	w.String("")
	far.Write(w.Buf)
}

// TestFetchLeavesNothing: what the keeper sends is a duplicate, and goes when it was
// sent. superd fetches all that is held whenever it starts.
func TestFetchLeavesNothing(t *testing.T) {
	r := newRig(t)
	f := outFile(t)
	if err := r.Hold("thing", f); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t, r.PID())
	for range 20 {
		got, err := r.Fetch("thing")
		if err != nil {
			t.Fatal(err)
		}
		got.Close()
	}
	eventually(t, "as few descriptors as before", func() bool { return descriptors(t, r.PID()) <= before })
}

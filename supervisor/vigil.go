package supervisor

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// vigil is told by the kernel when something is deleted from superd's folders, or
// moved away. Nothing is polled: while nothing happens to them it costs nothing.
type vigil struct {
	file *os.File // of inotify
	fd   int

	mu   sync.Mutex
	tell map[int32]*alarmBell // by watch descriptor
	// adding is how many folders are about to be watched, early what happened in one
	// before it was known whom to tell.
	adding int
	early  map[int32]bool
	bells  map[string]*alarmBell
}

// alarmBell calls somebody some time after the first event of several.
type alarmBell struct {
	mu      sync.Mutex
	ringing bool
	call    func()
}

// settleTime is how long after a deletion it is looked at what is gone: whoever
// removes a folder removes what is in it one by one.
const settleTime = 30 * time.Millisecond

// watched is what a folder is watched for. That files are made or written in it is
// nobody's concern.
const watched = unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

func newVigil() (*vigil, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	v := &vigil{file: os.NewFile(uintptr(fd), "inotify"), fd: fd, tell: map[int32]*alarmBell{}, early: map[int32]bool{}, bells: map[string]*alarmBell{}}
	go v.follow()
	return v, nil
}

// watch has call called when something vanishes from a folder. Called again for
// one that was made anew it watches that one.
func (v *vigil) watch(dir string, call func()) error {
	v.mu.Lock()
	v.adding++
	v.mu.Unlock()
	wd, err := unix.InotifyAddWatch(v.fd, dir, watched) // may wait for a disk, and nobody else may wait for that
	v.mu.Lock()
	defer v.mu.Unlock()
	early := v.early[int32(wd)]
	if v.adding--; v.adding == 0 {
		clear(v.early)
	}
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", dir, err)
	}
	b := v.bells[dir]
	if b == nil {
		b = &alarmBell{call: call}
		v.bells[dir] = b
	}
	v.tell[int32(wd)] = b
	if early {
		b.ring()
	}
	return nil
}

// follow reads what the kernel tells, until the vigil is closed.
func (v *vigil) follow() {
	buf := make([]byte, 16<<10)
	for {
		n, err := v.file.Read(buf)
		if err != nil {
			return
		}
		for ev := buf[:n]; len(ev) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(ev))
			mask, length := binary.NativeEndian.Uint32(ev[4:]), int(binary.NativeEndian.Uint32(ev[12:]))
			end := min(unix.SizeofInotifyEvent+length, len(ev))
			name := strings.TrimRight(string(ev[unix.SizeofInotifyEvent:end]), "\x00")
			ev = ev[end:]
			v.happened(wd, mask, name)
		}
	}
}

func (v *vigil) happened(wd int32, mask uint32, name string) {
	v.mu.Lock()
	bells := []*alarmBell{v.tell[wd]}
	if bells[0] == nil && v.adding > 0 {
		v.early[wd] = true
	}
	if mask&unix.IN_IGNORED != 0 { // the folder is gone, and the watch with it
		delete(v.tell, wd)
	}
	if mask&unix.IN_Q_OVERFLOW != 0 { // anything may have happened
		bells = bells[:0]
		for _, b := range v.bells {
			bells = append(bells, b)
		}
	}
	v.mu.Unlock()
	if strings.HasSuffix(name, ".new") {
		return // superd itself finishes a file
	}
	for _, b := range bells {
		if b != nil {
			b.ring()
		}
	}
}

// ring has the bell's owner called once things have settled.
func (b *alarmBell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ringing {
		return
	}
	b.ringing = true
	time.AfterFunc(settleTime, func() {
		b.mu.Lock()
		b.ringing = false
		b.mu.Unlock()
		b.call()
	})
}

func (v *vigil) close() { v.file.Close() }

package logs

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// settle finishes the batch that was in flight when superd was killed: bytes
// that are in the file already leave the FIFO. The note says which they are, and
// the waste pipe whether they have left it.
func (d *device) settle(s *source) error {
	if !s.found {
		return nil
	}
	n := s.note
	if n != nil && n.phase != phaseIdle && n.dev == d.id {
		if err := d.prepare(s.file); err != nil {
			return err
		}
		if err := d.settleBatch(s, n); err != nil {
			return err
		}
	}
	s.found = false
	s.bytes.Store(0)
	if n != nil {
		n.finish()
		s.bytes.Store(int64(n.bytes))
	}
	return nil
}

// keepWaste has the keeper hold the waste pipe, and looks at what an earlier superd
// left in it. Without a keeper to ask, recovery compares bytes.
func (d *device) keepWaste() {
	if d.m.opt.Hold == nil || d.m.opt.Fetch == nil {
		return
	}
	name := d.wasteName()
	if f, err := d.m.opt.Fetch(name); err == nil {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		f.Close()
		if err == nil {
			d.wasteMu.Lock()
			unix.Close(d.waste)
			d.waste = fd
			d.wasteMu.Unlock()
			d.wasteID = pipeID(fd)
			left, _ := unix.IoctlGetInt(fd, unix.TIOCINQ)
			d.m.notes.judge(d.id, d.wasteID, left > 0)
			d.discard(fd, left)
			d.size = min(d.size, widen(fd))
			return
		}
	}
	fd, err := unix.FcntlInt(uintptr(d.waste), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if d.m.opt.Hold(name, f) == nil {
		d.wasteID = pipeID(fd)
	}
}

// wasteName is the waste pipe's name in the keeper.
func (d *device) wasteName() string { return fmt.Sprintf("logs.waste.%x", d.id) }

// pipeID tells pipes apart; never 0 for one that is there.
func pipeID(fd int) uint32 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return uint32(st.Ino) | 1<<31
}

// settleBatch takes the batch out of the FIFO if it is there. The note's phase
// stays until it is done, so that being killed in the middle of it changes nothing.
func (d *device) settleBatch(s *source, n *note) error {
	fd, size, err := d.batchFile(s.file, n.ino)
	if err != nil {
		return err
	}
	if fd >= 0 && fd != s.file.fd {
		defer unix.Close(fd)
	}
	if n.phase == phaseWriting {
		if fd < 0 { // the file was taken away: what is in the FIFO is written again
			size = 0
		}
		n.double(n.grown(size))
	}
	length := int(n.length)
	switch {
	case length == 0 || s.waiting() < length: // nothing was written, or it has left the FIFO
	case n.phase == phaseDouble || fd >= 0 && d.headIs(s, fd, int64(n.start), length):
		hook("settling")
		d.taken(s, length)
	}
	return nil
}

// headIs tells whether the FIFO begins with the bytes that are at off in the file.
// Only where the keeper died with superd must they be compared: equal lines that
// came later cannot be told from these.
func (d *device) headIs(s *source, fd int, off int64, length int) bool {
	data := make([]byte, length)
	if k, err := unix.Pread(fd, data, off); err != nil || k < length {
		return false // cut from outside: nothing to compare with
	}
	k, err := d.look(s.fd, length)
	if err != nil {
		return false
	}
	same := k == length && d.sameHead(data)
	d.discard(d.scratch[0], k) // what sameHead did not read
	return same
}

// sameHead reads scratch and compares.
func (d *device) sameHead(data []byte) bool {
	for len(data) > 0 {
		got := d.bytes(min(len(data), bufSize))
		if len(got) == 0 || !bytes.Equal(got, data[:len(got)]) {
			return false
		}
		data = data[len(got):]
	}
	return true
}

// batchFile finds the file of a batch by its inode: f itself, or one that was
// rotated since. -1: it is gone. Another descriptor than f's is to be closed.
func (d *device) batchFile(f *logFile, ino uint64) (fd int, size int64, err error) {
	if f.ino == ino {
		return f.fd, f.size, nil
	}
	for i := 1; i <= f.keys.Keep; i++ {
		var st unix.Stat_t
		name := rotatedName(f.name, i)
		if unix.Fstatat(f.folder.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Ino != ino {
			continue
		}
		fd, err := unix.Openat(f.folder.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, 0, fmt.Errorf("cannot open %s: %w", name, err)
		}
		return fd, st.Size, nil
	}
	return -1, 0, nil
}

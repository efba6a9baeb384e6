package logs

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// settle finishes the batch that was in flight when superd was killed: bytes
// that are in the file already leave the FIFO. The note says which they are;
// whether they are still in the FIFO is seen by comparing.
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

// settleBatch compares and drops. The note's phase stays until it is done, so
// that being killed in the middle of it changes nothing.
func (d *device) settleBatch(s *source, n *note) error {
	fd, size, err := d.batchFile(s.file, n.ino)
	if err != nil || fd < 0 {
		n.length = 0 // the file was taken away: what is in the FIFO is written again
		return err
	}
	if fd != s.file.fd {
		defer unix.Close(fd)
	}
	if n.phase == phaseWriting {
		n.written(n.grown(size))
	}
	length := int(n.length)
	if length == 0 || s.waiting() < length {
		return nil // nothing was written, or it has left the FIFO
	}
	data := make([]byte, length)
	if k, err := unix.Pread(fd, data, int64(n.start)); err != nil || k < length {
		return nil // cut from outside: nothing to compare with
	}
	k, err := d.look(s.fd, length)
	if err != nil {
		return nil
	}
	same := k == length && d.sameHead(data)
	if left := k; left > 0 {
		d.discard(d.scratch[0], left)
	}
	if same {
		d.consume(s.fd, length)
	}
	return nil
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

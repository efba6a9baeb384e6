package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// packer compresses rotated files of one device, one after the other, in a
// goroutine that is there only while there is something to compress.
type packer struct {
	d    *device
	mu   sync.Mutex
	jobs []packJob
	busy bool
	stop bool
	gone sync.WaitGroup
}

// packJob is all rotated files of one log.
type packJob struct {
	dir  int // descriptor of its own
	name string
	keep int
}

// startup looks after what an earlier superd did not finish compressing.
func (p *packer) startup(f *logFile) {
	if f.keys.Compress && exists(f.folder.fd, rotatedName(f.name, 1)) {
		p.queue(f)
	}
}

// queue has f's rotated files compressed.
func (p *packer) queue(f *logFile) {
	dir, err := unix.FcntlInt(uintptr(f.folder.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return // the next rotation asks again
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop {
		unix.Close(dir)
		return
	}
	for _, j := range p.jobs {
		if j.name == f.name && sameFile(j.dir, dir) {
			unix.Close(dir)
			return
		}
	}
	p.jobs = append(p.jobs, packJob{dir, f.name, f.keys.Keep})
	if !p.busy {
		p.busy = true
		p.gone.Go(p.run)
	}
}

// quit gives up what is not compressed yet and waits until nothing is at work.
func (p *packer) quit() {
	p.mu.Lock()
	p.stop = true
	p.mu.Unlock()
	p.gone.Wait()
}

func (p *packer) stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stop
}

// untilStopped ends a copy that quit waits for.
type untilStopped struct {
	p *packer
	r io.Reader
}

func (u untilStopped) Read(b []byte) (int, error) {
	if u.p.stopped() {
		return 0, errors.New("superd ends")
	}
	return u.r.Read(b)
}

func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Ino == y.Ino && x.Dev == y.Dev
}

func (p *packer) run() {
	for {
		p.mu.Lock()
		if len(p.jobs) == 0 {
			p.busy = false
			p.mu.Unlock()
			return
		}
		j := p.jobs[0]
		p.jobs = p.jobs[1:]
		p.mu.Unlock()
		for i := j.keep; i >= 1 && !p.stopped(); i-- {
			if err := p.pack(j, rotatedName(j.name, i)); err != nil && !errors.Is(err, os.ErrNotExist) {
				break // no room, most likely: the file stays as it is, the next rotation tries again
			}
		}
		unix.Close(j.dir)
	}
}

// pack compresses one rotated file into a temporary one and puts that in its place.
func (p *packer) pack(j packJob, name string) error {
	fd, err := unix.Openat(j.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	src := os.NewFile(uintptr(fd), name)
	defer src.Close()
	if err := ownFile(fd); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	tmp := j.name + ".gz.tmp"
	if err := unix.Unlinkat(j.dir, tmp, 0); err != nil && err != unix.ENOENT {
		return err
	}
	fd, err = unix.Openat(j.dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(fd), tmp)
	hook("packing")
	err = squeeze(dst, untilStopped{p, src}, &st)
	ino := uint64(0)
	if err == nil {
		var packed unix.Stat_t
		err = unix.Fstat(fd, &packed)
		ino = packed.Ino
	}
	if e := dst.Close(); err == nil {
		err = e
	}
	hook("packed")
	if err == nil {
		err = p.place(j, tmp, st.Ino, ino)
	}
	if err != nil {
		unix.Unlinkat(j.dir, tmp, 0)
	}
	return err
}

// squeeze writes src compressed to dst, safe on the disk, with src's time and group.
func squeeze(dst *os.File, src io.Reader, st *unix.Stat_t) error {
	z := gzip.NewWriter(dst)
	z.ModTime = time.Unix(st.Mtim.Unix())
	if _, err := io.Copy(z, src); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	fd := int(dst.Fd())
	unix.Fchown(fd, -1, int(st.Gid)) // as far as superd may
	tv := []unix.Timeval{unix.NsecToTimeval(st.Atim.Nano()), unix.NsecToTimeval(st.Mtim.Nano())}
	unix.Futimes(fd, tv)
	return dst.Sync()
}

// place puts the compressed file where the file with inode ino is by now:
// rotations went on meanwhile.
func (p *packer) place(j packJob, tmp string, ino, packed uint64) error {
	p.d.renames.Lock()
	defer p.d.renames.Unlock()
	for i := 1; i <= j.keep; i++ {
		name := rotatedName(j.name, i)
		var st unix.Stat_t
		if unix.Fstatat(j.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Ino != ino {
			continue
		}
		markPacked(j.dir, name+".idx", ino, packed)
		if err := unix.Renameat(j.dir, tmp, j.dir, name+".gz"); err != nil {
			return fmt.Errorf("cannot rename %s: %w", tmp, err)
		}
		hook("placed")
		return unix.Unlinkat(j.dir, name, 0)
	}
	return unix.ENOENT // rotated away for good
}

// markPacked enters the compressed file's inode into the index.
func markPacked(dir int, name string, ino, packed uint64) {
	fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var b [recordSize]byte
	if n, err := unix.Pread(fd, b[:], 0); err != nil || n < recordSize || ownFile(fd) != nil {
		return
	}
	if h, err := DecodeHeader(b[:]); err == nil && h.Inode == ino {
		h.Packed = packed
		unix.Pwrite(fd, h.encode(), 0)
	}
}

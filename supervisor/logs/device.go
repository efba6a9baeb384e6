package logs

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/superd/superd/config"
)

const (
	holdTime  = time.Second // a source waits so long for another's line to end,
	holdBytes = 64 << 10    // or until so much has gathered in its FIFO
)

// device writes all logs of one file system. Its goroutine is the only one that
// waits for that disk: when it hangs, these logs stand still and nothing else.
type device struct {
	poller
	pump
	m  *Manager
	id uint64 // st_dev

	wasteID uint32 // low bits of the held waste pipe's inode; 0: nobody holds it

	now     time.Time
	sources map[int32]*source // by FIFO descriptor
	files   map[string]*logFile
	folders map[string]*folder
	opened  []*logFile
	tick    uint64 // counts uses of files
	runq    []*source
	spare   []*source         // runq's other half
	waits   map[*logFile]bool // files that look at the clock: held sources or trouble

	renames sync.Mutex // held while names of rotated files change
	packer  packer
	stall   stall
	current atomic.Pointer[logFile] // being served, for the stall watch
}

func newDevice(m *Manager, id uint64) (*device, error) {
	d := &device{
		m: m, id: id,
		sources: map[int32]*source{},
		files:   map[string]*logFile{},
		folders: map[string]*folder{},
		waits:   map[*logFile]bool{},
	}
	if err := d.poller.init(); err != nil {
		return nil, err
	}
	if err := d.pump.init(); err != nil {
		d.poller.release()
		return nil, err
	}
	d.stall.report = d.stalled
	d.packer.d = d
	go d.loop()
	return d, nil
}

func (d *device) loop() {
	defer close(d.ended)
	d.keepWaste()
	for d.take() {
		timeout := d.timeout()
		for _, ev := range d.wait(timeout) {
			if s := d.sources[ev.Fd]; s != nil {
				s.ready = true
				s.ending = s.ending || ev.Events&unix.EPOLLHUP != 0
				d.enqueue(s)
			}
		}
		d.now = time.Now()
		d.due()
		d.round()
	}
	for _, f := range d.files {
		f.close()
	}
	for _, dir := range d.folders {
		dir.close()
	}
	d.packer.quit()
	d.poller.release()
	d.pump.release()
}

// enqueue has the source served in the next round.
func (d *device) enqueue(s *source) {
	if !s.queued && !s.gone {
		s.queued = true
		d.runq = append(d.runq, s)
	}
}

// round serves every queued source one batch.
func (d *device) round() {
	queue := d.runq
	d.runq = d.spare[:0]
	for _, s := range queue {
		s.queued = false
		d.current.Store(s.file)
		d.stall.begin()
		d.serve(s)
		d.stall.end()
	}
	clear(queue)
	d.spare = queue[:0]
}

// timeout is how long the loop may sleep; negative: until something comes.
func (d *device) timeout() time.Duration {
	if len(d.runq) > 0 {
		return 0
	}
	wait := time.Duration(-1)
	for f := range d.waits {
		if t := f.deadline(); !t.IsZero() {
			if left := max(time.Until(t), 0); wait < 0 || left < wait {
				wait = left
			}
		}
	}
	return wait
}

// due queues the sources of files whose deadline has come.
func (d *device) due() {
	for f := range d.waits {
		t := f.deadline()
		if t.IsZero() {
			delete(d.waits, f)
			continue
		}
		if t.After(d.now) {
			continue
		}
		if !d.again(f) {
			delete(d.waits, f)
		}
	}
}

// again queues f's sources that have something to write.
func (d *device) again(f *logFile) bool {
	some := false
	for _, s := range f.sources {
		if s.ready || s.lost > 0 && !s.midDrop {
			d.enqueue(s)
			some = true
		}
	}
	return some
}

// add takes a run's sources over.
func (d *device) add(r *run) {
	for _, s := range r.sources {
		f := d.file(&r.spec, s.stream)
		s.file = f
		f.sources = append(f.sources, s)
		d.sources[int32(s.fd)] = s
		if s.found {
			s.ending, s.ready = true, true
			f.claim()
			d.enqueue(s)
		}
		if err := d.watch(s.fd); err != nil {
			d.m.opt.Notify(f.notice(Notice{Kind: Stalled, Run: r.id, Err: fmt.Errorf("cannot watch the FIFO: %w", err)}))
		}
	}
}

// end is told when a run has ended.
func (d *device) end(r *run) {
	r.ended, r.endedAt = true, time.Now()
	for _, s := range r.sources {
		if !s.gone {
			s.ending, s.ready = true, true
			d.enqueue(s)
		}
	}
}

// reconfigure changes what may change while a pool's logs are written.
func (d *device) reconfigure(pool string, l config.Log) {
	for _, f := range d.files {
		if f.pool == pool {
			f.keys.MaxSize, f.keys.Keep = l.MaxSize, l.Keep
			f.keys.Compress, f.keys.BlockOnFull = l.Compress, l.BlockOnFull
		}
	}
}

// serve moves one batch of the source, if it is its turn.
func (d *device) serve(s *source) {
	if s.gone {
		return
	}
	f := s.file
	n := s.waiting()
	if n == 0 && s.lost == 0 && !s.found {
		d.quiet(s)
		return
	}
	s.ready = true
	if f.trouble != nil && d.now.Before(f.retryAt) {
		d.relieve(s, n)
		return
	}
	err := d.settle(s)
	if err == nil {
		if n = s.waiting(); n == 0 && s.lost == 0 {
			d.quiet(s)
			return
		}
		err = d.batch(s, n)
	}
	if err == errNotYet {
		if f.trouble != nil {
			f.retryAt = d.now.Add(retryTime)
		}
		return
	}
	if err != nil {
		d.fail(f, err)
		d.relieve(s, n)
		return
	}
	d.recovered(f)
	if s.waiting() > 0 || s.ending {
		d.enqueue(s)
	} else {
		s.ready = false
	}
}

// quiet is called when the FIFO is empty: perhaps for ever.
func (d *device) quiet(s *source) {
	s.ready = false
	s.heldSince = time.Time{}
	if !s.ending {
		return
	}
	k, err := d.look(s.fd, 1)
	if k > 0 { // it came just now
		d.discard(d.scratch[0], k)
		s.ready = true
		d.enqueue(s)
		return
	}
	switch {
	case err != nil:
		s.ending = false // somebody has it open; EPOLLHUP will tell
	case s.run.ended:
		d.finish(s)
	}
}

// finish is the end of a source: nobody can write into its FIFO any more, and it
// is empty.
func (d *device) finish(s *source) {
	f := s.file
	s.gone = true
	delete(d.sources, int32(s.fd))
	d.unwatch(s.fd)
	d.m.remove(s)
	f.leave(s)
	d.callHeld(f)
	if len(f.sources) == 0 {
		d.drop(f)
	}
	if s.run.left--; s.run.left == 0 {
		d.m.drained(s.run)
	}
}

// batch writes the next bytes of s into its file and takes them out of the FIFO.
// It returns errNotYet if another source is in the middle of a line.
func (d *device) batch(s *source, n int) error {
	f := s.file
	if err := d.prepare(f); err != nil {
		return err
	}
	if ok, err := d.turn(s); !ok {
		return cmpErr(err)
	}
	if s.lost > 0 {
		if err := d.tellLost(s); err != nil {
			return err
		}
		if n = s.waiting(); n == 0 {
			return nil
		}
	}
	limit, room, err := d.plan(s, n)
	if err != nil {
		return err
	}
	f.segment(s.run.id, s.stream, d.now)
	var wrote int
	if room >= 0 || f.noSplice {
		wrote, err = d.copyBatch(s, limit, room)
	} else {
		wrote, err = d.spliceBatch(s, limit)
	}
	s.bytes.Add(int64(wrote))
	if wrote > 0 {
		s.heldSince = time.Time{}
	}
	return err
}

func cmpErr(err error) error {
	if err == nil {
		return errNotYet
	}
	return err
}

// plan rotates if it is time, and says how many bytes may follow. With room >= 0
// they have to end with a line: the last that ends within room bytes, else the
// first that ends at all.
func (d *device) plan(s *source, n int) (limit, room int, err error) {
	f := s.file
	limit, room = min(n, d.size), -1
	if f.contended(s) {
		room = limit
	}
	maxSize := f.keys.MaxSize
	if maxSize <= 0 || d.now.Before(f.rotateAt) {
		return limit, room, nil
	}
	if f.size >= maxSize {
		ended, err := f.lineEnded()
		if err != nil {
			return 0, 0, err
		}
		if ended || f.size >= maxSize+lineSlack {
			if err := d.rotate(f); err != nil {
				return 0, 0, err
			}
		}
	}
	switch left := maxSize - f.size; {
	case left <= 0: // a line ends beyond maxSize
		if d.now.Before(f.rotateAt) {
			return limit, room, nil
		}
		return int(min(int64(limit), left+lineSlack)), 0, nil
	case room >= 0:
		room = int(min(int64(room), left))
	default:
		limit = int(min(int64(limit), left))
	}
	return limit, room, nil
}

// spliceBatch moves up to limit bytes without looking at them.
func (d *device) spliceBatch(s *source, limit int) (int, error) {
	f := s.file
	n, err := d.look(s.fd, limit)
	if n == 0 {
		if err == unix.EAGAIN {
			err = nil
		}
		return 0, err
	}
	s.note.begin(d.id, d.wasteID, f.ino, f.size, int64(n))
	hook("writing")
	wrote := 0
	for wrote < n {
		off := f.size
		k, e := unix.Splice(d.scratch[0], nil, f.fd, &off, n-wrote, unix.SPLICE_F_MOVE)
		if e == unix.EINTR {
			continue
		}
		if e == nil && k == 0 {
			e = unix.EIO
		}
		if e != nil {
			err = e
			break
		}
		wrote += int(k)
		f.size += k
	}
	if wrote < n {
		d.discard(d.scratch[0], n-wrote)
	}
	if err == unix.EINVAL && wrote == 0 { // this file system cannot: decided once for the file
		f.noSplice = true
		s.note.finish()
		return d.copyBatch(s, limit, -1)
	}
	d.taken(s, wrote)
	return wrote, err
}

// copyBatch moves up to limit bytes through memory and ends as plan said.
func (d *device) copyBatch(s *source, limit, room int) (int, error) {
	f := s.file
	data, err := d.peek(s.fd, limit)
	if len(data) == 0 {
		if err == unix.EAGAIN {
			err = nil
		}
		return 0, err
	}
	if room >= 0 {
		end := bytes.LastIndexByte(data[:min(room, len(data))], '\n') + 1
		if end == 0 {
			end = bytes.IndexByte(data, '\n') + 1
		}
		if end == 0 {
			end = len(data)
			if ok, err := d.begins(s, data); !ok {
				return 0, cmpErr(err)
			}
		}
		data = data[:end]
	}
	s.note.begin(d.id, d.wasteID, f.ino, f.size, int64(len(data)))
	hook("writing")
	wrote, err := f.append(data)
	d.taken(s, wrote)
	return wrote, err
}

// taken takes the bytes that are in the file out of the FIFO.
func (d *device) taken(s *source, wrote int) {
	if wrote > 0 {
		hook("spliced")
		s.note.written(int64(wrote))
		hook("written")
		d.consume(s.fd, wrote, func() {
			hook("consumed")
			s.note.finish()
			hook("finished")
		})
	}
	s.note.finish()
}

// hook is called at the instants at which a test wants to be killed.
var hook = func(string) {}

package logs

import (
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

	wasteMu sync.Mutex // for changes of pump.waste, and looks at it from elsewhere
	wasteID uint32     // low bits of the held waste pipe's inode; 0: nobody holds it

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

package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superd/superd/config"
)

// Options says where logs live and whom to tell.
type Options struct {
	RuntimeDir string // holds fifos/ and notes/; made 0700 if they are missing
	LogDir     string // holds one folder per pool; made when the first line arrives

	// Inherit receives the lines of pools with target "inherit"; nil: superd's
	// own standard output. It is written by one goroutine of its own and may block.
	Inherit *os.File

	PipeBudget int64 // bytes of all FIFOs together; 0: 256 MiB. See growPipe.
	OpenFiles  int   // log and index files held open on each device; 0: 512

	// Notify is told what happened to a log. It is called from several
	// goroutines and must neither block nor call the Manager. nil: nobody is told.
	Notify func(Notice)

	// Hold and Fetch keep a descriptor where it outlives superd, and get it
	// back: the keeper. They are called from a goroutine of the logs, once for
	// each device, with names that begin with "logs.". nil, or failing: a batch
	// caught by a kill is recognised by its bytes, which cannot tell a line from
	// an equal one that was printed in that very moment.
	Hold  func(name string, f *os.File) error
	Fetch func(name string) (*os.File, error)
}

// Spec is what the logs of one run need to know. Everything but the embedded
// keys is fixed for the life of the run.
type Spec struct {
	Pool   string // folder below LogDir: "mailers", or "job/migrate"
	Index  int
	Worker string // "mailers/0": the prefix of inherited lines
	GID    int    // group that may read the folder and files when they are made; 0: superd's own
	config.Log
}

// Manager moves the output of runs to where it belongs. Its methods are safe
// for concurrent use and none but Close waits for a disk.
type Manager struct {
	opt   Options
	fifos string
	notes *noteTable
	pipes atomic.Int64 // bytes of FIFO buffers granted

	mu     sync.Mutex
	runs   map[string]*run
	places map[string]*place  // by pool: the device that its folder is on
	disks  map[uint64]*device // by st_dev
	out    *inherit           // nil until a run inherits
	closed bool
	lookup resolver
}

// run is one run with its one or two sources.
type run struct {
	id      string
	spec    Spec
	sources []*source
	left    int  // sources not yet drained; owned by the sink's goroutine
	ended   bool // owned by the sink's goroutine
	endedAt time.Time
	started bool // Attach or Recover has handed it over; guarded by Manager.mu
}

// sink is a goroutine that reads sources: a log device or inherit.
type sink interface {
	post(func()) // run in the sink's goroutine; never blocks
	add(*run)
	end(*run)
	quit()
	done() <-chan struct{}
}

var validRun = regexp.MustCompile(`^[0-9a-z]{1,32}$`)

// New opens the folders in RuntimeDir and reads what an earlier superd noted
// there. It touches nothing below LogDir.
func New(opt Options) (*Manager, error) {
	if opt.Inherit == nil {
		opt.Inherit = os.Stdout
	}
	opt.PipeBudget = cmp.Or(opt.PipeBudget, 256<<20)
	opt.OpenFiles = cmp.Or(opt.OpenFiles, 512)
	if opt.Notify == nil {
		opt.Notify = func(Notice) {}
	}
	m := &Manager{
		opt:    opt,
		fifos:  filepath.Join(opt.RuntimeDir, "fifos"),
		runs:   map[string]*run{},
		places: map[string]*place{},
		disks:  map[uint64]*device{},
	}
	m.lookup.m = m
	if err := privateDir(m.fifos); err != nil {
		return nil, fmt.Errorf("cannot keep FIFOs: %w", err)
	}
	notes := filepath.Join(opt.RuntimeDir, "notes")
	if err := privateDir(notes); err != nil {
		return nil, fmt.Errorf("cannot keep position notes: %w", err)
	}
	t, err := openNotes(notes)
	if err != nil {
		return nil, fmt.Errorf("cannot keep position notes: %w", err)
	}
	m.notes = t
	return m, nil
}

// privateDir makes dir 0700, or makes it so.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if fi.Mode().Perm() != 0o700 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// Prepare makes what the worker of a new run writes into: fresh FIFOs, or
// /dev/null with target none. uid and gid are the worker's. Prepared again, a
// run that was not attached yet gets new ones. The caller gives the descriptors
// to the keeper and then closes the Pipes.
func (m *Manager) Prepare(id string, spec Spec, uid, gid int) (*Pipes, error) {
	if !validRun.MatchString(id) {
		return nil, fmt.Errorf("cannot make a FIFO: %q is not a run ID", id)
	}
	if spec.Target == config.LogNone {
		return nullPipes()
	}
	m.mu.Lock()
	old := m.runs[id]
	if m.closed || old != nil && old.started {
		m.mu.Unlock()
		return nil, fmt.Errorf("cannot make a FIFO for run %s: its log is read already or logs are closed", id)
	}
	delete(m.runs, id)
	m.mu.Unlock()
	if old != nil {
		m.abandon(old)
	}
	r := &run{id: id, spec: spec}
	p := &Pipes{Read: map[string]*os.File{}}
	for _, stream := range spec.streams() {
		if err := m.makeSource(r, stream, p, uid, gid); err != nil {
			p.Close()
			m.abandon(r)
			return nil, err
		}
	}
	if p.Stderr == nil {
		p.Stderr = p.Stdout
	}
	m.mu.Lock()
	m.runs[id] = r
	m.mu.Unlock()
	return p, nil
}

// streams are the letters of the run's FIFOs.
func (s *Spec) streams() []byte {
	if s.SeparateStderr {
		return []byte{streamOut, streamErr}
	}
	return []byte{streamOut}
}

// Attach begins to read a prepared run; before or after its spawn. With target
// none there is nothing to do.
func (m *Manager) Attach(id string, spec Spec, _ *Pipes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.runs[id]
	if spec.Target == config.LogNone && r == nil {
		return nil
	}
	if r == nil || m.closed {
		return fmt.Errorf("cannot read the log of run %s: it was not prepared", id)
	}
	if r.started {
		return nil
	}
	return m.start(r)
}

// start hands a run to its sink; m.mu is held.
func (m *Manager) start(r *run) error {
	if r.spec.Target == config.LogInherit && m.out == nil {
		out, err := newInherit(m)
		if err != nil {
			return fmt.Errorf("cannot read the log of run %s: %w", r.id, err)
		}
		m.out = out
	}
	r.started = true
	r.left = len(r.sources)
	m.reach(r, func(k sink) { k.add(r) })
	return nil
}

// reach runs do in the goroutine of the run's sink, in the order of the calls;
// m.mu is held.
func (m *Manager) reach(r *run, do func(sink)) {
	if r.spec.Target == config.LogInherit {
		m.out.post(func() { do(m.out) })
		return
	}
	m.locate(r.spec.Pool, func(k sink) { k.post(func() { do(k) }) })
}

// Ended says that the run's main process and what kill_scope covers are gone.
// Its FIFOs are read until nobody has them open for writing; Drained tells when.
// A run that is not known is drained at once.
func (m *Manager) Ended(id string) {
	m.mu.Lock()
	r := m.runs[id]
	switch {
	case r == nil:
	case !r.started:
		delete(m.runs, id)
	default:
		m.reach(r, func(k sink) { k.end(r) })
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	if r != nil {
		m.abandon(r)
	}
	m.opt.Notify(Notice{Kind: Drained, Run: id})
}

// drained is called by a sink when the last source of a run is done.
func (m *Manager) drained(r *run) {
	m.mu.Lock()
	delete(m.runs, r.id)
	m.mu.Unlock()
	n := Notice{Kind: Drained, Run: r.id, Pool: r.spec.Pool, Worker: r.spec.Worker}
	for _, s := range r.sources {
		n.Bytes += s.bytes.Load()
	}
	m.opt.Notify(n)
}

// abandon gives up a run that no sink has seen: its FIFOs and notes go.
func (m *Manager) abandon(r *run) {
	for _, s := range r.sources {
		m.remove(s)
	}
}

// Reconfigure changes MaxSize, Keep, Compress and BlockOnFull of a pool's logs
// while they are written. Target and SeparateStderr of live runs stay.
func (m *Manager) Reconfigure(pool string, l config.Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.places[pool] == nil {
		return
	}
	m.locate(pool, func(k sink) {
		if d, ok := k.(*device); ok {
			d.post(func() { d.reconfigure(pool, l) })
		}
	})
}

// Prune removes FIFOs and notes of runs that live does not know: what a superd
// that died left of runs that have ended. Called once when recovery is done.
func (m *Manager) Prune(live func(run string) bool) error {
	m.notes.prune(live)
	return pruneFIFOs(m.fifos, live)
}

// Stats counts one run's output; false: the run is not read (any more).
func (m *Manager) Stats(id string) (Stats, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.runs[id]
	if r == nil {
		return Stats{}, false
	}
	var st Stats
	for _, s := range r.sources {
		st.Bytes += s.bytes.Load()
		st.Dropped += s.dropped.Load()
		if st.Pipe == 0 || s.capacity < st.Pipe {
			st.Pipe = s.capacity
		}
	}
	return st, true
}

// Close ends the goroutines between two batches and leaves FIFOs and notes as
// they are: another superd goes on from there. It waits for a disk that hangs no
// longer than ctx; what is in flight then stays so.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	var sinks []sink
	for _, d := range m.disks {
		sinks = append(sinks, d)
	}
	if m.out != nil {
		sinks = append(sinks, m.out)
	}
	m.mu.Unlock()
	for _, k := range sinks {
		k.quit()
	}
	for _, k := range sinks {
		select {
		case <-k.done():
		case <-ctx.Done():
			return fmt.Errorf("cannot close the logs: a writer is still in flight: %w", ctx.Err())
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.runs {
		for _, s := range r.sources {
			s.close()
		}
	}
	m.notes.close()
	return nil
}

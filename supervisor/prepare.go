package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/logs"
	"github.com/superd/superd/supervisor/proc"
)

// stagePrepare is the stage of a start that is superd's own: users, environment
// files and the like, before the keeper is asked.
const stagePrepare = "prepare"

// preparation is a spawn that is being made ready: everything in it is a copy
// or never changes, so that it can be worked on beside the loop.
type preparation struct {
	run        string
	pool       string
	index      int
	alt        int
	deployment string
	revision   *core.Revision
	// taken is set once: by the goroutine that hands the spawn to the keeper, or
	// by whoever cancels it.
	taken atomic.Bool
	// waits is what it may be waiting for just now, as the reason for which it would
	// be given up; nil: for nothing.
	waits atomic.Pointer[core.Fail]
}

// queue names the queue that a preparation is in. Another revision may be somewhere
// else: it does not wait for a directory that hangs.
func (p *preparation) queue() string { return fmt.Sprintf("%s/%d", p.pool, p.revision.Number) }

// unanswered is why a start is given up that waits for a disk.
func unanswered(stage, format string, args ...any) *core.Fail {
	return &core.Fail{Stage: stage, Reason: fmt.Sprintf(format, args...) + ": the disk does not answer"}
}

func newPreparation(a core.Spawn) *preparation {
	return &preparation{run: a.Run, pool: a.Pool.Name, index: a.Worker.Index,
		deployment: a.Worker.Run.Deployment, revision: a.Revision}
}

// preparer makes spawns ready, one goroutine for each revision of a pool that has
// any: one whose directory hangs holds up nobody but itself, and no goroutine stays
// when all is done.
type preparer struct {
	s *Supervisor

	mu     sync.Mutex
	queues map[string][]*preparation // one is in it while its goroutine lives
	now    map[string]*preparation   // by queue, what its goroutine is at
	open   map[string]*preparation   // by run, until handed over
	base   []string                  // superd's own environment
	paths  map[programPlace]foundProgram
	cgroup string // where runs with a cgroup of their own have it; empty: nowhere
	held   bool   // nothing is begun yet
	closed bool
}

// newPreparer makes one that begins with its work when it is told to.
func newPreparer(s *Supervisor) *preparer {
	root, _ := proc.CgroupRoot() // the configuration was refused if it is needed and not to be had
	return &preparer{s: s, queues: map[string][]*preparation{}, now: map[string]*preparation{}, open: map[string]*preparation{},
		paths: map[programPlace]foundProgram{}, base: os.Environ(), cgroup: root, held: true}
}

// begin has what is queued be worked on, and what comes later.
func (q *preparer) begin() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = false
	for name := range q.queues {
		go q.work(name)
	}
}

// spawn queues a preparation behind those of its revision.
func (q *preparer) spawn(p *preparation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.open[p.run] = p
	name := p.queue()
	queue, going := q.queues[name]
	q.queues[name] = append(queue, p)
	if !going && !q.held {
		go q.work(name)
	}
}

// cancel gives up a preparation that was not handed over, and tells if it could, and
// what it has been waiting for.
func (q *preparer) cancel(run string) (why core.Fail, ok bool) {
	why = core.Fail{Stage: stagePrepare, Reason: "it was given up before it was begun"}
	q.mu.Lock()
	p := q.open[run]
	delete(q.open, run)
	var first *preparation
	if p != nil {
		first = q.now[p.queue()]
	}
	q.mu.Unlock()
	if first != nil {
		if waits := first.waits.Load(); waits != nil {
			why = *waits
		}
	}
	return why, p != nil && !p.taken.Swap(true)
}

// pending are the runs that are still to be handed to the keeper.
func (q *preparer) pending() map[string]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	runs := make(map[string]bool, len(q.open))
	for run := range q.open {
		runs[run] = true
	}
	return runs
}

func (q *preparer) done(run string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, run)
}

func (q *preparer) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	clear(q.open)
}

// work prepares what is in a queue, in order, and ends.
func (q *preparer) work(name string) {
	for {
		q.mu.Lock()
		queue := q.queues[name]
		if len(queue) == 0 || q.closed {
			delete(q.queues, name)
			delete(q.now, name)
			q.mu.Unlock()
			return
		}
		p := queue[0]
		q.queues[name], q.now[name] = queue[1:], p
		q.mu.Unlock()
		if !p.taken.Load() {
			q.prepare(p)
		}
		q.done(p.run)
	}
}

// prepare makes one spawn ready and hands it to the keeper, or reports why not.
func (q *preparer) prepare(p *preparation) {
	err := q.handOver(p)
	var sent *sendError
	switch {
	case err == nil:
	case errors.Is(err, errCancelled):
		q.s.logs.Ended(p.run) // whoever gave it up may have found no log to end
	case errors.Is(err, keeper.ErrLost):
		// The keeper that it went to is gone, and may have begun it or not.
		q.done(p.run)
		q.s.recheckSoon()
	case !errors.As(err, &sent) && p.taken.Swap(true):
		q.s.logs.Ended(p.run) // cancelled meanwhile, and answered
	default:
		q.s.inbox.put(func() {
			q.s.step(core.SpawnFailed{Run: p.run, Fail: core.Fail{Stage: stagePrepare, Reason: err.Error()}})
		})
	}
}

var errCancelled = errors.New("cancelled")

// sendError is what came of handing a spawn to the keeper, after it could no
// longer be cancelled.
type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

// handOver composes the spawn, makes its FIFOs and sends it.
func (q *preparer) handOver(p *preparation) error {
	c := p.revision.Config
	p.waits.Store(&core.Fail{Stage: proc.StageCredentials, Reason: fmt.Sprintf("user %s: it is still being looked up", c.User)})
	account, err := q.s.account(c)
	if err != nil {
		return err
	}
	command, err := q.compose(p, c, account)
	if err != nil {
		return err
	}
	spec := logSpec(c, p.index, account.GID)
	pipes, err := q.pipes(p.run, spec, account)
	if err != nil {
		return err
	}
	defer pipes.Close()
	command.Run, command.Label = p.run, fmt.Sprintf("%s/%d", p.pool, p.index)
	command.Umask, command.Limits, command.KillScope = uint32(c.Umask), c.Limits, c.KillScope
	command.Stdout, command.Stderr, command.Hold = pipes.Stdout, pipes.Stderr, pipes.Read
	if c.KillScope == config.ScopeCgroup {
		command.Cgroup = q.cgroupOf(p.run) // the keeper removes it
		if err := proc.MakeCgroup(command.Cgroup); err != nil {
			return err
		}
	}
	aim.At("spawn.prepared")
	if p.taken.Swap(true) {
		if command.Cgroup != "" {
			_ = proc.RemoveCgroup(command.Cgroup) // nobody is in it
		}
		return errCancelled
	}
	if err := q.s.keepers.Spawn(context.Background(), command); err != nil {
		return &sendError{err}
	}
	aim.At("spawn.sent")
	return nil
}

// cgroupOf is the cgroup that a run has of its own.
func (q *preparer) cgroupOf(run string) string { return filepath.Join(q.cgroup, "superd-"+run) }

// pipes makes a run's FIFOs and has them read. A spawn that is asked for again
// after a crash has them already: its reader goes on, and they are opened once more.
func (q *preparer) pipes(run string, spec logs.Spec, account *config.Account) (*logs.Pipes, error) {
	if pipes, err := q.s.reopenPipes(run); pipes != nil || err != nil {
		return pipes, err
	}
	pipes, err := q.s.logs.Prepare(run, spec, account.UID, account.GID)
	if err != nil {
		return nil, err
	}
	for _, w := range pipes.Warnings {
		q.s.warn(run, w)
	}
	aim.At("spawn.piped")
	if err := q.s.logs.Attach(run, spec, pipes); err != nil {
		pipes.Close()
		return nil, err
	}
	return pipes, nil
}

// compose renders the command of a run: argv, environment, directory, program.
func (q *preparer) compose(p *preparation, c *config.Pool, account *config.Account) (keeper.Spawn, error) {
	if len(c.EnvFiles) > 0 {
		p.waits.Store(unanswered(stagePrepare, "env_file"))
	}
	env, err := config.ReadEnvFiles(c.EnvFiles, account)
	if err != nil {
		return keeper.Spawn{}, err
	}
	cmd, err := c.Render(config.RunContext{Index: p.index, Alt: p.alt, Release: p.revision.Release, RunID: p.run,
		Deployment: p.deployment, Revision: p.revision.Number, Base: q.base, FileEnv: env, Account: *account})
	if err != nil {
		return keeper.Spawn{}, err
	}
	program, err := q.find(p, programPlace{cmd.Argv[0], cmd.Dir, cmd.Getenv("PATH")})
	p.waits.Store(nil)
	if err != nil {
		return keeper.Spawn{}, err
	}
	return keeper.Spawn{Path: program.path, Args: cmd.Argv, Env: cmd.Env, Dir: cmd.Dir,
		Credential: credential(account), Direct: program.local}, nil
}

// programPlace is what a program is looked for by.
type programPlace struct{ name, dir, path string }

type foundProgram struct {
	path  string
	local bool // the program and the directory are on this machine's own disks
	at    time.Time
}

// programLife is how long a program that was found is not looked for again: the
// thousand workers of a pool that start together need to look once.
const programLife = time.Second

// maxPrograms bounds what is remembered.
const maxPrograms = 256

func (q *preparer) find(p *preparation, place programPlace) (foundProgram, error) {
	q.mu.Lock()
	known, ok := q.paths[place]
	q.mu.Unlock()
	if ok && time.Since(known.at) < programLife {
		return known, nil
	}
	p.waits.Store(unanswered(proc.StageDirectory, "directory %s", place.dir))
	local := onLocalDisk(place.dir)
	p.waits.Store(unanswered(proc.StageExec, "%s", place.name))
	path, err := config.LookPath(place.name, place.dir, place.path)
	if err != nil {
		return foundProgram{}, err
	}
	found := foundProgram{path, local && onLocalDisk(path), time.Now()}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.paths) >= maxPrograms {
		clear(q.paths)
	}
	q.paths[place] = found
	return found, nil
}

// onLocalDisk tells whether a path answers and lies on one of this machine's own
// file systems, so that a spawn under vfork cannot hang in it.
func onLocalDisk(path string) bool {
	local, err := proc.IsLocalFS(path)
	return err == nil && local
}

// credential is whom a run becomes; nil when it stays who superd is.
func credential(a *config.Account) *proc.Credential {
	if a.Self {
		return nil
	}
	c := &proc.Credential{UID: uint32(a.UID), GID: uint32(a.GID)}
	for _, g := range a.Groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// warn tells of something that went less than well for a run.
func (s *Supervisor) warn(run, message string) {
	s.inbox.put(func() { s.step(core.Warned{Run: run, Message: message}) })
}

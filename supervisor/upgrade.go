package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/core"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// An upgrade executes another program in the place of this one. It has three
// parts: the new program is tried as a process of its own; what must not be cut in
// two is let come to its end; and then this process becomes the other program,
// which recovers as after a crash. Until the last system call nothing has changed.

// Handover is what a superd tells the one that is executed in its place. It
// travels in the environment, as HandoverVariable, and is of no use to anybody else.
type Handover struct {
	PID     int    // of both
	Lock    int    // the descriptor of runtime_dir's lock, which is never let go
	Program int    // the descriptor by which the program itself was executed
	Old     int    // that of the program before it, to be given back to; 0: none
	Path    string // that superd was started by at first
	From    string // the version before,
	To      string // and the one that follows
	Began   int64  // when the gap began, by CLOCK_MONOTONIC, in nanoseconds
	Signals []int  // that came and were not followed
	Failed  string // why the program To has given back to From; empty: it has not
}

// HandoverVariable names the variable that has a Handover. Whoever finds it takes
// it out of its environment at once.
const HandoverVariable = "SUPERD_UPGRADE"

// Outside is what surrounds a supervisor and has to stand still while another
// program takes its place.
type Outside struct {
	// Suspend ends the answers on the control socket, those under way first, and
	// follows no more signals. It is bounded.
	Suspend func()
	// Signals are those that came since, and that nobody follows.
	Signals func() []syscall.Signal
	// Resume goes on as before Suspend: no other program took the place. It is called
	// on the loop.
	Resume func()
}

// Upgrade is one that was found good and has begun.
type Upgrade struct {
	From, To string // versions
	Path     string
}

// How long parts of an upgrade may take.
const (
	tryPatience   = 10 * time.Second
	stillPatience = 5 * time.Second
	flushPatience = time.Second
)

// Upgrade implements API.
func (s *Supervisor) Upgrade(ctx context.Context, path, by string) (Upgrade, error) {
	if path == "" {
		path = s.opt.Path
	}
	up := Upgrade{From: s.opt.Version, Path: path}
	if s.opt.Outside.Suspend == nil {
		return up, refusal(core.RefuseConflict, path, errors.New("this superd cannot be replaced"))
	}
	if !s.upgrading.TryLock() {
		return up, refusal(core.RefuseConflict, path, errors.New("an upgrade is under way"))
	}
	ctx = context.WithoutCancel(ctx) // what was begun goes on without who asked; each part has its bound
	program, err := config.OpenProgram(path)
	if err == nil {
		up.To, err = s.try(ctx, program)
		if err == nil {
			err = s.rehearse(ctx)
		}
		if err != nil {
			program.Close()
		}
	}
	if err != nil {
		s.upgrading.Unlock()
		s.log.Error("an upgrade was refused, nothing has changed", "program", path, "by", by, "error", err)
		refused := refusal(core.RefuseConflict, path, err)
		s.noticeRefused(up, refused)
		return up, refused
	}
	s.log.Info("superd is being upgraded", "from", up.From, "to", up.To, "program", path, "by", by)
	go s.replace(program, up)
	return up, nil
}

// noticeRefused tells those who did not wait for the answer.
func (s *Supervisor) noticeRefused(up Upgrade, why error) {
	_ = s.ask(context.Background(), func() {
		s.publish(core.Notice{Type: "superd.degraded", Message: why.Error(),
			Data: map[string]any{"upgrade": "refused", "from": up.From, "program": up.Path}})
	})
}

func refusal(kind core.RefusalKind, path string, err error) error {
	return &core.Refusal{Kind: kind, Message: fmt.Sprintf("cannot upgrade to %s: %v (nothing has changed)", path, err)}
}

// TryAnswer is what `superd try` prints.
type TryAnswer struct {
	Superd     string // always "try": this is the answer of a superd
	Version    string
	RuntimeDir string
	StateDir   string
	LogDir     string
	Keepers    int    // how many it has found; 0: it knows of one only
	Refused    string // why it cannot take over; empty: it can
}

// try has a program look at what it would take over, as a process of its own, and
// gives its version.
func (s *Supervisor) try(ctx context.Context, program *os.File) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	cfg := s.config.Load()
	dir := cfg.RuntimeDir + "/try"
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("cannot copy the state: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("cannot copy the state: %w", err)
	}
	if err := s.records.state.Copy(dir + "/state"); err != nil {
		return "", err
	}
	here, err := os.Getwd()
	if err != nil {
		here = "/"
	}
	out, end, err := s.helper(ctx, keeper.Spawn{
		// By the descriptor: what is executed later is what is tried now.
		Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), program.Fd()),
		Args: []string{"superd", "try", "-c", cfg.File, "--copy", dir}, Env: s.prepare.base, Dir: here,
		Umask: 0o077, KillScope: config.ScopeGroup,
	})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("it did not say within %s whether it can take over", tryPatience)
	case err != nil:
		return "", fmt.Errorf("it could not be tried: %w", err)
	case end.Kind == keeper.SpawnFailed:
		return "", fmt.Errorf("it could not be tried: %s", end.Reason)
	}
	var a TryAnswer
	if err := json.Unmarshal(bytes.TrimSpace(out), &a); err != nil || a.Superd != "try" {
		return "", fmt.Errorf("it does not answer as a superd does (%s)", end.Status)
	}
	// Before whatever else follows from that. Without a configuration it knows of none.
	known := a.Refused == "" || a.RuntimeDir != ""
	if known && (a.RuntimeDir != cfg.RuntimeDir || a.StateDir != cfg.StateDir || a.LogDir != cfg.LogDir) {
		return "", fmt.Errorf("%s names other folders by now than superd uses: stop superd to change them", cfg.File)
	}
	if a.Refused != "" {
		return "", fmt.Errorf("superd %s cannot take over: %s", a.Version, a.Refused)
	}
	// One that knows of a single keeper would take the runs of the others for orphans.
	if all := s.keepers.list(); max(a.Keepers, 1) < len(all) {
		return "", fmt.Errorf("superd %s cannot take over: it finds %d of %d keepers (wait until the runs of the older ones have ended)",
			a.Version, max(a.Keepers, 1), len(all))
	}
	if end.Status.Code != 0 || end.Status.Signal != 0 {
		return "", fmt.Errorf("it found nothing wrong and then ended badly (%s)", end.Status)
	}
	return a.Version, nil
}

// rehearse finds out whether what must stand still can: executing a program waits
// for every thread, and for one that hangs in a disk it would wait for ever.
func (s *Supervisor) rehearse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stillPatience)
	defer cancel()
	resume, err := s.logs.Pause(ctx)
	if err != nil {
		return err
	}
	defer resume() // until then no log is being written
	for proc.Stuck() {
		select {
		case <-ctx.Done():
			return errors.New("a disk does not answer, and superd waits for it")
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// replace has the program take superd's place. It returns only if that failed,
// and then superd goes on.
func (s *Supervisor) replace(program *os.File, up Upgrade) {
	defer s.upgrading.Unlock()
	defer program.Close()
	aim.At("upgrade.tried")
	began := monotonic()
	s.opt.Outside.Suspend()
	aim.At("upgrade.suspended")
	err := s.standStill(program, up, began)
	_ = s.ask(context.Background(), func() { // if the loop has ended, nothing goes on
		s.opt.Outside.Resume()
		s.publish(failedUpgrade(up.From, up.To, err.Error()))
	})
}

func failedUpgrade(from, to, why string) core.Notice {
	return core.Notice{Type: "superd.degraded", Message: fmt.Sprintf("cannot upgrade from %s to %s: %s (superd %s goes on)", from, to, why, from),
		Data: map[string]any{"upgrade": "failed", "from": from, "to": to, "reason": why}}
}

// standStill stops the logs between two batches and the loop between two steps,
// and becomes the program.
func (s *Supervisor) standStill(program *os.File, up Upgrade, began int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), stillPatience)
	defer cancel()
	resume, err := s.logs.Pause(ctx)
	if err != nil {
		return err
	}
	defer resume()
	failed := make(chan error, 1)
	if err := s.ask(context.Background(), func() { failed <- s.become(program, up, began) }); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-s.done:
		return ErrStopped
	}
}

// become is the loop's last deed.
func (s *Supervisor) become(program *os.File, up Upgrade, began int64) error {
	for more := true; more; { // whoever asked before is answered before
		select {
		case do := <-s.requests:
			do()
		default:
			more = false
		}
	}
	if s.state.Leaving != nil {
		return errors.New("superd is being stopped")
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushPatience)
	defer cancel()
	if err := s.records.state.Flush(ctx); err != nil {
		s.log.Warn("the durable state is behind", "error", err) // what it lacks is in the runtime records
	}
	aim.At("upgrade.still")
	old, err := os.OpenFile("/proc/self/exe", unix.O_PATH, 0)
	if err != nil {
		return fmt.Errorf("cannot keep the old program: %w", err)
	}
	defer old.Close()
	h := Handover{PID: os.Getpid(), Path: s.opt.Path, From: up.From, To: up.To, Began: began}
	return h.Execute(program, s.opt.Args, []*os.File{s.lock, old}, s.opt.Outside.Signals)
}

// Execute becomes a program and hands over to it. pass are the lock and, unless
// this gives back, the old program. signals are those that came and were not
// followed. It returns only if it fails.
func (h Handover) Execute(program *os.File, args []string, pass []*os.File, signals func() []syscall.Signal) error {
	return proc.Replace(proc.Replacement{Program: program, Args: args, Pass: pass,
		Env: func(fds []int, pending []syscall.Signal) []string {
			h.Lock, h.Program, h.Old = fds[0], fds[len(fds)-1], 0
			if len(pass) > 1 {
				h.Old = fds[1]
			}
			for _, sig := range append(signals(), pending...) {
				h.Signals = append(h.Signals, int(sig))
			}
			text, _ := json.Marshal(h) // numbers and strings
			aim.At("upgrade.execute")
			return append(os.Environ(), HandoverVariable+"="+string(text))
		}})
}

// Gap is how long nobody has answered by now.
func (h *Handover) Gap() time.Duration { return time.Duration(monotonic() - h.Began) }

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it cannot fail
	return ts.Nano()
}

// takeover tells how an upgrade ended. It is the last of a recovery.
func (s *Supervisor) takeover() {
	h := s.opt.Handover
	switch {
	case h == nil:
	case h.Failed != "":
		s.publish(failedUpgrade(s.opt.Version, h.To, h.Failed))
	default:
		gap, runs := h.Gap(), "runs"
		if s.adopted == 1 {
			runs = "run"
		}
		s.publish(core.Notice{Type: "superd.upgraded", PID: os.Getpid(),
			Message: fmt.Sprintf("from %s to %s, gap %d ms, %d %s kept", h.From, s.opt.Version, gap.Milliseconds(), s.adopted, runs),
			Data:    map[string]any{"from": h.From, "to": s.opt.Version, "gap_ms": gap.Milliseconds(), "runs": s.adopted}})
	}
}

package keeper

import (
	"errors"
	"fmt"
	"strings"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// spawn starts a run, or answers with what became of it when it was asked for
// before. Trouble is why it cannot be started.
func (k *keeper) spawn(sp *spawnPacket, q *request, trouble error) {
	if r := k.runs[sp.run]; r != nil {
		k.retell(r)
		return
	}
	r := &run{id: sp.run, label: sp.label, scope: sp.scope, phase: PhaseForking, pidfd: -1}
	k.runs[r.id] = r
	if sp.cgroup != "" {
		r.extra().cgroup = sp.cgroup
	}
	if trouble == nil && k.forgotten.has(r.id) {
		trouble = errors.New("this run has been here, has ended and was acknowledged; it is not started twice")
	}
	if trouble == nil {
		trouble = k.room(len(sp.hold) + 2)
	}
	if trouble != nil {
		k.failed(r, proc.StageFork, trouble.Error())
		return
	}
	files, cgroup, err := k.files(sp, q)
	if cgroup >= 0 {
		defer unix.Close(cgroup)
	}
	if err != nil {
		k.failed(r, proc.StageFork, err.Error())
		return
	}
	aim.At("keeper.fork")
	k.oom.lend()
	if sp.direct && sp.spec.Limits.None() && strings.Contains(sp.spec.Path, "/") {
		if p, err := k.starter.Direct(&sp.spec, files); err == nil {
			aim.At("keeper.executed")
			k.forked(r, p)
			k.started(r)
			return
		}
		// The stage does it again, and says where it fails.
	}
	p, report, err := k.starter.Stage(&sp.spec, files)
	if err != nil {
		k.failed(r, proc.StageFork, "fork: "+err.Error())
		return
	}
	aim.At("keeper.forked")
	m := r.extra()
	m.reportFD = report
	k.forked(r, p)
	k.note(r, Forked)
	if err := k.watch(report, unix.EPOLLIN, (*reporter)(r)); err != nil {
		// What the stage says is then read when it has ended or the program runs.
		k.warn(r, "cannot watch the stage: %v", err)
	}
}

// files sorts the descriptors that came with a spawn: the worker's ends are
// closed with the request, what is to be held is taken out of it.
func (k *keeper) files(sp *spawnPacket, q *request) (f proc.Files, cgroup int, err error) {
	next := 0
	if sp.stdout == outOwn {
		f.Stdout = q.fds[next]
		next++
	}
	switch sp.stderr {
	case outOwn:
		f.Stderr = q.fds[next]
		next++
	case outSame:
		f.Stderr = f.Stdout
	}
	for _, name := range sp.hold {
		k.hold(name, q.take(next))
		next++
	}
	if sp.cgroup == "" {
		return f, -1, nil
	}
	cgroup, err = unix.Open(sp.cgroup, unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_PATH, 0)
	if err != nil {
		return f, -1, fmt.Errorf("cgroup %s: %w", sp.cgroup, err)
	}
	f.Cgroup = cgroup
	return f, cgroup, nil
}

// forked takes a new child in.
func (k *keeper) forked(r *run, p proc.Process) {
	k.garbage += 8 << 10
	r.pid, r.pidfd = p.PID, p.PIDFD
	k.children[r.pid] = r
	// It is what the next keeper would know the process by.
	k.pressed(func() error {
		st, err := proc.ReadStat(p.PID)
		r.ticks = st.StartTicks
		return err
	})
	if err := k.watch(r.pidfd, unix.EPOLLIN, (*mainProcess)(r)); err != nil {
		k.warn(r, "cannot watch pid %d: %v; its end is noticed late", r.pid, err)
	}
}

// started: the program is executed.
func (k *keeper) started(r *run) {
	r.phase = PhaseRunning
	k.note(r, Started)
}

// failed: it never will be.
func (k *keeper) failed(r *run, stage, reason string) {
	m := r.extra()
	m.stage, m.reason = stage, clip(reason)
	r.phase = PhaseFailed
	r.gone = true
	k.note(r, SpawnFailed)
	if m.cgroup != "" {
		proc.RemoveCgroup(m.cgroup) // one that is still used stays
	}
}

// reporter is the pipe on which a run's stage reports.
type reporter run

func (s *reporter) ready(k *keeper, _ uint32) {
	r := (*run)(s)
	if k.readReport(r) && !r.report.Failed && !r.reaped && r.report.Executed(proc.Process{PID: r.pid, PIDFD: r.pidfd}) {
		aim.At("keeper.staged")
		k.started(r)
	}
	// A failure is reported when the process has ended, which it is about to do.
}

// readReport takes what is in the pipe; true when it is closed at the other end.
func (k *keeper) readReport(r *run) bool {
	if r.more == nil || r.reportFD < 0 {
		return false
	}
	known := len(r.report.Warnings)
	done := r.report.Read(r.reportFD)
	for _, w := range r.report.Warnings[known:] {
		k.warn(r, "%s", w)
	}
	if done {
		k.drop(&r.reportFD)
	}
	return done
}

// stageEnded judges a run whose process has ended, and was not reaped yet, while
// its stage was at work: the program may have been executed all the same.
func (k *keeper) stageEnded(r *run) {
	k.readReport(r)
	if r.report.Executed(proc.Process{PID: r.pid, PIDFD: r.pidfd}) {
		k.started(r)
	}
	if r.reportFD >= 0 {
		k.drop(&r.reportFD)
	}
}

// stageFailed tells why no program was executed.
func (k *keeper) stageFailed(r *run, st proc.ExitStatus) {
	stage, reason := r.report.Stage, r.report.Reason
	if stage == "" {
		stage = proc.StageFork
	}
	if !r.report.Failed {
		reason = fmt.Sprintf("it ended in the middle (%s)", st)
	}
	k.failed(r, stage, reason)
}

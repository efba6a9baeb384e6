package keeper

import (
	"syscall"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// adopt takes over a run whose keeper has died. A process that is not there any
// more is an end that nobody knows the status of; what it left is swept. An error
// means that it may live, and cannot be watched.
func (k *keeper) adopt(a *Adopt, scope uint8) error {
	if r := k.runs[a.Run]; r != nil {
		k.retell(r)
		return nil
	}
	if err := k.room(1); err != nil {
		return err
	}
	var fd int
	err := k.pressed(func() (err error) {
		fd, err = pin(a.PID, a.StartTicks)
		return err
	})
	if err != nil && err != unix.ESRCH {
		return err
	}
	r := &run{id: a.Run, label: a.Label, scope: scope, stranger: true, pid: a.PID, ticks: a.StartTicks, pidfd: fd, phase: PhaseRunning}
	m := r.extra()
	m.cgroup, m.uid = a.Cgroup, a.UID
	if fd >= 0 {
		// Edge-triggered: a zombie reports POLLIN for as long as its parent, which
		// we are not, leaves it unreaped.
		if err := k.watch(fd, unix.EPOLLIN|unix.EPOLLET, (*mainProcess)(r)); err != nil {
			unix.Close(fd)
			return err
		}
	}
	aim.At("keeper.adopt")
	k.runs[r.id] = r
	k.note(r, Started)
	if fd < 0 {
		m.unseen = true
		k.ended(r, proc.ExitStatus{Unknown: true})
	}
	return nil
}

// pin opens the process that had this pid and start time. ESRCH: it is gone.
func pin(pid int, ticks uint64) (int, error) {
	fd, err := proc.OpenPIDFD(pid)
	if err != nil {
		return -1, err
	}
	st, err := proc.ReadStat(pid)
	if err != nil && !proc.Absent(err) {
		unix.Close(fd)
		return -1, err // it may well be there
	}
	// The pid was the pinned process's when /proc was read, if it still is.
	if err != nil || st.StartTicks != ticks || proc.SendSignal(fd, 0) == unix.ESRCH {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// strangerEnded is asked when the pidfd of an adopted run has something to say.
func (k *keeper) strangerEnded(r *run, events uint32) {
	if r.phase == PhaseEnded {
		return
	}
	// A subreaper gets orphans, and may so have become the parent after all.
	if st, ok, err := proc.Reap(r.pidfd); err == nil && ok {
		k.ended(r, st)
		return
	}
	st, ending := proc.StrangerExit(r.pidfd)
	if ending != proc.EndingKnown {
		// As a rule it is a zombie, whose parent may not be in a hurry.
		zombie, ok := proc.ZombieExit(r.pid, r.pidfd)
		if ok {
			st = zombie
		} else if ending == proc.EndingNotYet && events&unix.EPOLLHUP == 0 {
			return // once its parent has reaped it, the status is known
		}
	}
	k.ended(r, st)
}

// signal sends a signal to a run. One with a number is sent once: the number of
// the last one is remembered, and asked for again it does nothing.
func (k *keeper) signal(id string, sig syscall.Signal, scope uint8, number int) {
	r := k.runs[id]
	if r == nil || r.pid == 0 || r.gone || number > 0 && number <= r.signals {
		return
	}
	r.signals = max(r.signals, number)
	if sig == syscall.SIGKILL {
		r.killed = true
	}
	var err error
	switch {
	case scope == scopeCgroup && r.more != nil && r.cgroup != "":
		err = k.signalCgroup(r, sig)
	case scope == scopeGroup || scope == scopeCgroup:
		err = k.signalGroup(r, sig)
		if sig == syscall.SIGKILL && r.scope != scopeProcess {
			k.look(r)
		}
	case !r.reaped:
		err = proc.SendSignal(r.pidfd, sig)
	}
	if err != nil && err != unix.ESRCH {
		k.warn(r, "cannot send signal %d: %v", int(sig), err)
	}
}

// signalGroup reaches the run's process group.
func (k *keeper) signalGroup(r *run, sig syscall.Signal) error {
	switch {
	case r.pidfd >= 0 && k.hasGroup:
		return proc.SendGroupSignal(r.pidfd, sig)
	case !r.reaped && !r.stranger:
		return unix.Kill(-r.pid, sig) // our own unreaped child: the number is its own
	case !r.reaped:
		return proc.SendSignal(r.pidfd, sig)
	}
	return unix.ESRCH
}

// signalCgroup reaches everything in the run's cgroup.
func (k *keeper) signalCgroup(r *run, sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		if err := k.killCgroup(r); err != nil && k.populated(r) {
			return err
		}
		return nil
	}
	return k.pressed(func() error { return proc.SignalCgroup(r.cgroup, sig) })
}

// sweep kills all that the run's scope covers. Asked again while something has
// not gone, it tells what.
func (k *keeper) sweep(id string) {
	r := k.runs[id]
	if r == nil || r.pid == 0 || r.gone {
		return
	}
	// An adopted zombie that its parent does not reap would never be reported.
	if r.stranger && !r.reaped && r.killed && proc.Ended(r.pidfd) {
		st, _ := proc.StrangerExit(r.pidfd)
		k.ended(r, st)
		return
	}
	again := r.killed
	if !r.reaped && r.scope == scopeCgroup {
		proc.SendSignal(r.pidfd, syscall.SIGKILL) // it may have left its cgroup
	}
	k.kill(r)
	if again && len(r.describe()) > 0 {
		r.extra()
		k.note(r, Stuck)
	}
}

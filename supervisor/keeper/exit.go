package keeper

import (
	"syscall"

	"github.com/superd/superd/supervisor/aim"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// How a run ends. Its main process's pidfd fires; in the same round the process
// is reaped, and what the run's kill scope covers is killed. While something of
// it is left the run stays ended and not gone; each of the left processes is
// pinned by a pidfd of its own, and when the last of them has ended the session
// is looked through again, until nothing is found.
//
// The session is looked through only when there is a sign that something is
// left: the process group took the KILL, or the keeper, which is a subreaper, has
// children that it did not start. Any process of the session that outlives its
// main process is such a child or descends from one.
//
// One pass over /proc serves all runs of a round, and it comes before the leaders
// are reaped: until then no other session can have their numbers.

// mainProcess is a run's pidfd.
type mainProcess run

func (p *mainProcess) ready(k *keeper, events uint32) {
	r := (*run)(p)
	if r.stranger {
		k.strangerEnded(r, events)
	} else {
		k.exited = append(k.exited, r)
	}
}

// maxPasses bounds how often one round settles: what is left then waits for the
// next one, after others had their turn.
const maxPasses = 4

// settle deals with all ends of this round.
func (k *keeper) settle() {
	for range maxPasses {
		if len(k.exited)+len(k.looks) == 0 {
			if !k.asked.child.Swap(false) {
				return
			}
			k.reapOrphans()
			if len(k.exited) == 0 {
				return
			}
		}
		exited, looks := k.exited, k.looks
		k.exited, k.looks = nil, nil
		k.pass(exited, looks)
	}
}

// pass settles some ends, and looks through some sessions.
func (k *keeper) pass(exited, looks []*run) {
	var orphans []int
	for _, r := range exited {
		if r.scope == scopeGroup && !r.reaped {
			orphans = k.orphans()
			break
		}
	}
	sids := make(map[int]*run)
	for _, r := range looks {
		r.looking = false
		if r.live() {
			sids[r.pid] = r
		}
	}
	if len(orphans) > 0 {
		for _, r := range exited {
			if r.scope == scopeGroup && !r.reaped {
				sids[r.pid] = r
			}
		}
	}
	if len(sids) > 0 {
		k.lookThrough(sids)
	}
	for _, r := range exited {
		if !r.reaped {
			k.reap(r)
		}
	}
	for _, r := range looks {
		k.perhapsGone(r)
	}
}

// reap takes a child's exit status and kills what is left.
func (k *keeper) reap(r *run) {
	wasStage := r.phase == PhaseForking
	if wasStage {
		k.stageEnded(r)
	}
	aim.At("keeper.exited")
	st, ok, err := proc.Reap(r.pidfd)
	if err == nil && !ok {
		return // it lives: the event was somebody else's
	}
	if err != nil {
		st = proc.ExitStatus{Unknown: true} // somebody else has reaped it, which nobody may
	}
	k.garbage += 1 << 10
	aim.At("keeper.reaped")
	r.reaped = true
	delete(k.children, r.pid)
	if wasStage && r.phase == PhaseForking {
		k.stageFailed(r, st)
		k.drop(&r.pidfd)
		return
	}
	k.ended(r, st)
}

// ended: the main process has, and its pid means nothing any more. The pidfd
// stays for its group, but fires for ever.
func (k *keeper) ended(r *run, st proc.ExitStatus) {
	r.reaped = true
	r.phase, r.status = PhaseEnded, st
	if r.pidfd >= 0 {
		unix.EpollCtl(k.epoll, unix.EPOLL_CTL_DEL, r.pidfd, nil)
		delete(k.sources, int32(r.pidfd))
	}
	k.kill(r)
	aim.At("keeper.swept")
	k.note(r, Exited)
	k.perhapsGone(r)
}

// kill sends KILL to all that the scope covers. Whatever of it may be left
// afterwards is looked for.
func (k *keeper) kill(r *run) {
	r.killed = true
	switch r.scope {
	case scopeProcess:
		if !r.reaped {
			proc.SendSignal(r.pidfd, syscall.SIGKILL)
		}
	case scopeGroup:
		k.killGroup(r)
	case scopeCgroup:
		if err := k.killCgroup(r); err != nil && k.populated(r) {
			k.warn(r, "%v", err)
			k.doubt(r)
		}
	}
}

func (k *keeper) killCgroup(r *run) error {
	return k.pressed(func() error { return proc.KillCgroup(r.cgroup) })
}

// killGroup kills a run's process group, and has its session looked through if
// that can have left something.
func (k *keeper) killGroup(r *run) {
	for _, l := range r.others() {
		proc.SendSignal(l.pidfd, syscall.SIGKILL)
	}
	switch {
	case r.pidfd >= 0 && k.hasGroup:
		if err := proc.SendGroupSignal(r.pidfd, syscall.SIGKILL); err == unix.ESRCH && !r.stranger {
			return // nobody is left in it; for what left it, see pass
		}
	case !r.reaped && r.pidfd >= 0:
		unix.Kill(-r.pid, syscall.SIGKILL) // the leader is there, so the number is its own
	}
	k.look(r)
}

// others are the pinned processes of the run besides its main process.
func (r *run) others() []*leftover {
	if r.more == nil {
		return nil
	}
	return r.leftovers
}

// look has the run's session looked through in this round.
func (k *keeper) look(r *run) {
	if !r.looking && r.pid > 0 {
		r.looking = true
		k.looks = append(k.looks, r)
	}
}

// perhapsGone finds out whether nothing is left of a run whose main process has
// ended.
func (k *keeper) perhapsGone(r *run) {
	if r.phase != PhaseEnded || r.gone || r.looking || r.doubted || len(r.others()) > 0 {
		return
	}
	if r.scope == scopeCgroup && k.populated(r) {
		return // or nobody could tell
	}
	r.gone = true
	k.drop(&r.pidfd)
	if r.more != nil {
		k.drop(&r.eventsFD)
		if r.cgroup != "" {
			proc.RemoveCgroup(r.cgroup) // one that is still used stays
		}
	}
	k.note(r, Gone)
}

// populated tells whether there may be processes in the run's cgroup, and has their
// end watched.
func (k *keeper) populated(r *run) bool {
	if r.eventsFD < 0 {
		var fd int
		err := k.pressed(func() (err error) {
			fd, err = proc.OpenEvents(r.cgroup)
			return err
		})
		if err != nil && !proc.Absent(err) {
			k.doubt(r)
			return true
		}
		if err != nil {
			return false // it is not there, so nobody is in it
		}
		r.eventsFD = fd
		// Asked before it is watched: from now on only changes are reported.
		if yes, err := proc.PopulatedFD(fd); err == nil && !yes {
			return false
		}
		if err := k.watch(fd, unix.EPOLLPRI, (*cgroupEvents)(r)); err != nil {
			k.warn(r, "cannot watch cgroup %s: %v", r.cgroup, err)
		}
	}
	yes, err := proc.PopulatedFD(r.eventsFD)
	if err != nil {
		k.doubt(r)
	}
	return err != nil || yes
}

// cgroupEvents is the events file of a run's cgroup.
type cgroupEvents run

func (e *cgroupEvents) ready(k *keeper, _ uint32) {
	r := (*run)(e)
	if k.populated(r) && r.phase != PhaseEnded {
		return
	}
	k.perhapsGone(r)
}

// orphans are the children that the keeper did not start. The loop does not run
// on the first thread (see Main), so that thread's list has the orphans alone.
func (k *keeper) orphans() []int {
	all, err := proc.Children(nil, k.pid)
	if err != nil {
		return []int{0} // this kernel does not tell: there may be some
	}
	var unknown []int
	for _, pid := range all {
		if k.children[pid] == nil {
			unknown = append(unknown, pid)
		}
	}
	return unknown
}

// lookThrough pins and kills the processes of some runs' sessions.
func (k *keeper) lookThrough(sids map[int]*run) {
	want := make(map[int]bool, len(sids))
	for sid := range sids {
		want[sid] = true
	}
	var members []proc.Member
	err := k.pressed(func() (err error) {
		for _, m := range members {
			unix.Close(m.PIDFD) // those of a first try
		}
		members, err = proc.Sessions(want)
		return err
	})
	foreign := make(map[int]bool)
	for _, m := range members {
		// A leader that lives after ours has ended is another process by that
		// number: the number was free, so nobody was left of ours.
		if m.PID == m.SID && sids[m.SID].reaped {
			foreign[m.SID] = true
		}
	}
	for _, m := range members {
		r := sids[m.SID]
		if m.PID == m.SID || foreign[m.SID] || !r.owns(m.PID) || r.knows(m.PID) {
			unix.Close(m.PIDFD)
			continue
		}
		proc.SendSignal(m.PIDFD, syscall.SIGKILL)
		l := &leftover{run: r, pid: m.PID, pidfd: m.PIDFD}
		r.extra().leftovers = append(r.leftovers, l)
		if err := k.watch(l.pidfd, unix.EPOLLIN, l); err != nil {
			k.warn(r, "cannot watch pid %d: %v", l.pid, err)
		}
	}
	if err != nil {
		for _, r := range sids {
			k.doubt(r)
		}
		return
	}
	k.lookAgain(sids)
}

// lookAgain closes a gap: what was born behind the pass's back, of a parent that
// had ended before the pass came to it, is an orphan by now.
func (k *keeper) lookAgain(sids map[int]*run) {
	for _, pid := range k.orphans() {
		sid, err := unix.Getsid(pid)
		if pid == 0 || err != nil {
			continue
		}
		r := sids[sid]
		if r == nil || r.knows(pid) || !r.owns(pid) || pid == sid {
			continue
		}
		var st proc.Stat
		err = k.pressed(func() (err error) {
			st, err = proc.ReadStat(pid)
			return err
		})
		switch {
		case err != nil && !proc.Absent(err):
			k.doubt(r)
		case err == nil && st.State != 'Z' && st.State != 'X':
			k.look(r)
		}
	}
}

// knows tells whether pid is pinned already.
func (r *run) knows(pid int) bool {
	for _, l := range r.others() {
		if l.pid == pid {
			return true
		}
	}
	return false
}

// owns tells whether pid may be swept away with the run. There is a doubt only
// where nobody saw the leader live.
func (r *run) owns(pid int) bool {
	if r.more == nil || !r.unseen {
		return true
	}
	uid, err := proc.Owner(pid)
	return err == nil && uid == r.uid
}

// ready: a leftover has ended.
func (l *leftover) ready(k *keeper, _ uint32) {
	r := l.run
	proc.Reap(l.pidfd) // if it is our child; else its parent does
	k.drop(&l.pidfd)
	for i, have := range r.leftovers {
		if have == l {
			r.leftovers = append(r.leftovers[:i], r.leftovers[i+1:]...)
			break
		}
	}
	if len(r.leftovers) == 0 {
		r.leftovers = nil
		k.look(r)
	}
}

// reapOrphans reaps what came to the keeper because its parent has ended. A child
// of the keeper's own is never taken: it is dealt with by its pidfd, and here
// when the kernel shows it first.
func (k *keeper) reapOrphans() {
	for {
		pid := proc.AnyZombie()
		if pid == 0 {
			return
		}
		if r := k.children[pid]; r != nil {
			k.exited = append(k.exited, r)
			k.asked.child.Store(true) // there may be orphans behind it
			return
		}
		if k.first != nil && pid == k.first.pid {
			k.first.reap()
			continue
		}
		if !proc.ReapPID(pid) {
			return
		}
	}
}

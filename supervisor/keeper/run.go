package keeper

import (
	"hash/fnv"
	"strings"

	"github.com/superd/superd/supervisor/proc"
)

// run is one run in the keeper. There may be ten thousand of them: what only few
// need is behind a pointer.
type run struct {
	id, label string
	phase     Phase
	scope     uint8
	stranger  bool // adopted: not our child
	reaped    bool // its pid means nothing any more
	gone      bool
	killed    bool // KILL was sent to all that its scope covers, at least once
	looking   bool // its session is to be looked through in this round
	doubted   bool // what is left of it could not be found out
	listed    bool // it is among k.dirty
	happened  uint8
	told      uint8 // of what has happened, on the connection there is now
	signals   int   // number of the last numbered signal
	pid       int
	pidfd     int // -1: closed
	ticks     uint64
	status    proc.ExitStatus
	*more
}

// more is what few runs need, or only for a while.
type more struct {
	report    proc.Report
	reportFD  int // -1: closed
	stage     string
	reason    string
	warnings  []string
	warned    int // how many of them were told
	leftovers []*leftover
	cgroup    string
	eventsFD  int // of the cgroup; -1: not opened
	// uid is whose processes may be swept when nobody saw the leader of an
	// adopted run live: then its pid may have been used again.
	uid    uint32
	unseen bool
}

// leftover is a process of a run's session that outlived its main process, or is
// being killed together with it.
type leftover struct {
	run   *run
	pid   int
	pidfd int
}

// extra gives the run room for what few need.
func (r *run) extra() *more {
	if r.more == nil {
		r.more = &more{reportFD: -1, eventsFD: -1}
	}
	return r.more
}

// live tells that a process of the run may be there.
func (r *run) live() bool { return !r.gone }

func bit(k EventKind) uint8 { return 1 << k }

// due is the next kind of event that was not told; 0: everything was.
func (r *run) due() EventKind {
	for kind := Forked; kind <= Stuck; kind++ {
		if (r.happened&^r.told)&bit(kind) != 0 {
			return kind
		}
	}
	return 0
}

// state is what others may know of the run. The leftovers are described only
// when they are of interest, since that reads /proc.
func (r *run) state(describe bool) RunState {
	s := RunState{
		Run: r.id, Label: r.label, Phase: r.phase, PID: r.pid, StartTicks: r.ticks, Adopted: r.stranger,
		Status: r.status, Gone: r.gone, Signals: r.signals,
	}
	if r.more == nil {
		return s
	}
	s.Stage, s.Reason, s.Warnings = r.stage, r.reason, r.warnings
	if describe && !r.gone {
		s.Leftovers = r.describe()
	}
	return s
}

// describe tells who is left.
func (r *run) describe() []proc.Leftover {
	var pids []int
	if !r.reaped && r.pid != 0 {
		pids = append(pids, r.pid)
	}
	if r.more != nil {
		for _, l := range r.leftovers {
			pids = append(pids, l.pid)
		}
		if r.scope == scopeCgroup {
			inside, _ := proc.CgroupPIDs(r.cgroup) // a name for people: none is no harm
			pids = append(pids, inside...)
		}
	}
	var list []proc.Leftover
	seen := make(map[int]bool)
	for _, pid := range pids {
		if !seen[pid] && len(list) < maxLefts {
			list = append(list, proc.Describe(pid))
		}
		seen[pid] = true
	}
	return list
}

// clip bounds a text that is kept.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// memory remembers the last of some run IDs, by their hash: enough to tell that
// a run which is asked for has been there before.
type memory struct {
	hashes [4096]uint64
	next   int
}

func hash(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64() | 1 // never the empty slot's 0
}

func (m *memory) add(id string) {
	m.hashes[m.next] = hash(id)
	m.next = (m.next + 1) % len(m.hashes)
}

func (m *memory) has(id string) bool {
	want := hash(id)
	for _, h := range m.hashes {
		if h == want {
			return true
		}
	}
	return false
}

package supervisor

import (
	"sync"
	"time"

	"github.com/superd/superd/supervisor/proc"
)

// sampleLife is how long a sample is good for. Whoever asks more often gets the
// same again, so that no number of watchers costs more than one.
const sampleLife = time.Second

// sampler remembers what processes used when they were last looked at.
type sampler struct {
	mu   sync.Mutex
	seen map[int]sample
}

type sample struct {
	at    time.Time
	ticks uint64
	usage Usage
}

// Sample implements API. The first look at a process gives no share of a CPU.
func (s *Supervisor) Sample(pids []int) map[int]Usage {
	s.sampler.mu.Lock()
	defer s.sampler.mu.Unlock()
	at := time.Now()
	next := make(map[int]sample, len(pids))
	usage := make(map[int]Usage, len(pids))
	for _, pid := range pids {
		old, had := s.sampler.seen[pid]
		if had && at.Sub(old.at) < sampleLife {
			next[pid], usage[pid] = old, old.usage
			continue
		}
		rss, ticks, err := proc.Usage(pid)
		if err != nil {
			continue
		}
		now := sample{at: at, ticks: ticks, usage: Usage{MemoryBytes: rss}}
		if had && ticks >= old.ticks {
			now.usage.CPU = float64(ticks-old.ticks) / proc.ClockTicks / at.Sub(old.at).Seconds()
		}
		next[pid], usage[pid] = now, now.usage
	}
	for pid, old := range s.sampler.seen {
		// A look at a few must not forget the others.
		if _, ok := next[pid]; !ok && at.Sub(old.at) < time.Minute {
			next[pid] = old
		}
	}
	s.sampler.seen = next
	return usage
}

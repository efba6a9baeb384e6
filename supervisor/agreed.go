package supervisor

import (
	"fmt"
	"slices"

	"github.com/superd/superd/supervisor/proc"
)

// What a keeper did that has died is not known for sure: it may have started a run
// that superd had only decided on, and seen its end. superd has to take account of
// that once, also when it dies itself before it has done so, and its successor finds
// the next keeper there already. So it is recorded which keepers the records agree
// with.

// keeperNames are the keepers there are, each told from all others of this boot.
func (s *Supervisor) keeperNames() []string {
	var names []string
	for _, c := range s.keepers.list() {
		ticks, _ := proc.StartTicks(c.PID()) // 0: it is gone, and will be noticed
		names = append(names, fmt.Sprintf("%d.%d", c.PID(), ticks))
	}
	slices.Sort(names)
	return names
}

// agreed records that everything is known of the keepers there are.
func (s *Supervisor) agreed() {
	if names := s.keeperNames(); !slices.Equal(names, s.records.host.Keepers) {
		s.records.host.Keepers = names
		s.recorded(s.records.saveHost())
	}
}

// missed tells whether a keeper has died that superd, or the one before it, has not
// taken account of.
func (s *Supervisor) missed() bool {
	there := s.keeperNames()
	return slices.ContainsFunc(s.records.host.Keepers, func(name string) bool { return !slices.Contains(there, name) })
}

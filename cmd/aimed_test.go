package cmd_test

import (
	"syscall"
	"testing"
	"time"
)

// Single aimed kills, each of which has lost or doubled something once. They have
// the soak's workers, and its look at everything in the end.

// TestKeeperDiesInRecovery: superd does not end because the keeper does, when it has
// just been called. It recovers once more.
func TestKeeperDiesInRecovery(t *testing.T) {
	t.Parallel()
	s := newSoakOf(t, 1, 12)
	s.start()
	s.settle()
	for _, point := range []string{"keeper.begin", "keeper.list", "keeper.hold", "keeper.adopt"} {
		before, _ := s.aims.table.Fired(point)
		s.step("aim at %s", point)
		if point != "keeper.list" { // then there is something to be adopted and held
			killKeeper(s)
		}
		s.process.Kill()
		<-s.ended
		s.aims.table.Arm(point, 1, 0)
		s.start()
		pid := s.process.Pid
		if !s.struck(point, before) {
			t.Errorf("nothing came to %s", point)
		}
		s.keeperDies()
		s.settle()
		if s.process.Pid != pid {
			t.Errorf("superd has ended at %s", point)
		}
	}
	s.finish()
}

// TestLastWordsOfAdopted: superd dies when it has just started another keeper, and
// again when that one is there: what workers print then and die of is held.
func TestLastWordsOfAdopted(t *testing.T) {
	t.Parallel()
	s := newSoakOf(t, 1, 12)
	s.start()
	s.settle()
	for _, point := range []string{"lost.dialed", "lost.reheld", "adopt.found"} {
		before, _ := s.aims.table.Fired(point)
		s.step("aim at %s", point)
		s.aims.table.Arm(point, 1, 0)
		killKeeper(s)
		if !s.struck(point, before) {
			t.Fatalf("nothing came to %s", point)
		}
		<-s.ended
		s.start()
		s.settle()
		s.process.Kill()
		<-s.ended
		for _, p := range s.processes() {
			if p.pid == p.session && len(p.slot) > 6 && p.slot[:6] == "chatty" {
				syscall.Kill(p.pid, syscall.SIGTERM)
				for late := time.Now().Add(patience); lives(p.pid) && time.Now().Before(late); {
					time.Sleep(time.Millisecond)
				}
			}
		}
		s.start()
		s.settle()
	}
	s.finish()
}

package supervisor

import "testing"

// TestOneRecheckForAll: a thousand spawns that are lost with their keeper have superd
// look once what lives.
func TestOneRecheckForAll(t *testing.T) {
	s := newSupervisor(Options{})
	for range 1000 {
		s.recheckSoon()
	}
	if n := len(s.inbox.queue); n != 1 {
		t.Errorf("the loop is to look %d times", n)
	}
}

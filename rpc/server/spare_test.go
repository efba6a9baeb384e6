package server

import "testing"

// TestSparesEnd: a connection that ends after its listener has none taken again.
func TestSparesEnd(t *testing.T) {
	var s spares
	s.fill()
	if len(s.fds) != spareFiles {
		t.Fatalf("%d descriptors are held, not %d", len(s.fds), spareFiles)
	}
	s.close()
	s.fill()
	if len(s.fds) != 0 {
		t.Errorf("%d descriptors are held after the end", len(s.fds))
	}
}

package supervisor

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneThreadForADiskThatHangs: however often somebody asks for a directory that does
// not answer, one goroutine waits for it; and when it answers, what it is by then counts.
func TestOneThreadForADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		var means atomic.Value
		var asked atomic.Int32
		means.Store("/srv/41")
		r := &resolver{eval: func(string) (string, error) {
			asked.Add(1)
			found := means.Load().(string)
			<-hung
			return found, nil
		}}
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), resolvePatience)
			if got := r.resolve(ctx, "/srv/current"); got != "/srv/current" {
				t.Errorf("it is %s, and nobody can know", got)
			}
			cancel()
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%d wait for the disk", n)
		}
		means.Store("/srv/42")
		time.AfterFunc(time.Second, func() { close(hung) })
		if got := r.resolve(t.Context(), "/srv/current"); got != "/srv/42" {
			t.Errorf("it is %s by now", got)
		}
		if len(r.slow) != 0 {
			t.Errorf("%d count as slow", len(r.slow))
		}
	})
}

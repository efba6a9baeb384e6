package supervisor

import (
	"runtime/debug"
	"time"
)

// restAfter is how long nothing must have happened before memory is given back.
const restAfter = time.Second

// rest gives memory back to the system when superd comes to rest. Left alone, Go
// does that little by little, for minutes, in a process that has nothing to do.
type rest struct{ stirred chan struct{} }

func newRest() *rest { return &rest{stirred: make(chan struct{}, 1)} }

// stir tells that something happens. It never blocks.
func (r *rest) stir() {
	select {
	case r.stirred <- struct{}{}:
	default:
	}
}

// watch waits for work, then for rest after it, and so on until done.
func (r *rest) watch(done <-chan struct{}) {
	quiet := time.NewTimer(restAfter)
	defer quiet.Stop()
	for {
		select {
		case <-r.stirred:
			quiet.Reset(restAfter)
		case <-quiet.C:
			debug.FreeOSMemory()
		case <-done:
			return
		}
	}
}

package proc

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// SpareThreads makes the runtime have n threads more than it has use for now. It
// keeps them for whatever will block in a system call: a Go program cannot live on
// when it needs another thread and the kernel refuses it, for a limit of processes
// or want of memory, so the threads are best had while there are some.
func SpareThreads(n int) {
	var up, end sync.WaitGroup
	up.Add(n)
	end.Add(1)
	for range n {
		go func() {
			runtime.LockOSThread() // each has a thread to itself while all are up
			defer runtime.UnlockOSThread()
			up.Done()
			end.Wait()
			unix.Gettid()
		}()
	}
	up.Wait()
	end.Done()
}

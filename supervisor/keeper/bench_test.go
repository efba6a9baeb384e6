package keeper

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// The program of the benchmarks: it ends at once.
const trueProgram = "/bin/true"

var benchEnv = []string{
	"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
	"SUPERD_POOL=mailers", "SUPERD_INDEX=0", "SUPERD_WORKER=mailers/0", "SUPERD_RUN_ID=0123456789abcdefghij",
	"SUPERD_REVISION=1", "SUPERD_DEPLOYMENT=", "SUPERD_RELEASE=/srv/app/releases/1",
}

// BenchmarkSpawnExit starts processes through client and keeper, and has their
// exits told, with at most 64 under way.
func BenchmarkSpawnExit(b *testing.B) {
	r := newRig(b)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	b.ReportAllocs()
	b.ResetTimer()
	asked, ended := 0, 0
	for ended < b.N {
		for asked < b.N && asked-ended < 64 {
			asked++
			err := r.Spawn(context.Background(), Spawn{
				Run: newRun(), Path: trueProgram, Args: []string{"true"}, Env: benchEnv,
				Dir: "/", Umask: 0o22, Direct: true, Stdout: null, Stderr: null,
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		ev := <-r.Events()
		switch ev.Kind {
		case Exited:
			ended++
			r.Acknowledge(ev.Run)
		case SpawnFailed:
			b.Fatal(ev.Reason)
		}
	}
}

// BenchmarkForkExec is the bare loop to compare with: as many under way.
func BenchmarkForkExec(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Dir: "/", Env: benchEnv, Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	b.ReportAllocs()
	b.ResetTimer()
	live := 0
	wait := func() {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
		live--
	}
	for range b.N {
		if _, err := syscall.ForkExec(trueProgram, []string{"true"}, attr); err != nil {
			b.Fatal(err)
		}
		if live++; live == 64 {
			wait()
		}
	}
	for live > 0 {
		wait()
	}
}

// BenchmarkStart starts processes that live, each with a FIFO as its output whose
// other end is held, and stops the clock when the last has started.
func BenchmarkStart(b *testing.B) {
	r := newRig(b)
	pipes := make([][2]*os.File, b.N)
	dir := b.TempDir()
	for i := range pipes {
		in, out, err := fifo(fmt.Sprintf("%s/%d", dir, i))
		if err != nil {
			b.Skip("as many FIFOs cannot be open at once: ", err)
		}
		defer in.Close()
		defer out.Close()
		pipes[i] = [2]*os.File{in, out}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, p := range pipes {
		s := Spawn{Run: newRun(), Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Env: benchEnv, Dir: "/",
			Umask: 0o22, Direct: true, Stdout: p[1], Stderr: p[1]}
		s.Hold = map[string]*os.File{s.Run + ".out": p[0]}
		if err := r.Spawn(context.Background(), s); err != nil {
			b.Fatal(err)
		}
	}
	for started := 0; started < b.N; {
		switch ev := <-r.Events(); ev.Kind {
		case Started:
			started++
		case SpawnFailed:
			b.Fatal(ev.Reason)
		}
	}
	b.StopTimer()
}

// BenchmarkStage starts processes by the other way, each with a stage of its own.
func BenchmarkStage(b *testing.B) {
	r := newRig(b)
	for range b.N {
		id := r.spawn(Spawn{
			Path: trueProgram, Args: []string{"true"}, Env: benchEnv, Dir: "/", Umask: 0o22,
		})
		for ev := range r.Events() {
			if ev.Kind == Exited {
				break
			}
		}
		r.Acknowledge(id)
	}
}

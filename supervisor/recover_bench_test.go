package supervisor

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/core"
)

// BenchmarkRecover is what superd itself does when it starts beside workers that
// live: it reads their records, compares them with what is found, and records what
// follows. What one worker takes must not depend on how many there are.
func BenchmarkRecover(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n, " workers"), func(b *testing.B) { benchmarkRecover(b, n) })
	}
}

func benchmarkRecover(b *testing.B, n int) {
	runtime, state := b.TempDir(), b.TempDir()
	cfg, err := config.LoadBytes("test.toml", []byte("[pool.w]\ncommand = \"true\"\n"), config.Options{})
	if err != nil {
		b.Fatal(err)
	}
	cfg.Pools["w"].Count = n
	begin := core.Begin{Specs: []core.Spec{{Config: cfg.Pools["w"], Release: "/"}}, SameBoot: true, Found: map[string]core.Found{}}
	r, err := openRecords(runtime, state)
	if err != nil {
		b.Fatal(err)
	}
	save := func(actions []core.Action) {
		for _, a := range actions {
			switch a := a.(type) {
			case core.SavePool:
				err = r.savePool(a.Pool)
			case core.SaveWorker:
				err = r.saveWorker(a.Pool, a.Worker)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	st := core.New(1)
	if _, _, err := r.load(st); err != nil {
		b.Fatal(err)
	}
	save(st.Step(now(), begin))
	for i, w := range st.Pools["w"].Workers {
		save(st.Step(now(), core.Started{Run: w.Run.ID, PID: 1000 + i, StartTicks: uint64(i)}))
		begin.Found[w.Run.ID] = core.Found{PID: 1000 + i, StartTicks: uint64(i), Started: true}
	}
	if err := r.belong(); err != nil {
		b.Fatal(err)
	}
	before := processorTime(b)
	for b.Loop() {
		if err := r.close(); err != nil {
			b.Fatal(err)
		}
		if r, err = openRecords(runtime, state); err != nil {
			b.Fatal(err)
		}
		st := core.New(1)
		same, damage, err := r.load(st)
		if err != nil || !same || len(damage) > 0 || len(st.Pools["w"].Workers) != n {
			b.Fatal(same, damage, err)
		}
		save(st.Step(now(), begin))
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N*n), "cpu-µs/worker")
	r.close()
}

// processorTime is what the process has used, which says more than the clock on a
// machine that others use too.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

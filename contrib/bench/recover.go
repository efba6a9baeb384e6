package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// recoverBar is what a start of superd may take that finds a thousand workers alive.
const recoverBar = 150 * time.Millisecond

// gapBar is for how long an upgrade may leave superd's clients without an answer.
const gapBar = 100 * time.Millisecond

// recover measures how long superd does not answer when it is killed and started
// again, with all workers and with a quarter of them: twice the workers may not
// take more than twice the time.
func (b *run) recover() error {
	full, err := b.recoverBest()
	if err != nil {
		return err
	}
	gap, slowest, err := b.upgrades()
	if err != nil {
		return err
	}
	few := *workers / 4
	if err := b.scale(few); err != nil {
		return err
	}
	part, err := b.recoverBest()
	if err != nil {
		return err
	}
	row(fmt.Sprintf("start with %d live workers", *workers), ms(full.took), "",
		fmt.Sprintf("until superd answers (best of %d); %s of processor time; at most %s for 1000", *rounds, ms(full.cpu), ms(recoverBar)))
	each := func(full, part time.Duration) float64 {
		return float64((full - part).Microseconds()) / float64(max(*workers-few, 1))
	}
	row(fmt.Sprintf("start with %d live workers", few), ms(part.took), "",
		fmt.Sprintf("%s of processor time; each further worker: %.0f µs, %.0f of processor time", ms(part.cpu), each(full.took, part.took), each(full.cpu, part.cpu)))
	row(fmt.Sprintf("upgrade's gap with %d live workers", *workers), ms(gap), "",
		fmt.Sprintf("slowest answer meanwhile %s (best of %d); at most %s for 1000", ms(slowest), *rounds, ms(gapBar)))
	return b.scale(*workers)
}

// cost is what a start took, by the clock and of processors.
type cost struct{ took, cpu time.Duration }

// recoverBest is the least of either.
func (b *run) recoverBest() (best cost, err error) {
	for round := range *rounds {
		b.superd.Process.Kill()
		b.superd.Wait()
		begin := time.Now()
		if err := b.begin(); err != nil {
			return best, err
		}
		took := time.Since(begin)
		cpu, err := onProcessors(b.pids[0])
		if err != nil {
			return best, err
		}
		if round == 0 {
			best = cost{took, cpu}
		}
		best = cost{min(best.took, took), min(best.cpu, cpu)}
	}
	return best, nil
}

// onProcessors is how long the threads of a process have run: the first field of
// /proc/PID/task/TID/schedstat, which counts in nanoseconds.
func onProcessors(pid int) (sum time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read %s: %w", file, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// upgrades has superd become its own program some times. gap is what it says itself,
// slowest the longest that somebody waited who asked again and again; of each the least.
func (b *run) upgrades() (gap, slowest time.Duration, err error) {
	for round := range *rounds {
		g, s, err := b.upgrade()
		if err != nil {
			return 0, 0, err
		}
		if round == 0 {
			gap, slowest = g, s
		}
		gap, slowest = min(gap, g), min(slowest, s)
	}
	return gap, slowest, nil
}

// upgrade is one of them.
func (b *run) upgrade() (gap, slowest time.Duration, err error) {
	const path = "/v1/upgrade"
	before, _, err := b.upgraded()
	if err != nil {
		return 0, 0, err
	}
	stop, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			begin := time.Now()
			b.get("/healthz", nil)
			most = max(most, time.Since(begin))
			select {
			case <-stop:
				longest <- most
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	defer func() {
		close(stop)
		slowest = <-longest
	}()
	resp, err := b.client().Post("http://superd"+path, "application/json", strings.NewReader("{}"))
	if err != nil {
		return 0, 0, err
	}
	if err := answer(resp, path, nil); err != nil {
		return 0, 0, err
	}
	err = b.until("superd is upgraded", func() bool {
		var seq uint64
		seq, gap, err = b.upgraded()
		return err == nil && seq > before
	})
	return gap, 0, err
}

// upgraded is the number of the last upgrade's event, 0: there was none, and its gap.
func (b *run) upgraded() (seq uint64, gap time.Duration, err error) {
	resp, err := b.client().Get("http://superd/v1/events?type=superd.upgraded&since=0")
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	for events := json.NewDecoder(resp.Body); ; {
		var ev struct {
			Seq  uint64
			Type string
			Data struct {
				Gap int64 `json:"gap_ms"`
			}
		}
		if err := events.Decode(&ev); err == io.EOF {
			return seq, gap, nil
		} else if err != nil {
			return 0, 0, err
		}
		if ev.Type == "superd.upgraded" {
			seq, gap = ev.Seq, time.Duration(ev.Data.Gap)*time.Millisecond
		}
	}
}

// scale gives the pool another number of workers and waits until they are there.
func (b *run) scale(n int) error {
	const path = "/v1/pools/bench/scale"
	resp, err := b.client().Post("http://superd"+path, "application/json", strings.NewReader(fmt.Sprintf(`{"count":%d}`, n)))
	if err != nil {
		return err
	}
	if err := answer(resp, path, nil); err != nil {
		return err
	}
	return b.until("the pool is scaled", func() bool {
		running, _, err := b.running("bench")
		return err == nil && running == n
	})
}

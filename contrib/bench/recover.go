package main

import (
	"fmt"
	"strings"
	"time"
)

// recoverBar is what a start of superd may take that finds a thousand workers alive.
const recoverBar = 150 * time.Millisecond

// recover measures how long superd does not answer when it is killed and started
// again, with all workers and with a quarter of them: twice the workers may not
// take more than twice the time.
func (b *run) recover() error {
	full, err := b.recoverBest()
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
	row(fmt.Sprintf("superd is back with %d live workers", *workers), ms(full), "",
		fmt.Sprintf("until it answers (best of %d); at most %s for 1000", *rounds, ms(recoverBar)))
	row(fmt.Sprintf("superd is back with %d live workers", few), ms(part), "",
		fmt.Sprintf("%.1f µs for each further worker", float64((full-part).Microseconds())/float64(max(*workers-few, 1))))
	return b.scale(*workers)
}

func (b *run) recoverBest() (best time.Duration, err error) {
	for round := range *rounds {
		b.superd.Process.Kill()
		b.superd.Wait()
		begin := time.Now()
		if err := b.begin(); err != nil {
			return 0, err
		}
		if took := time.Since(begin); round == 0 || took < best {
			best = took
		}
	}
	return best, nil
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

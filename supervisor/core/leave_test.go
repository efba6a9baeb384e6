package core

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestLeftovers: a superd that starts only to end what another one has left ends all
// of it, starts nothing, and changes nothing of what is wanted. It is tried on what
// remains of hosts on which anything has happened.
func TestLeftovers(t *testing.T) {
	left := 0
	for seed := uint64(1); seed <= 100; seed++ {
		r := rand.New(rand.NewPCG(seed, 2))
		h := newHost(r.IntN)
		err := func() (err error) {
			defer func() {
				if r := recover(); r != nil {
					err = fmt.Errorf("%v", r)
				}
			}()
			h.start()
			for range 60 + r.IntN(200) {
				h.something()
			}
			h.crash()
			for _, p := range h.keeper.processes {
				p.deaf, p.stubborn, p.leaves, p.sweeps = false, 0, 0, 0
				if p.phase == ended || p.phase == running && (p.life > 0 || p.told) {
					p.due = h.now.Boot
				}
				if p.live() {
					left++
				}
			}
			before := map[string]Desired{}
			for name, r := range h.disk {
				before[name] = r.pool.Desired
			}
			h.calm, h.specs, h.leave, h.past = true, nil, &Leave{By: "nobody is there"}, nil
			h.watch = func(ev Event, done []Action) {
				for _, a := range done {
					if a, ok := a.(Spawn); ok {
						panic(broken("it starts " + a.Run))
					}
				}
			}
			h.start()
			h.pass(h.now.Boot + 10*time.Minute)
			if h.quit == nil && h.core != nil {
				return fmt.Errorf("it does not end")
			}
			for _, p := range h.keeper.processes {
				if p.live() {
					return fmt.Errorf("%s lives on", p.run)
				}
			}
			for name, was := range before {
				if r := h.disk[name]; r != nil && r.pool.Desired != was {
					return fmt.Errorf("pool %s: desired was %s and is %s", name, was, r.pool.Desired)
				} else if r == nil {
					if was == Up {
						return fmt.Errorf("pool %s is forgotten", name)
					}
				}
			}
			return nil
		}()
		if err != nil {
			t.Fatalf("host %d: %v", seed, err)
		}
	}
	if left < 100 {
		t.Errorf("only %d runs were left to end", left)
	}
}

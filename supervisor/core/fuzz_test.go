package core

import (
	"math/rand/v2"
	"testing"
)

// FuzzHost lives through a host whose every choice is a byte of the input: what
// is found breaks a promise, as in the simulation.
func FuzzHost(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		tape := make([]byte, 1500)
		for i := range tape {
			tape[i] = byte(r.Uint32())
		}
		f.Add(tape)
	}
	f.Fuzz(func(t *testing.T, tape []byte) {
		lives := func(log bool) error {
			rest := tape
			h := newHost(func(n int) int {
				if len(rest) == 0 {
					return 0
				}
				b := rest[0]
				rest = rest[1:]
				return int(b) % n
			})
			if log {
				h.keepLog()
			}
			return h.live(len(tape) / 8)
		}
		if lives(false) != nil {
			t.Fatal(lives(true))
		}
	})
}

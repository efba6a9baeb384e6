package cmd_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// soakClient gives commands, one after the other, and remembers what must have
// come of those that were answered: it has a pool of its own.
type soakClient struct {
	s    *soak
	pool string
	up   soakWish
	size soakWish
}

// soakWish is what a client was told that is so, for as long as nothing is in doubt.
type soakWish struct {
	value int
	sure  bool
}

func newSoakClient(s *soak, i int) *soakClient {
	return &soakClient{s: s, pool: fmt.Sprintf("own%d", i), up: soakWish{1, true}, size: soakWish{ownCount, true}}
}

// giveCommands has all clients give commands, drawn by the seed, until they are
// through or the returned function is called; it waits for the last ones.
func (s *soak) giveCommands() (stop func()) {
	var going sync.WaitGroup
	done := make(chan struct{})
	for _, c := range s.clients {
		var list [][]string
		for range 1 + s.random.IntN(4) {
			list = append(list, c.draw(s.random))
		}
		going.Go(func() { c.give(list, done) })
	}
	list := s.drawShared()
	going.Go(func() {
		for _, args := range list {
			select {
			case <-done:
				return
			default:
			}
			switch args[0] {
			case "apply":
				s.apply(func(c *soakConfig) { c.turn++ })
			case "upgrade":
				upgrade(s)
			default:
				s.command(args...)
			}
		}
	})
	return func() { close(done); going.Wait() }
}

// drawShared are commands on what is nobody's own.
func (s *soak) drawShared() [][]string {
	all := [][]string{
		{"restart", "--no-wait", "forking"}, {"restart", "--no-wait", "steady/1"}, {"restart", "--no-wait", "chatty/1"},
		{"restart", "--no-wait", "slow"}, {"restart", "--no-wait", "forking", "slow"}, {"signal", "USR1", "chatty"}, {"apply"}, {"status"}, {"logs", "-n", "5", "chatty"},
		{"events", "--since", "1m", "brief"}, {"show", "slow"}, {"upgrade"}, {"restart", "--timeout", "20s", "steady/0"},
	}
	if cgroups() {
		all = append(all, []string{"restart", "--no-wait", "boxed"})
	}
	s.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+s.random.IntN(4)]
}

// draw is a command on the client's own pool.
func (c *soakClient) draw(random *rand.Rand) []string {
	wait := []string{"--no-wait"}
	if random.IntN(3) == 0 {
		wait = []string{"--timeout", "20s"}
	}
	args := [][]string{{"start", c.pool}, {"stop", c.pool}, {"restart", c.pool}, {"stop", "--now", c.pool},
		{"scale", fmt.Sprintf("%s=%d", c.pool, 1+random.IntN(6))}, {"scale", fmt.Sprintf("%s=%d", c.pool, random.IntN(3))}}[random.IntN(6)]
	return slices.Concat(args, wait)
}

// give runs commands and keeps in mind what they promise.
func (c *soakClient) give(list [][]string, done chan struct{}) {
	for _, args := range list {
		select {
		case <-done:
			return
		default:
		}
		wish, value := &c.up, 0
		switch args[0] {
		case "start":
			value = 1
		case "restart": // of a pool that is stopped it may be refused
			value = c.up.value
			c.up.sure = c.up.sure && value == 1
		case "scale":
			wish = &c.size
			fmt.Sscanf(strings.TrimPrefix(args[1], c.pool+"="), "%d", &value)
		}
		wish.sure = wish.sure && wish.value == value // until it is answered it may be either
		code := c.s.command(args...)
		// 6: it is begun, and goes on.
		if (code == 0 || code == 6) && args[0] != "restart" {
			wish.value, wish.sure = value, true
		}
	}
}

var soakCodes sync.Mutex // guards soak.count and soak.config against the clients

// command runs superctl and looks at how it ended: with what a person would expect
// whose superd is killed in the middle.
func (s *soak) command(args ...string) (code int) {
	begin := time.Now()
	out, code := s.superctl(args...)
	soakCodes.Lock()
	s.count.commands++
	s.count.codes[code]++
	s.step("%s: %d after %d ms", strings.Join(args, " "), code, time.Since(begin).Milliseconds())
	soakCodes.Unlock()
	switch code {
	case 0, 1, 6:
	default:
		s.t.Errorf("superctl %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	if strings.Contains(out, "panic") || out == "" && code != 0 {
		s.t.Errorf("superctl %s: exit code %d and no good word: %q", strings.Join(args, " "), code, out)
	}
	return code
}

// apply changes the configuration and has superd take it on.
func (s *soak) apply(change func(*soakConfig)) {
	soakCodes.Lock()
	change(&s.config)
	s.writeConfig()
	soakCodes.Unlock()
	s.command("apply", "--no-wait")
}

package core

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/config"
)

// searchStates is how many different states of each small world are looked at.
const searchStates = 1500

// node is a small world, how it came about, and what may still be done to it.
type node struct {
	*world
	path     []string
	commands int
	exits    int
	deaths   int
}

// TestSearch goes through every ordering of what can happen in small worlds, the
// shortest first, and holds all promises in each: time passing, exits, commands,
// news that come late, and superd's death at any moment.
func TestSearch(t *testing.T) {
	one, two := basePool("a"), basePool("a")
	two.Count, two.Restart.Attempts, two.Restart.Interval = 2, 1, 30*time.Second
	after := basePool("b")
	after.After = []string{"a"}
	for name, pools := range map[string][]*config.Pool{"one": {one}, "two": {two}, "after": {one, after}} {
		t.Run(name, func(t *testing.T) {
			var specs []Spec
			for _, c := range pools {
				specs = append(specs, Spec{Config: c, Release: "/"})
			}
			w := newWorld(specs...)
			w.viaJSON, w.past = false, nil
			w.start()
			search(t, &node{world: w, commands: 2, exits: 2, deaths: 1})
		})
	}
}

func search(t *testing.T, first *node) {
	seen := map[string]bool{}
	queue, longest := []*node{first}, 0
	for len(queue) > 0 && len(seen) < searchStates {
		n := queue[0]
		queue = queue[1:]
		longest = max(longest, len(n.path)+1)
		for _, m := range n.moves(t) {
			if key := m.key(); !seen[key] {
				seen[key] = true
				queue = append(queue, m)
			}
		}
	}
	t.Logf("%d states, the longest way to one has %d moves", len(seen), longest)
}

// moves are the worlds that one thing more leads to.
func (n *node) moves(t *testing.T) (next []*node) {
	try := func(what string, do func(m *node)) {
		m := &node{world: n.clone(), commands: n.commands, exits: n.exits, deaths: n.deaths}
		m.path = append(append([]string{}, n.path...), what)
		defer func() {
			if r := recover(); r != nil {
				t.Fatalf("%s: %v", strings.Join(m.path, ", "), r)
			}
		}()
		if do(m); m.core != nil {
			next = append(next, m)
		}
	}
	if len(n.inbox) > 0 {
		try("news", func(m *node) { m.readOne() })
	}
	if n.next() != never_ {
		try("time", func(m *node) { m.moveTo(m.next()); m.happen() })
	}
	for i, p := range n.keeper.processes {
		if p.phase == running && n.exits > 0 {
			try(fmt.Sprintf("exit of %s", p.slot), func(m *node) {
				m.exits--
				m.keeper.exit(m.keeper.processes[i], End{Code: 1}, m.now.Boot)
			})
		}
	}
	for _, verb := range []Verb{VerbStart, VerbStop, VerbRestart} {
		if n.commands > 0 {
			try(string(verb), func(m *node) { m.commands--; m.command(Command{Verb: verb, Pool: "a"}) })
		}
	}
	for deed := range 3 * n.deaths {
		try(fmt.Sprintf("time, and death before deed %d", deed), func(m *node) {
			m.deaths--
			m.dieBefore = func(i int, _ Action) bool { return i == deed }
			if at := m.next(); at != never_ {
				m.moveTo(at)
				m.happen()
			}
			if m.core != nil && len(m.inbox) > 0 {
				m.readOne()
			}
			if m.core != nil {
				m.crash()
			}
			m.start()
		})
	}
	return next
}

// key is equal for worlds that will do the same.
func (n *node) key() string {
	var b strings.Builder
	b.WriteString(canonical(n.core))
	for _, p := range n.keeper.processes {
		fmt.Fprintf(&b, " %s %d %v %v", p.slot, p.phase, p.dying, p.due-n.now.Boot)
	}
	fmt.Fprint(&b, len(n.inbox), n.commands, n.exits, n.deaths)
	return b.String()
}

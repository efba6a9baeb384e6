package cmd_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/superd/superd/supervisor/aim"
)

// soakPoint is an instant at which superd or the keeper can be killed; see
// supervisor/aim. A test compares this list with the code.
type soakPoint struct {
	name string
	// provoke brings about what leads there; nil: that happens all the time.
	provoke func(*soak)
}

var soakPoints = []soakPoint{
	// A run is started: superd's part, and the keeper's.
	{name: "spawn.recorded"}, {name: "spawn.piped"}, {name: "spawn.prepared"}, {name: "spawn.sent"}, {name: "spawn.answered"},
	{name: "keeper.fork"}, {name: "keeper.executed"}, {name: "keeper.forked", provoke: restartForking}, {name: "keeper.staged", provoke: restartForking},
	// A signal is sent.
	{name: "signal.recorded", provoke: restartSteady}, {name: "signal.sent", provoke: restartSteady},
	{name: "keeper.signal", provoke: restartSteady}, {name: "keeper.signaled", provoke: restartSteady},
	// A run ends, is told of, and forgotten.
	{name: "keeper.exited"}, {name: "keeper.reaped"}, {name: "keeper.swept"}, {name: "end.told"}, {name: "end.recorded"},
	{name: "end.drained"}, {name: "end.acknowledged"}, {name: "keeper.forget"},
	// A request is answered.
	{name: "request.done", provoke: restartSteady},
	// Records are saved: in place, by another file, and the durable ones.
	{name: "store.put"}, {name: "store.stored"}, {name: "store.filled", provoke: applyExtra}, {name: "store.renamed", provoke: applyExtra},
	{name: "state.begun", provoke: restartForking}, {name: "state.put", provoke: restartForking}, {name: "state.written", provoke: restartForking},
	// Output: a FIFO is made, emptied, taken away.
	{name: "logs.made"}, {name: "logs.writing"}, {name: "logs.spliced"}, {name: "logs.written"}, {name: "logs.consumed"}, {name: "logs.finished"},
	{name: "logs.removed"}, {name: "logs.settling", provoke: killInBatch},
	// A log is rotated, and compressed.
	{name: "logs.shift"}, {name: "logs.rotated"}, {name: "logs.reopened"}, {name: "logs.packing"}, {name: "logs.packed"}, {name: "logs.placed"},
	// Recovery itself.
	{name: "recover.loaded", provoke: killSuperd}, {name: "recover.connected", provoke: killSuperd}, {name: "recover.listening", provoke: killSuperd},
	{name: "recover.found", provoke: killSuperd}, {name: "recover.begin", provoke: killSuperd}, {name: "recover.decided", provoke: killSuperd},
	{name: "recover.pruned", provoke: killSuperd}, {name: "keeper.list", provoke: killSuperd},
	// A keeper has died, and another one takes its runs over.
	{name: "lost.dialed", provoke: killKeeper}, {name: "lost.reheld", provoke: killKeeper}, {name: "adopt.found", provoke: killKeeper},
	{name: "adopt.asked", provoke: killKeeper}, {name: "keeper.adopt", provoke: killKeeper}, {name: "keeper.hold", provoke: killKeeper},
	{name: "keeper.begin", provoke: killKeeper},
	// An upgrade: the other program is tried, executed, and recovers.
	{name: "try.copied", provoke: upgrade}, {name: "upgrade.tried", provoke: upgrade}, {name: "upgrade.suspended", provoke: upgrade},
	{name: "upgrade.still", provoke: upgrade}, {name: "upgrade.execute", provoke: upgrade}, {name: "upgrade.executed", provoke: upgrade},
	{name: "upgrade.recovered", provoke: upgrade},
}

func restartForking(s *soak) { s.superctl("restart", "--no-wait", "forking") }
func restartSteady(s *soak)  { s.superctl("restart", "--no-wait", "steady/0") }

// applyExtra brings a pool, or takes it away: its records are new files.
func applyExtra(s *soak) {
	for again := true; again; {
		s.apply(func(c *soakConfig) {
			c.extra = !c.extra
			again = !c.extra
		})
	}
}

func killSuperd(s *soak) {
	s.process.Kill()
	<-s.ended
	s.start()
}

func killKeeper(s *soak) {
	if pid := s.keeper(); pid != 0 {
		s.keeperDies()
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// killInBatch kills superd while it moves a worker's output, so that the next one
// has to find out how far it had come.
func killInBatch(s *soak) {
	before, _ := s.aims.table.Fired("logs.spliced")
	s.aims.table.Arm("logs.spliced", 1+s.random.IntN(20), 0)
	if s.struck("logs.spliced", before) {
		<-s.ended
		s.start()
	}
}

// upgrade replaces superd by itself. For a moment there is none.
func upgrade(s *soak) {
	from := bootNow()
	s.command("upgrade", "--timeout", "20s")
	s.watch.Lock()
	defer s.watch.Unlock()
	s.aways = append(s.aways, soakGap{from, bootNow()})
}

// aims is how the soak kills at points: by a table that the programs look into.
type aims struct {
	table *aim.Table
	tries map[string]int
	last  string // the point that was aimed at last
}

// soakPrograms builds the programs that can be aimed at, once for all tests.
var soakPrograms = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(filepath.Dir(bin), "aim")
	for _, args := range [][]string{{"-tags", "aim", "-o", dir + "/superd", "./superd"}, {"-o", dir + "/soakworker", "./testdata/soakworker"}} {
		cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...)
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot build %v: %v\n%s", args, err, out)
		}
	}
	return dir, nil
})

// newAims gives a soak programs of its own, and the table that they look into.
func newAims(s *soak) *aims {
	built, err := soakPrograms()
	if err != nil {
		s.t.Fatal(err)
	}
	programs := s.dir + "/bin/"
	for _, name := range []string{"superd", "soakworker"} {
		data, err := os.ReadFile(filepath.Join(built, name))
		if err == nil {
			err = putProgram(programs+name, data)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	var names []string
	for _, p := range soakPoints {
		names = append(names, p.name)
	}
	path := filepath.Join(programs, aim.TableName)
	if err := aim.Create(path, names); err != nil {
		s.t.Fatal(err)
	}
	table, err := aim.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return &aims{table: table, tries: map[string]int{}}
}

// next is a point that was hit as seldom as any.
func (s *soak) nextAim() soakPoint {
	points := slices.Clone(soakPoints)
	if *soakAim != "" {
		points = slices.DeleteFunc(points, func(p soakPoint) bool { return !strings.HasPrefix(p.name, *soakAim) })
	}
	s.random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	p := slices.MinFunc(points, func(a, b soakPoint) int { return cmp.Compare(s.aims.tries[a.name], s.aims.tries[b.name]) })
	s.aims.tries[p.name]++
	s.aims.last = p.name
	return p
}

// kill ends superd, its keeper or both without warning, and has superd live again.
func (s *soak) kill() {
	switch n := s.random.IntN(100); {
	case *soakAim != "" || n < 45:
		s.killAt(s.nextAim())
	case n < 80:
		s.count.kills++
		s.count.superd++
		s.step("kill superd, pid %d", s.process.Pid)
		s.process.Kill()
		<-s.ended
		s.away()
	case n < 92:
		if keeper := s.keeper(); keeper != 0 { // else superd is just about to start another one
			s.count.kills++
			s.count.keeper++
			s.step("kill the keeper, pid %d", keeper)
			s.keeperDies()
			syscall.Kill(keeper, syscall.SIGKILL)
		}
	case n < 97:
		s.count.kills++
		s.count.both++
		keeper := s.keeper()
		s.step("kill both, pids %d and %d", s.process.Pid, keeper)
		if s.random.IntN(2) == 0 {
			s.process.Kill()
		}
		if keeper != 0 {
			s.keeperDies()
			syscall.Kill(keeper, syscall.SIGKILL)
		}
		s.process.Kill()
		<-s.ended
		s.away()
	default:
		s.detach()
	}
}

// away starts superd again, after a while in which workers go on alone.
func (s *soak) away() {
	if s.random.IntN(2) == 0 {
		time.Sleep(s.between(0, 400*time.Millisecond)) // a while without superd
	}
	s.start()
	if s.count.kills < *soakKills && s.random.IntN(6) == 0 {
		s.count.kills++
		s.count.superd++
		time.Sleep(s.between(0, 80*time.Millisecond)) // somewhere in its recovery
		s.step("kill superd again")
		s.process.Kill()
		<-s.ended
		s.start()
	}
}

// detach ends superd as it is asked to, and leaves the workers.
func (s *soak) detach() {
	s.count.detached++
	s.step("shutdown --detach")
	s.superctl("shutdown", "--detach")
	select {
	case <-s.ended:
	case <-time.After(2 * patience):
		s.fail("superd did not end")
	}
	s.start()
}

// aimPatience is how long a point is waited for that is passed all the time.
const aimPatience = 4 * time.Second

// killAt arms a point and waits until it has killed.
func (s *soak) killAt(p soakPoint) {
	count, also := 1, 0
	if p.provoke == nil {
		count += s.random.IntN(5)
	}
	if s.random.IntN(12) == 0 { // its partner dies in the same instant
		also = s.keeper()
		if strings.HasPrefix(p.name, "keeper.") {
			also = s.process.Pid
		}
	}
	pause := s.random.IntN(2) == 0
	s.step("aim at %s, pass %d, and pid %d", p.name, count, also)
	before, _ := s.aims.table.Fired(p.name)
	superd := s.process
	s.aims.table.Arm(p.name, count, also)
	if p.provoke != nil {
		provoked := make(chan struct{})
		if strings.HasPrefix(p.name, "recover.") || p.name == "keeper.list" || p.name == "logs.settling" {
			p.provoke(s)
			close(provoked)
		} else {
			go func() { defer close(provoked); p.provoke(s) }() // superctl waits for a superd that is to be started below
		}
		defer func() { <-provoked }()
	}
	struck := s.struck(p.name, before)
	s.aims.table.Disarm(p.name)
	if struck {
		s.count.kills++
		s.count.aimed++
		_, victim := s.aims.table.Fired(p.name)
		s.step("killed %d at %s", victim, p.name)
		s.victim(victim, superd.Pid, also)
	} else {
		s.step("nothing came to %s", p.name)
	}
	if !s.dead(struck, also) {
		return
	}
	<-s.ended
	if pause {
		time.Sleep(s.between(0, 300*time.Millisecond)) // a while without superd
	}
	s.start()
}

// victim counts whom a point has killed.
func (s *soak) victim(pid, superd, also int) {
	if also != 0 || pid != superd && pid != s.process.Pid {
		s.keeperDies()
	}
	switch {
	case also != 0:
		s.count.both++
	case pid == superd || pid == s.process.Pid:
		s.count.superd++
	default:
		s.count.keeper++
	}
}

// struck waits until a point has killed.
func (s *soak) struck(point string, before uint64) bool {
	for late := time.Now().Add(aimPatience); time.Now().Before(late); time.Sleep(time.Millisecond) {
		if fired, _ := s.aims.table.Fired(point); fired > before {
			return true
		}
	}
	return false
}

// dead tells whether superd has ended, or is about to.
func (s *soak) dead(struck bool, also int) bool {
	if struck {
		_, victim := s.aims.table.Fired(s.aims.last)
		if victim == s.process.Pid || also == s.process.Pid {
			return true
		}
	}
	return s.died()
}

package cmd_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	soakKills   = flag.Int("soak", 12, "how often TestSoak kills superd, the keeper or both")
	soakTime    = flag.Duration("soaktime", 0, "after which time TestSoak kills no more; 0: none")
	soakSeed    = flag.Uint64("seed", 0, "the seed of TestSoak's decisions; 0: another one each time")
	soakWorkers = flag.Int("soakworkers", 40, "how many workers TestSoak has, roughly")
	soakDir     = flag.String("soakdir", "", "where TestSoak works, and leaves everything to be looked at; empty: a folder of its own")
	soakAim     = flag.String("soakaim", "", "a point, or the beginning of several: TestSoak aims at no others")
)

// longSoak is from how many kills on every point must have killed at least once.
const longSoak = 400

// soak is a superd that is killed again and again, with those who use it.
type soak struct {
	t       *testing.T
	dir     string
	random  *rand.Rand // of the decisions, which the seed repeats
	log     *os.File   // what was decided and done
	begun   time.Time
	config  soakConfig
	aims    *aims
	process *os.Process
	endedAt atomic.Int64 // when superd died last, ns since boot
	ended   chan struct{}
	clients []*soakClient
	seen    soakSeen
	count   soakCount
	bereft  []soakGap // rounds in which a keeper died
	// In which there was no superd, and in which a keeper may not have held everything:
	// from the death of the one before until superd has seen to it.
	watch  sync.Mutex // guards these
	aways  []soakGap
	deaths []soakGap
}

// soakCount is what is told at the end.
type soakCount struct {
	kills, superd, keeper, both, aimed, detached, rounds, commands int
	codes                                                          map[int]int // exit codes of superctl
}

// TestSoak kills superd (often), the keeper (sometimes) and both (rarely), at
// random instants and at chosen ones, while hundreds of workers run and commands
// go on. After each round it looks at everything: who should live lives exactly
// once, and nothing is left of what does not; in the end no line is lost, torn,
// doubled or out of order, and restart windows and stop sequences were kept.
//
// A seed repeats the decisions. "make soak" is the long form.
func TestSoak(t *testing.T) {
	t.Parallel() // it waits, mostly
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", seed)
	s := newSoakOf(t, seed, *soakWorkers)
	s.start()
	s.settle()
	for s.count.kills < *soakKills && (*soakTime == 0 || time.Since(s.begun) < *soakTime) {
		s.round()
	}
	s.finish()
}

func newSoakOf(t *testing.T, seed uint64, workers int) *soak {
	s := &soak{t: t, dir: *soakDir, random: rand.New(rand.NewPCG(seed, 1)), begun: time.Now()}
	s.count.codes = map[int]int{}
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	for _, folder := range []string{"bin", "slots"} {
		if err := os.MkdirAll(filepath.Join(s.dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.log, err = os.Create(s.dir + "/steps.log"); err != nil {
		t.Fatal(err)
	}
	s.step("-seed %d -soak %d -soakworkers %d", seed, *soakKills, workers)
	s.aims = newAims(s)
	s.config = newSoakConfig(s.dir, workers)
	s.writeConfig()
	for i := range s.config.clients {
		s.clients = append(s.clients, newSoakClient(s, i))
	}
	t.Cleanup(s.cleanUp)
	return s
}

// step notes what is done, for whoever has to find out what went wrong.
func (s *soak) step(format string, args ...any) {
	fmt.Fprintf(s.log, "%8.3f %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// fail ends the test with all that is known.
func (s *soak) fail(format string, args ...any) {
	s.t.Helper()
	s.step("FAILED: "+format, args...)
	steps, _ := os.ReadFile(s.log.Name())
	said, _ := os.ReadFile(s.dir + "/superd.out")
	s.t.Fatalf(format+"\nthe last steps:\n%s\nsuperd said:\n%s", append(args, tail(string(steps), 40), tail(string(said), 80))...)
}

// start starts superd. It does not wait for anything.
func (s *soak) start() {
	cmd := exec.Command(filepath.Join(s.dir, "bin", "superd"), "-c", s.dir+"/superd.toml")
	out, err := os.OpenFile(s.dir+"/superd.out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	from := s.endedAt.Load()
	s.process, s.ended = cmd.Process, make(chan struct{})
	go func(ended chan struct{}) {
		cmd.Wait()
		s.endedAt.Store(bootNow())
		close(ended)
	}(s.ended)
	go s.awaited(from, s.ended)
	s.step("superd started, pid %d", s.process.Pid)
}

// awaited notes for how long there was no superd.
func (s *soak) awaited(from int64, ended chan struct{}) {
	for answered := false; !answered; {
		_, err := s.get("/healthz") // which waits in the backlog until superd has recovered
		answered = err == nil
		select {
		case <-ended:
			answered = true
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.watch.Lock()
	s.aways = append(s.aways, soakGap{from, bootNow()})
	s.watch.Unlock()
}

// died tells that superd has ended.
func (s *soak) died() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// superctl runs superctl to its end.
func (s *soak) superctl(args ...string) (out string, code int) {
	cmd := exec.Command(filepath.Join(bin, "superctl"), args...)
	cmd.Env = append(os.Environ(), "SUPERD_SOCKET="+s.dir+"/run/control.sock", "NO_COLOR=1")
	data, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		return err.Error(), -1
	}
	return string(data), cmd.ProcessState.ExitCode()
}

func (s *soak) must(args ...string) {
	s.t.Helper()
	if out, code := s.superctl(args...); code != 0 {
		s.fail("superctl %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
}

// between is a duration, drawn by the seed.
func (s *soak) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.random.Int64N(int64(to-from)+1))
}

// round kills a few times while commands are given, and looks at what is left.
func (s *soak) round() {
	s.count.rounds++
	s.step("round %d", s.count.rounds)
	begin, keeper := bootNow(), s.keeper()
	stop := s.giveCommands()
	for range 1 + s.random.IntN(5) {
		if s.count.kills >= *soakKills {
			break
		}
		time.Sleep(s.between(0, 300*time.Millisecond)) // the random instant, no wait for anything
		s.kill()
	}
	stop()
	if s.died() { // of an aim that was slow to strike
		s.start()
	}
	s.settle()
	if s.seen.keeperPID != keeper {
		s.bereft = append(s.bereft, soakGap{begin, bootNow()})
	}
}

// soakGap is a span of time, in ns since boot.
type soakGap struct{ from, to int64 }

func (g soakGap) has(at int64) bool { return g.from <= at && at <= g.to }

// keeperDies notes that a keeper is being killed.
func (s *soak) keeperDies() {
	s.watch.Lock()
	defer s.watch.Unlock()
	now := bootNow()
	s.deaths = append(s.deaths, soakGap{now - int64(100*time.Millisecond), now + int64(2*time.Second)})
}

// keeperWhole notes that the keeper there is holds everything.
func (s *soak) keeperWhole() {
	s.watch.Lock()
	defer s.watch.Unlock()
	for i := range s.deaths {
		s.deaths[i].to = min(s.deaths[i].to, bootNow())
	}
}

// cleanUp ends what is left, on whatever way the test has ended.
func (s *soak) cleanUp() {
	if s.process != nil {
		s.process.Kill()
		<-s.ended
	}
	// The keeper first, or else the ends of the others are dealt with.
	for range 3 {
		for _, p := range s.processes() {
			p.kill()
		}
	}
	if s.t.Failed() {
		steps, _ := os.ReadFile(s.log.Name())
		s.t.Logf("the last steps:\n%s", tail(string(steps), 60))
	}
	s.log.Close()
}

package cmd_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	soakKills = flag.Int("soak", 12, "how often TestSoak kills superd, the keeper or both")
	soakSeed  = flag.Uint64("seed", 0, "the seed of TestSoak's decisions; 0: another one each time")
)

// soakConfig has workers of several kinds. Each chatty one numbers its lines from
// 1 in every run; a flaky one says when it was started.
const soakConfig = `
[defaults]
update.min_healthy_time = "100ms"
restart = { delay = "20ms", attempts = 1000, interval = "1m" }

[pool.chatty]
command = ["sh", "-c", "echo run $SUPERD_RUN_ID; i=0; while :; do i=$((i+1)); echo $i; done | while read n; do echo $n; case $n in *0) sleep 0.01;; esac; done", "@DIR@/chatty/${index}"]
count = 6

[pool.flaky]
command = ["sh", "-c", "date +%s%N; sleep 0.0$((RANDOM % 9)); exit 1", "@DIR@/flaky/${index}"]
count = 3
restart = { delay = "10ms", attempts = 6, interval = "3s" }

[pool.forking]
command = ["sh", "-c", "sleep 1000 & sleep 1000 & trap '' TERM; wait; wait; wait", "@DIR@/forking/${index}"]
count = 4
kill_timeout = "200ms"

[pool.quick]
command = ["sh", "-c", "echo $SUPERD_RUN_ID; exec sleep 0.2", "@DIR@/quick/${index}"]
count = 4
`

// soak is a superd that is killed again and again, with those who use it.
type soak struct {
	t       *testing.T
	dir     string
	config  string
	random  *rand.Rand
	process *os.Process
	ended   chan struct{}
}

// TestSoak kills superd (often), the keeper (sometimes) and both (rarely) at
// random instants while commands go on, and then looks at everything: who should
// live lives exactly once, no line is lost, torn or doubled, windows hold.
// "go test ./cmd -run Soak -soak 1000 -seed N" is the long form.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", seed)
	s := &soak{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 1))}
	s.config = s.dir + "/superd.toml"
	text := fmt.Sprintf("[superd]\nruntime_dir = %q\nstate_dir = %q\nlog_dir = %q\n", s.dir+"/run", s.dir+"/state", s.dir+"/log") +
		strings.ReplaceAll(soakConfig, "@DIR@", s.dir)
	if err := os.WriteFile(s.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanUp)
	s.begin()
	s.settled()
	for kill := range *soakKills {
		stop := s.commands()
		time.Sleep(time.Duration(s.random.IntN(700)) * time.Millisecond) // the random instant, no wait for anything
		s.kill(kill)
		stop()
		s.settled()
	}
	s.must("stop", "--all", "--timeout", "60s")
	s.must("shutdown")
	<-s.ended
	s.checkChatty()
	s.checkFlaky()
	if left := s.processes(""); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	for _, folder := range []string{"fifos", "notes"} {
		entries, _ := os.ReadDir(filepath.Join(s.dir, "run", folder))
		if folder == "fifos" && len(entries) > 0 {
			t.Errorf("%d files are left in %s", len(entries), folder)
		}
	}
}

func (s *soak) begin() {
	cmd := exec.Command(filepath.Join(bin, "superd"), "-c", s.config)
	out, err := os.OpenFile(s.dir+"/superd.out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process, s.ended = cmd.Process, make(chan struct{})
	go func(ended chan struct{}) { cmd.Wait(); close(ended) }(s.ended)
}

func (s *soak) superctl(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(bin, "superctl"), args...)
	cmd.Env = append(os.Environ(), "SUPERD_SOCKET="+s.dir+"/run/control.sock", "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *soak) must(args ...string) {
	s.t.Helper()
	if out, err := s.superctl(args...); err != nil {
		s.fail("superctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *soak) fail(format string, args ...any) {
	s.t.Helper()
	said, _ := os.ReadFile(s.dir + "/superd.out")
	s.t.Fatalf(format+"\nsuperd said:\n%s", append(args, tail(string(said), 60))...)
}

// commands gives random commands until the returned function is called.
func (s *soak) commands() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	choices := [][]string{
		{"restart", "--no-wait", "forking"}, {"scale", "--no-wait", "quick=" + strconv.Itoa(1+s.random.IntN(6))},
		{"stop", "--no-wait", "quick"}, {"start", "--no-wait", "quick"}, {"restart", "--no-wait", "quick/0"},
		{"restart", "--no-wait", "chatty/1"}, {"status"}, {"scale", "--no-wait", "quick=4"},
	}
	s.random.Shuffle(len(choices), func(i, j int) { choices[i], choices[j] = choices[j], choices[i] })
	go func() {
		defer close(ended)
		for _, args := range choices {
			select {
			case <-done:
				return
			default:
			}
			s.superctl(args...) // one that superd's death cut off may fail
		}
	}()
	return func() { close(done); <-ended }
}

// kill ends superd, its keeper or both without warning, and starts superd again.
func (s *soak) kill(turn int) {
	both := s.random.IntN(10) == 0
	if both || s.random.IntN(4) == 0 {
		if pid := s.keeper(); pid != 0 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if !both {
			return
		}
	}
	s.process.Kill()
	<-s.ended
	s.begin()
}

// keeper is the pid of the keeper that works for this folder.
func (s *soak) keeper() int {
	for _, pid := range s.processes("") {
		if line := commandLine(pid); strings.Contains(line, "keep") && strings.Contains(line, s.dir+"/run") {
			return pid
		}
	}
	return 0
}

// processes are those whose command line names something below the folder.
func (s *soak) processes(what string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != s.process.Pid && lives(pid) && strings.Contains(commandLine(pid)+" ", s.dir+"/"+what) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandLine(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(data), "\x00", " ")
}

// settled brings all pools to what the configuration says and waits until each
// worker has one process, and the right one.
func (s *soak) settled() {
	s.t.Helper()
	s.must("start", "--no-wait", "quick")
	s.must("scale", "--no-wait", "quick=4")
	var why string
	for late := time.Now().Add(2 * patience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		if why = s.unsettled(); why == "" {
			return
		}
	}
	s.fail("not settled: %s", why)
}

// unsettled says what is not as it should be.
func (s *soak) unsettled() string {
	out, err := s.superctl("status", "--json")
	if err != nil {
		return out
	}
	var status struct {
		Pools []struct {
			Name    string
			Workers []struct {
				Name, State string
				PID         int
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return err.Error()
	}
	for _, p := range status.Pools {
		if p.Name != "chatty" && p.Name != "forking" {
			continue
		}
		for _, w := range p.Workers {
			if w.State != "running" {
				return fmt.Sprintf("%s is %s", w.Name, w.State)
			}
			// The leader is its session; children of it are in it too.
			leaders := map[int]bool{}
			for _, pid := range s.processes(w.Name + " ") {
				leaders[session(pid)] = true
			}
			if len(leaders) != 1 || !leaders[w.PID] {
				return fmt.Sprintf("%s has pid %d, and sessions %v live", w.Name, w.PID, leaders)
			}
		}
	}
	return ""
}

func session(pid int) int {
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(sid)
}

// checkChatty wants every run's lines to be numbered from 1 without a gap, but for
// one line at the very end that the run's own death may have cut.
func (s *soak) checkChatty() {
	total := 0
	for i := range 6 {
		name := fmt.Sprintf("%s/log/chatty/%d.log", s.dir, i)
		var lines []string
		for k := 10; k >= 0; k-- {
			part := name
			if k > 0 {
				part += "." + strconv.Itoa(k)
			}
			if f, err := os.Open(part); err == nil {
				for sc := bufio.NewScanner(f); sc.Scan(); {
					lines = append(lines, sc.Text())
				}
				f.Close()
			}
		}
		next := 0
		for n, line := range lines {
			if strings.HasPrefix(line, "run ") {
				next = 1
				continue
			}
			if line == "Killed" || line == "Terminated" {
				continue // the shell's own word on a part of its pipeline
			}
			if line != strconv.Itoa(next) {
				last := n+1 == len(lines) || strings.HasPrefix(lines[n+1], "run ")
				if !last || !strings.HasPrefix(strconv.Itoa(next), line) {
					s.t.Errorf("%s line %d: %q where %d was expected", name, n+1, line, next)
					break
				}
			}
			next++
			total++
		}
	}
	if total == 0 {
		s.t.Error("no lines at all")
	}
	s.t.Logf("%d lines, each once and in order", total)
}

// checkFlaky wants no 3 s with more than 6 restarts of one worker.
func (s *soak) checkFlaky() {
	for i := range 3 {
		name := fmt.Sprintf("%s/log/flaky/%d.log", s.dir, i)
		data, err := os.ReadFile(name)
		if err != nil {
			s.t.Error(err)
			continue
		}
		var starts []int64
		for _, line := range strings.Fields(string(data)) {
			if at, err := strconv.ParseInt(line, 10, 64); err == nil {
				starts = append(starts, at)
			}
		}
		// The first start is no restart. A start is noted some time after it was
		// decided, so that two may seem closer than they are: a tenth is forgiven.
		for k := 7; k < len(starts); k++ {
			if d := time.Duration(starts[k] - starts[k-6]); d < 2700*time.Millisecond {
				s.t.Errorf("%s: 7 restarts within %s", name, d)
			}
		}
		s.t.Logf("%s: %d starts", name, len(starts))
	}
}

func (s *soak) cleanUp() {
	s.process.Kill()
	<-s.ended
	for _, pid := range s.processes("") {
		for _, child := range descendants(pid) {
			syscall.Kill(child, syscall.SIGKILL)
		}
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

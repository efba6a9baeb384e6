package cmd_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/superd/superd/rpc"
)

// soakSeen is what was seen so far.
type soakSeen struct {
	keeperPID                int
	seq                      uint64
	superdFiles, keeperFiles int // descriptors, at most
	rotated, restarts, stops int
	workers                  int
	strangers                map[string]time.Time // files of runs that are not in status, since when
}

// settle waits until everything is as the configuration and the commands say, and
// finds nothing too many.
func (s *soak) settle() {
	s.t.Helper()
	s.checkSeq()
	s.checkWishes()
	for _, c := range s.clients {
		s.must("scale", "--no-wait", fmt.Sprintf("%s=%d", c.pool, ownCount))
		s.must("start", "--no-wait", c.pool)
		c.up, c.size = soakWish{1, true}, soakWish{ownCount, true}
	}
	s.must("apply", "--no-wait")
	begin := time.Now()
	var why, before string
	for late := begin.Add(2 * patience); ; time.Sleep(25 * time.Millisecond) {
		if why = s.unsettled(); why == "" {
			break
		}
		if why != before {
			s.step("not settled: %s", why)
			before = why
		}
		if time.Now().After(late) {
			s.fail("not settled: %s", why)
		}
		if s.died() {
			s.fail("superd has ended by itself")
		}
	}
	s.keeperWhole()
	s.step("settled within %d ms", time.Since(begin).Milliseconds())
	s.checkFiles()
	s.checkNotes()
	if s.t.Failed() {
		s.fail("something was found in round %d", s.count.rounds)
	}
}

// get asks superd without superctl.
func (s *soak) get(path string) ([]byte, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.dir+"/run/control.sock")
		}}}
	answer, err := client.Get("http://superd" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, data)
	}
	return data, err
}

func (s *soak) status() (st rpc.Status, err error) {
	data, err := s.get("/v1/status")
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	return st, err
}

// answering waits until superd has recovered.
func (s *soak) answering() (st rpc.Status) {
	var err error
	for late := time.Now().Add(2 * patience); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		if st, err = s.status(); err == nil {
			return st
		}
		if s.died() {
			s.fail("superd has ended by itself")
		}
	}
	s.fail("superd does not answer: %v", err)
	return st
}

// checkSeq wants the numbers of events never to go back.
func (s *soak) checkSeq() {
	s.answering()
	data, err := s.get(fmt.Sprintf("/v1/events?since=%d", s.seen.seq))
	if err != nil {
		s.fail("events: %v", err)
	}
	last := s.seen.seq
	for sc := bufio.NewScanner(strings.NewReader(string(data))); sc.Scan(); {
		var e struct {
			Seq  uint64
			Type string
			Data json.RawMessage
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			s.fail("an event: %v: %s", err, sc.Text())
		}
		if e.Type == "events.missed" {
			var missed struct{ To uint64 }
			json.Unmarshal(e.Data, &missed)
			last = max(last, missed.To)
			continue
		}
		if e.Seq <= last {
			s.fail("event %d follows event %d", e.Seq, last)
		}
		last = e.Seq
	}
	if last == s.seen.seq {
		s.fail("there is no event after %d: numbers have gone back", last)
	}
	s.seen.seq = last
}

// checkWishes wants what superd has answered to be so, whatever happened since.
func (s *soak) checkWishes() {
	st := s.answering()
	for _, c := range s.clients {
		for _, p := range st.Pools {
			if p.Name != c.pool {
				continue
			}
			if up := map[string]int{"running": 1}[string(p.Desired)]; c.up.sure && up != c.up.value {
				s.fail("%s is desired %s, and its client was told otherwise", p.Name, p.Desired)
			}
			if c.size.sure && p.Count != c.size.value {
				s.fail("%s has count %d, and its client was told %d", p.Name, p.Count, c.size.value)
			}
		}
	}
}

// unsettled says what is not as it should be.
func (s *soak) unsettled() string {
	st, err := s.status()
	if err != nil {
		return err.Error()
	}
	if st.Superd.Degraded != nil {
		return fmt.Sprintf("degraded: %v", st.Superd.Degraded)
	}
	want := map[string]soakPool{}
	for _, p := range s.config.pools {
		want[p.name] = p
	}
	if s.config.extra {
		want["extra"] = soakPool{name: "extra", count: 2 + s.config.turn%5, rest: "running"}
	}
	if len(st.Pools) != len(want) {
		return fmt.Sprintf("there are %d pools instead of %d", len(st.Pools), len(want))
	}
	for _, p := range st.Pools {
		w := want[p.Name]
		if p.Count != w.count || len(p.Workers) != w.count || len(p.Draining) > 0 {
			return fmt.Sprintf("%s has %d of %d workers, and %d draining", p.Name, len(p.Workers), w.count, len(p.Draining))
		}
		if p.Deployment != nil {
			return fmt.Sprintf("%s is being deployed", p.Name)
		}
		for _, worker := range p.Workers {
			if w.rest != "" && string(worker.State) != w.rest || worker.Outdated {
				return fmt.Sprintf("%s is %s, outdated: %v", worker.Name, worker.State, worker.Outdated)
			}
		}
	}
	if st.Superd.PID != s.process.Pid {
		return fmt.Sprintf("superd says that its pid is %d, not %d", st.Superd.PID, s.process.Pid)
	}
	s.seen.keeperPID = int(st.Superd.KeeperPID)
	return cmp.Or(s.wrongProcesses(st, want), s.leftFiles(st))
}

// wrongProcesses compares status with the processes that there are.
func (s *soak) wrongProcesses(st rpc.Status, want map[string]soakPool) string {
	sessions := map[string]map[int]bool{} // by slot
	keepers, superds := 0, 0
	for _, p := range s.processes() {
		switch {
		case p.slot != "":
			if sessions[p.slot] == nil {
				sessions[p.slot] = map[int]bool{}
			}
			sessions[p.slot][p.session] = true
		case p.pid == int(st.Superd.KeeperPID):
			keepers++
		case p.pid == s.process.Pid:
			superds++
		default:
			return fmt.Sprintf("pid %d lives: %s", p.pid, p.line)
		}
	}
	if keepers != 1 || superds != 1 {
		return fmt.Sprintf("%d keepers with pid %d, %d superds with pid %d", keepers, st.Superd.KeeperPID, superds, s.process.Pid)
	}
	s.seen.workers = 0
	for _, p := range st.Pools {
		for _, w := range p.Workers {
			slot := strings.ReplaceAll(w.Name, "/", ".")
			live := sessions[slot]
			delete(sessions, slot)
			s.seen.workers++
			switch want[p.Name].rest {
			case "running":
				if len(live) != 1 && want[p.Name].kind != "boxed" || !live[int(w.PID)] {
					return fmt.Sprintf("%s has pid %d, and sessions %v live", w.Name, w.PID, live)
				}
			case "":
				if len(live) > 1 {
					return fmt.Sprintf("%s has sessions %v", w.Name, live)
				}
			default:
				if len(live) > 0 || w.PID != 0 {
					return fmt.Sprintf("%s is %s, and sessions %v live", w.Name, w.State, live)
				}
			}
		}
	}
	if len(sessions) > 0 {
		return fmt.Sprintf("processes of no worker live: %v", sessions)
	}
	return ""
}

// leftFiles says which files are there that nobody needs.
func (s *soak) leftFiles(st rpc.Status) string {
	live := map[string]bool{}
	for _, p := range st.Pools {
		for _, w := range p.Workers {
			live[string(w.RunID)] = true
		}
	}
	return s.leftFilesOf(live)
}

// strangerLife is for how long a run's files may be there although the run is not
// in status: it has begun or ended in between, or its last words are being read.
const strangerLife = 3 * time.Second

// leftFilesOf is leftFiles when these runs live.
func (s *soak) leftFilesOf(live map[string]bool) string {
	there := map[string]bool{}
	fifos, _ := os.ReadDir(s.dir + "/run/fifos")
	for _, e := range fifos {
		if run, _, _ := strings.Cut(e.Name(), "."); !live[run] {
			there["FIFO "+e.Name()] = true
		}
	}
	for _, run := range s.noted() {
		if !live[run] {
			there["note of "+run] = true
		}
	}
	for _, pattern := range []string{"log/*/*.tmp", "run/records/*.new", "run/records/*.broken", "state/*.broken*", "run/notes/*.broken", "run/try"} {
		left, _ := filepath.Glob(filepath.Join(s.dir, pattern))
		for _, path := range left {
			there[path] = true
		}
	}
	if s.seen.strangers == nil {
		s.seen.strangers = map[string]time.Time{}
	}
	maps.DeleteFunc(s.seen.strangers, func(what string, _ time.Time) bool { return !there[what] })
	for what := range there {
		if s.seen.strangers[what].IsZero() {
			s.seen.strangers[what] = time.Now()
		}
		if time.Since(s.seen.strangers[what]) > strangerLife {
			return "left over: " + what
		}
	}
	return ""
}

// noted are the runs whose position is noted, by what supervisor/logs/note.go says
// of the files.
func (s *soak) noted() []string {
	const size, used = 128, 0x55534544
	var runs []string
	files, _ := filepath.Glob(s.dir + "/run/notes/*")
	for _, name := range files {
		data, _ := os.ReadFile(name)
		for at := size; at+size <= len(data); at += size {
			if n := data[at : at+size]; binary.NativeEndian.Uint32(n) == used && int(n[9]) <= 32 {
				runs = append(runs, string(n[16:16+n[9]]))
			}
		}
	}
	return runs
}

// checkFiles wants neither superd nor the keeper to gather descriptors.
func (s *soak) checkFiles() {
	count := func(pid int) int {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		return len(entries)
	}
	list := func(pid int) string {
		var names []string
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, path := range files {
			name, _ := os.Readlink(path)
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, "\n")
	}
	superd, keeper := count(s.process.Pid), count(s.seen.keeperPID)
	s.seen.superdFiles = max(s.seen.superdFiles, superd)
	s.seen.keeperFiles = max(s.seen.keeperFiles, keeper)
	// A pidfd and a FIFO for each run, with a few more for a child that is left or
	// a run whose log is not read to its end; for superd the FIFO, the log and its index.
	if limit := 2*s.seen.workers + 60; keeper > limit {
		s.fail("the keeper has %d descriptors, for %d workers:\n%s", keeper, s.seen.workers, list(s.seen.keeperPID))
	}
	if limit := 4*s.seen.workers + 100; superd > limit {
		s.fail("superd has %d descriptors, for %d workers:\n%s", superd, s.seen.workers, list(s.process.Pid))
	}
}

// checkNotes wants nobody to have found its slot taken.
func (s *soak) checkNotes() {
	paths, _ := filepath.Glob(s.dir + "/slots/*.notes")
	for _, path := range paths {
		if data, _ := os.ReadFile(path); bytes.Contains(data, []byte("double ")) {
			i := bytes.Index(data, []byte("double "))
			s.fail("%s: two at once: %.100s", filepath.Base(path), data[i:])
		}
	}
}

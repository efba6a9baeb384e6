package examples_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The documents for people who come from another tool carry one configuration
// over. These tests take both from the document, and hold that they do the same.

func TestFrom(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it waits most of a minute for graceful times to be over")
	}
	t.Parallel()
	together(t,
		named{"supervisord", fromSupervisord},
		named{"god", fromGod},
		named{"pm2", fromPM2},
		named{"systemd", fromSystemd},
	)
}

type named struct {
	name string
	test func(*testing.T)
}

// together runs tests at one time that do little but wait. Being parallel each for
// itself they would keep those from running that have something to do.
func together(t *testing.T, tests ...named) {
	var all sync.WaitGroup
	for _, n := range tests {
		all.Go(func() { t.Run(n.name, n.test) })
	}
	all.Wait()
}

// carried is a document's configuration, before and after.
type carried struct {
	original, superd string
}

// carriedOver takes the original, in a fence of that language, and what became of
// it from the document, and holds that superd accepts the latter as it stands.
func carriedOver(t *testing.T, page, language string) carried {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## A configuration carried over\n")
	if !ok {
		t.Fatalf("%s carries no configuration over", page)
	}
	fence := func(language string) string {
		_, block, ok := strings.Cut(rest, "\n```"+language+"\n")
		block, _, end := strings.Cut(block, "\n```\n")
		if !ok || !end {
			t.Fatalf("%s has no %s", page, language)
		}
		return block + "\n"
	}
	c := carried{original: fence(language), superd: fence("toml")}
	file := filepath.Join(tempDir(t), "superd.toml")
	write(t, file, asUser(c.superd))
	check := exec.Command(filepath.Join(bin, "superd"), "check", "-c", file)
	check.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Dir(file)) // an ordinary user's may be missing
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", page, err, out)
	}
	return c
}

// asUser drops the lines that name a user, unless root can obey them.
func asUser(text string) string {
	if os.Geteuid() == 0 {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, "www-data")
	}), "")
}

// tempDir has a short name, for the sockets' sake, and may be entered by all.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "superd-from-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// workshop is the folder of which a configuration says /srv/SOMETHING: the worker,
// the jobs for it, and what became of them.
type workshop struct {
	t    *testing.T
	dir  string
	jobs int
}

func newWorkshop(t *testing.T, worker, place string) *workshop {
	t.Helper()
	w := &workshop{t: t, dir: tempDir(t)}
	program, err := os.ReadFile(filepath.Join("testdata", worker))
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"", "bin", "spool", "taken", "log", "pids"} {
		path := filepath.Join(w.dir, sub)
		if err := os.MkdirAll(path, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o777); err != nil { // whatever the umask, and for www-data
			t.Fatal(err)
		}
	}
	path := filepath.Join(w.dir, place)
	write(t, path, string(program))
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for pid := range w.starts() { // what the other tool has left behind
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("what the workers wrote:\n%s", strings.Join(w.lines(), "\n"))
		}
	})
	return w
}

// give puts a job into the queue and waits until somebody has taken it.
func (w *workshop) give(what string) (pid int) {
	w.t.Helper()
	w.jobs++
	job := fmt.Sprint(w.jobs, "-", strings.Fields(what)[0])
	write(w.t, filepath.Join(w.dir, job), what+"\n")
	if err := os.Chmod(filepath.Join(w.dir, job), 0o644); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(w.dir, job), filepath.Join(w.dir, "spool", job)); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, what+" has begun", func() bool {
		for _, line := range w.lines() {
			if n, err := fmt.Sscanf(line, "begin "+job+" %d", &pid); n == 1 && err == nil {
				return true
			}
		}
		return false
	})
	return pid
}

func (w *workshop) lines() []string {
	text, _ := os.ReadFile(filepath.Join(w.dir, "jobs.log"))
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n")
}

func (w *workshop) has(line string) bool { return slices.Contains(w.lines(), line) }

// life is how a worker began.
type life struct {
	pid  int
	slot int
	said map[string]string // queue, args, uid, …
}

// starts are all lives so far, by pid.
func (w *workshop) starts() map[int]life {
	lives := make(map[int]life)
	for _, line := range w.lines() {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "start" {
			continue
		}
		l := life{said: make(map[string]string)}
		l.pid, _ = strconv.Atoi(words[1])
		for _, word := range words[2:] {
			key, value, _ := strings.Cut(word, "=")
			l.said[key] = value
		}
		l.slot, _ = strconv.Atoi(l.said["slot"])
		lives[l.pid] = l
	}
	return lives
}

// alive are the lives that have not ended, by slot.
func (w *workshop) alive() map[int]life {
	now := make(map[int]life)
	for pid, l := range w.starts() {
		if running(pid) {
			now[l.slot] = l
		}
	}
	return now
}

// running tells whether the process exists and is more than an entry for its parent.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, ok := bytes.Cut(stat, []byte(") "))
	return err == nil && ok && state[0] != 'Z' && state[0] != 'X'
}

// side is superd or the other tool, with the same configuration in each one's words.
type side interface {
	start()                     // begins to start all workers
	stop()                      // and waits until they have ended
	state(slot int) string      // in superd's words
	log(slot int) (name string) // the file that has the worker's output
}

// superdSide is superd, with what a document has for it.
type superdSide struct {
	*host
	pool string
}

func startSuperd(t *testing.T, c carried, pool, place string, w *workshop) superdSide {
	t.Helper()
	file := filepath.Join(tempDir(t), "example.toml")
	write(t, file, asUser(c.superd))
	return superdSide{start(t, file, place, w.dir), pool}
}

func (s superdSide) start()           { s.t.Helper(); s.must("start", "--no-wait", s.pool) }
func (s superdSide) stop()            { s.t.Helper(); s.must("stop", s.pool) }
func (s superdSide) log(n int) string { return fmt.Sprintf("%s/log/%s/%d.log", s.dir, s.pool, n) }

func (s superdSide) state(n int) string {
	s.t.Helper()
	if workers := s.host.pool(s.pool).Workers; n < len(workers) {
		return workers[n].State
	}
	return "none"
}

// deal is what both sides promise.
type deal struct {
	slots    int
	said     map[string]string // by every life at its start
	signal   string            // that asks it to leave
	longer   int               // seconds of a job that is finished in the graceful time
	done     int               // exit code that is a success, after which nobody comes back; -1: always somebody
	hopeless string            // state of a worker that cannot live
	attempts int               // starts until then
	since    bool              // only those count that come after a start by hand
	orphans  bool              // what a killed worker has started lives on
}

// keeps goes through a worker's whole life and holds that the side keeps the deal.
func (d deal) keeps(t *testing.T, s side, w *workshop) {
	t.Helper()
	all := func() bool { return len(w.alive()) == d.slots }
	every := func(state string) bool {
		for n := range d.slots {
			if s.state(n) != state {
				return false
			}
		}
		return true
	}
	up := func() { t.Helper(); eventually(t, "all are up", func() bool { return all() && every("running") }) }

	s.start()
	up()
	for slot, l := range w.alive() {
		for key, want := range d.said {
			if l.said[key] != want {
				t.Errorf("worker %d has %s=%q, want %q", slot, key, l.said[key], want)
			}
		}
		eventually(t, "the output is in the log", func() bool {
			text, _ := os.ReadFile(s.log(slot))
			return strings.Contains(string(text), fmt.Sprintf("said by %d\n", l.pid))
		})
	}

	// Whoever crashes comes back, in the same slot.
	victim := w.alive()[1]
	if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed one is back", func() bool { l, ok := w.alive()[1]; return ok && l.pid != victim.pid })
	up()
	crashed := w.starts()[w.give("exit 1")]
	eventually(t, "the crashed one is back", func() bool {
		l, ok := w.alive()[crashed.slot]
		return ok && l.pid != crashed.pid
	})
	up()

	// Whoever is done stays away, if this exit code means that.
	finished := w.starts()[w.give(fmt.Sprint("exit ", max(d.done, 0)))]
	left := d.slots
	if d.done < 0 {
		eventually(t, "the finished one is back", func() bool {
			l, ok := w.alive()[finished.slot]
			return ok && l.pid != finished.pid
		})
		up()
	} else {
		left--
		eventually(t, "it is completed", func() bool { return s.state(finished.slot) == "completed" })
	}

	d.leaves(t, s, w, left)
	d.despairs(t, s, w, every)
}

// leaves stops all while one has a long job in hand and another does not listen.
func (d deal) leaves(t *testing.T, s side, w *workshop, left int) {
	t.Helper()
	before := w.alive()
	if len(before) != left {
		t.Errorf("%d are alive before the stop, want %d", len(before), left)
	}
	worker := w.give(fmt.Sprint("work ", d.longer))
	deaf := w.give("deaf")
	child := w.child()
	began := time.Now()
	s.stop()
	took := time.Since(began)

	if !w.has(fmt.Sprint("left ", worker)) {
		t.Errorf("%d was not let finish its job of %d s", worker, d.longer)
	}
	if took < time.Duration(d.longer)*time.Second/2 {
		t.Errorf("the stop took %v, with a job of %d s", took, d.longer)
	}
	var asked []string
	for _, l := range before {
		if l.pid != deaf {
			asked = append(asked, fmt.Sprintf("signal %s %d", d.signal, l.pid))
		}
		if running(l.pid) {
			t.Errorf("%d is alive after the stop", l.pid)
		}
	}
	var got []string
	for _, line := range w.lines() {
		if strings.HasPrefix(line, "signal ") {
			got = append(got, line)
		}
	}
	slices.Sort(asked)
	slices.Sort(got)
	if !slices.Equal(asked, got) {
		t.Errorf("the workers got %q, want %q", got, asked)
	}
	if running(child) != d.orphans {
		t.Errorf("what the killed one has started is alive: %v, want %v", running(child), d.orphans)
	}
	if d.orphans {
		syscall.Kill(child, syscall.SIGKILL)
	}
}

// child is the process that the deaf worker has started.
func (w *workshop) child() (pid int) {
	w.t.Helper()
	eventually(w.t, "the deaf one has a child", func() bool {
		for _, line := range w.lines() {
			fmt.Sscanf(line, "child %d", &pid)
		}
		return pid != 0
	})
	return pid
}

// despairs starts workers that cannot live, and counts how often.
func (d deal) despairs(t *testing.T, s side, w *workshop, every func(string) bool) {
	t.Helper()
	write(t, filepath.Join(w.dir, "poison"), "")
	if err := os.Chmod(filepath.Join(w.dir, "poison"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := w.starts()
	s.start()
	eventually(t, "all are "+d.hopeless, func() bool { return every(d.hopeless) })
	tries := make(map[int]int)
	for pid, l := range w.starts() {
		if _, old := before[pid]; !old || !d.since {
			tries[l.slot]++
		}
	}
	for n := range d.slots {
		if tries[n] != d.attempts {
			t.Errorf("worker %d was started %d times until it was %s, want %d", n, tries[n], d.hopeless, d.attempts)
		}
	}
}

// own gives the file to the user whom the configurations name.
func own(t *testing.T, name string) {
	t.Helper()
	id, err := strconv.Atoi(uid(t))
	if err == nil {
		err = os.Chown(name, id, -1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// uid is that of the user whom the configurations name, or one's own.
func uid(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return strconv.Itoa(os.Geteuid())
	}
	u, err := user.Lookup("www-data")
	if err != nil {
		t.Skipf("the configurations run as www-data, which every Debian has: %v", err)
	}
	return u.Uid
}

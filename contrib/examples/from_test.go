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

// peer lets a test of another supervisor itself go on. They have timings of their
// own, which a busy machine upsets, and nothing here changes them: make peers.
func peer(t *testing.T, program, pkg string) {
	t.Helper()
	if os.Getenv("PEERS") == "" {
		t.Skipf("%s itself is compared by make peers", program)
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%v: sudo apt-get install -y %s", err, pkg)
	}
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

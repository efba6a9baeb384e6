package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superd/superd/config"
)

// The test binary is also the worker and the superd of its tests: a process with
// LOGS_ROLE set plays that part instead of running tests.
func TestMain(m *testing.M) {
	switch os.Getenv("LOGS_ROLE") {
	case "":
		os.Exit(m.Run())
	case "writer":
		playWriter()
	case "manager":
		playManager()
	case "idle":
		playIdle()
	}
}

// reexec is the test binary in another part.
func reexec(t testing.TB, role string, env ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "LOGS_ROLE="+role)
	c.Env = append(c.Env, env...)
	c.Stderr = os.Stderr
	return c
}

// playWriter prints numbered lines "NAME NUMBER padding" until its standard input
// ends or LOGS_LINES are printed, and then how many there were into LOGS_COUNT.
func playWriter() {
	var stop sync.Once
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop.Do(func() { close(ended) })
	}()
	limit, _ := strconv.Atoi(os.Getenv("LOGS_LINES"))
	size, _ := strconv.Atoi(os.Getenv("LOGS_BUFFER"))
	pause, _ := time.ParseDuration(os.Getenv("LOGS_PAUSE"))
	w := bufio.NewWriterSize(os.Stdout, max(size, 16))
	n := 0
printing:
	for ; limit == 0 || n < limit; n++ {
		select {
		case <-ended:
			break printing
		default:
		}
		line := fmt.Appendf(nil, "%s %08d %s\n", os.Getenv("LOGS_NAME"), n, strings.Repeat("x", n%97))
		if size == 0 {
			os.Stdout.Write(line)
		} else {
			w.Write(line)
		}
		if pause > 0 {
			w.Flush()
			time.Sleep(pause)
		}
	}
	w.Flush()
	if path := os.Getenv("LOGS_COUNT"); path != "" {
		os.WriteFile(path, []byte(strconv.Itoa(n)), 0o600)
	}
}

// checkLines holds text against what writers printed: for each name count lines,
// in order, none lost, torn or doubled.
func checkLines(t *testing.T, text []byte, want map[string]int) {
	t.Helper()
	next := map[string]int{}
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<24)
	for i := 1; sc.Scan(); i++ {
		name, rest, _ := strings.Cut(sc.Text(), " ")
		number, pad, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if _, known := want[name]; !known || err != nil || pad != strings.Repeat("x", n%97) {
			t.Fatalf("line %d is torn: %q", i, sc.Text())
		}
		if n != next[name] {
			t.Fatalf("line %d: writer %s has number %d after %d", i, name, n, next[name]-1)
		}
		next[name]++
	}
	for name, n := range want {
		if next[name] != n {
			t.Errorf("writer %s printed %d lines, the log has %d", name, n, next[name])
		}
	}
}

// lab is a Manager with its folders and what it told.
type lab struct {
	t   testing.TB
	dir string
	m   *Manager
	mu  sync.Mutex
	all []Notice

	most int // files that a reader may hold open; 0: as many as ever
}

func newLab(t testing.TB, change func(*Options)) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir()}
	for _, d := range []string{l.run(), l.log()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.open(change)
	t.Cleanup(l.close)
	return l
}

func (l *lab) run() string { return filepath.Join(l.dir, "run") }
func (l *lab) log() string { return filepath.Join(l.dir, "log") }

func (l *lab) open(change func(*Options)) {
	l.t.Helper()
	opt := Options{RuntimeDir: l.run(), LogDir: l.log(), Notify: l.notify}
	if change != nil {
		change(&opt)
	}
	m, err := New(opt)
	if err != nil {
		l.t.Fatal(err)
	}
	l.m = m
}

func (l *lab) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.m.Close(ctx); err != nil {
		l.t.Error(err)
	}
}

func (l *lab) notify(n Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, n)
}

// told are the notices of a kind so far.
func (l *lab) told(kind NoticeKind, run string) []Notice {
	l.mu.Lock()
	defer l.mu.Unlock()
	var some []Notice
	for _, n := range l.all {
		if n.Kind == kind && (run == "" || n.Run == run) {
			some = append(some, n)
		}
	}
	return some
}

func (l *lab) drained(runs ...string) {
	l.t.Helper()
	for _, r := range runs {
		eventually(l.t, 20*time.Second, func() bool { return len(l.told(Drained, r)) == 1 }, "run %s is not drained", r)
	}
}

// prepare prepares and attaches a run and closes the keeper's share of it.
func (l *lab) prepare(run string, spec Spec) *Pipes {
	l.t.Helper()
	p, err := l.m.Prepare(run, spec, os.Getuid(), os.Getgid())
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.m.Attach(run, spec, p); err != nil {
		l.t.Fatal(err)
	}
	for _, f := range p.Read {
		f.Close()
	}
	p.Read = nil
	return p
}

func (l *lab) read(name string) string {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.log(), name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return string(b)
}

// whole is a log with all its rotated files, oldest first.
func (l *lab) whole(name string, keep int) []byte {
	l.t.Helper()
	var all []byte
	for i := keep; i >= 0; i-- {
		path := filepath.Join(l.log(), name)
		if i > 0 {
			path = rotatedName(path, i)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			b, err = gunzip(path + ".gz")
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			l.t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func gunzip(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func spec(pool string, index int) Spec {
	return Spec{Pool: pool, Index: index, Worker: fmt.Sprintf("%s/%d", pool, index),
		Log: config.Log{Target: config.LogFile, MaxSize: 10 << 20, Keep: 10}}
}

func write(t testing.TB, f *os.File, text string) {
	t.Helper()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, d time.Duration, ok func() bool, format string, args ...any) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("after %v: %s\n%s", d, fmt.Sprintf(format, args...), buf[:runtime.Stack(buf, true)])
		}
	}
}

// job is what a manager in a process of its own is told to recover.
type job struct {
	Dir  string
	Runs map[string]Spec
	Held []string // names of the descriptors from 3 on
	End  bool     // the runs have ended: drain and exit
}

// playManager is superd after a start: it recovers, and goes on until killed.
func playManager() {
	var j job
	if err := json.Unmarshal([]byte(os.Getenv("LOGS_JOB")), &j); err != nil {
		panic(err)
	}
	held := func(name string) (*os.File, error) {
		for i, n := range j.Held {
			if n == name {
				return os.NewFile(uintptr(3+i), name), nil
			}
		}
		return nil, errors.New("not held")
	}
	left := len(j.Runs)
	drained := make(chan struct{}, left)
	opt := Options{RuntimeDir: filepath.Join(j.Dir, "run"), LogDir: filepath.Join(j.Dir, "log"), Notify: func(n Notice) {
		switch {
		case n.Kind == Drained:
			drained <- struct{}{}
		case n.Err != nil:
			fmt.Fprintln(os.Stderr, n.Kind, n.Err)
		}
	}}
	if _, err := held("waste"); err == nil {
		opt.Hold = func(string, *os.File) error { return errors.New("it is held already") }
		opt.Fetch = func(string) (*os.File, error) { return held("waste") }
	}
	m, err := New(opt)
	if err != nil {
		panic(err)
	}
	for run, spec := range j.Runs {
		if err := m.Recover(run, spec, held); err != nil {
			panic(err)
		}
	}
	if err := m.Prune(func(run string) bool { _, live := j.Runs[run]; return live }); err != nil {
		panic(err)
	}
	if !j.End {
		if os.Getenv("LOGS_MEND") != "" {
			mendOften(m, opt.RuntimeDir)
		}
		fmt.Println("ready")
		select {}
	}
	for run := range j.Runs {
		m.Ended(run)
	}
	for ; left > 0; left-- {
		<-drained
	}
	if err := m.Close(context.Background()); err != nil {
		panic(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

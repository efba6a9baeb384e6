package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// shortLived is a superd that starts a keeper with three runs in dir, says so,
// and waits to be killed.
func shortLived(dir string) {
	die := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	c, _, err := Dial(dir, Options{})
	die(err)
	r, w, err := fifo(filepath.Join(dir, "fifo"))
	die(err)
	for run, script := range map[string]string{
		"stays": "sleep 1000",
		"ends":  "read x < " + dir + "/go; exit 37",
		"talks": "read x < " + dir + "/go; echo last words; kill -QUIT $$",
	} {
		s := shell(script, nil)
		s.Run, s.Label = run, "pool/"+run
		if run == "talks" {
			s.Stdout, s.Stderr = w, w
			s.Hold = map[string]*os.File{run + ".out": r}
		}
		die(c.Spawn(context.Background(), s))
	}
	for started := 0; started < 3; {
		if ev := <-c.Events(); ev.Kind == Started {
			started++
		}
	}
	fmt.Println("up")
	select {}
}

// fifo makes a FIFO with a reader that does not block and a writer.
func fifo(path string) (r, w *os.File, err error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, nil, err
	}
	if r, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		return nil, nil, err
	}
	w, err = os.OpenFile(path, os.O_RDWR, 0)
	return r, w, err
}

func TestClientDiesAndAnotherComes(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	superd := exec.Command(os.Args[0], "short-lived-superd", dir)
	stdout, err := superd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := superd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "up\n" {
		t.Fatalf("the first superd says %q, %v", line, err)
	}
	superd.Process.Kill()
	superd.Wait()

	// Two runs end while no superd is there.
	gate, err := os.OpenFile(filepath.Join(dir, "go"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	if _, err := gate.WriteString("1\n2\n"); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir}
	r.dial(false)
	t.Cleanup(r.end)
	state := make(map[string]RunState)
	eventually(t, "both have ended", func() bool {
		runs, names, err := r.List(t.Context())
		if err != nil || len(runs) != 3 || len(names) != 1 || names[0] != "talks.out" {
			t.Fatalf("list: %+v %v %v", runs, names, err)
		}
		for _, run := range runs {
			state[run.Run] = run
		}
		return state["ends"].Gone && state["talks"].Gone
	})
	if s := state["stays"]; s.Phase != PhaseRunning || s.Label != "pool/stays" || !alive(s.PID) {
		t.Errorf("%+v", s)
	}
	if s := state["ends"]; s.Phase != PhaseEnded || s.Status.Code != 37 || s.Status.Signal != 0 || s.Status.Unknown {
		t.Errorf("%+v", s)
	}
	s := state["talks"]
	if s.Phase != PhaseEnded || s.Status.Signal != syscall.SIGQUIT {
		t.Errorf("%+v", s)
	}
	if evs := s.Events(); len(evs) != 3 || evs[0].Kind != Forked || evs[1].Kind != Started || evs[2].Kind != Exited || !evs[2].Gone {
		t.Errorf("its events are %+v", evs)
	}
	// What it said in its last moment, with nobody else to hear it.
	f, err := r.Fetch("talks.out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if words, err := io.ReadAll(f); string(words) != "last words\n" || err != nil {
		t.Errorf("read %q, %v", words, err)
	}
	r.Acknowledge("talks")
	if _, err := r.Fetch("talks.out"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("after the acknowledgement: %v", err)
	}
}

func TestHold(t *testing.T) {
	r := newRig(t)
	a, b := outFile(t), outFile(t)
	for _, f := range []*os.File{a, b} {
		if err := r.Hold("control", f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.Fetch("control")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if _, err := got.WriteString("x"); err != nil || content(t, b) != "x" || content(t, a) != "" {
		t.Errorf("it is another file: %v", err)
	}
	for range 2 {
		if err := r.Release("control"); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Fetch("control"); !errors.Is(err, ErrNotHeld) {
		t.Error(err)
	}
	if err := r.Hold("", a); err == nil {
		t.Error("no name was taken for one")
	}
	// What is held for a run goes with it, whenever it was held.
	s := shell("exit 0", nil)
	s.Run = newRun()
	s.Hold = map[string]*os.File{s.Run + ".out": a}
	r.Hold(s.Run+".before", b)
	r.spawn(s)
	r.wait(s.Run, Exited)
	r.Hold(s.Run+".after", b)
	r.Hold("not"+s.Run, b)
	r.Acknowledge(s.Run)
	if _, names, err := r.List(t.Context()); err != nil || strings.Join(names, " ") != "not"+s.Run {
		t.Errorf("%v is held; %v", names, err)
	}
}

func TestTheNewerConnectionWins(t *testing.T) {
	r := newRig(t)
	first := r.Client
	r.dial(false)
	for ok := true; ok; {
		_, ok = <-first.Events()
	}
	if err := first.Err(); !errors.Is(err, ErrLost) {
		t.Error(err)
	}
	if err := first.Spawn(context.Background(), Spawn{Run: "x", Path: "/bin/true", Args: []string{"true"}}); !errors.Is(err, ErrLost) {
		t.Errorf("a lost client spawns: %v", err)
	}
	first.Close()
	id := r.spawn(shell("exit 0", nil))
	r.wait(id, Exited)
}

// A superd that does not read its events hinders nobody, and learns all of them
// when it does.
func TestASlowClientIsNeverWaitedFor(t *testing.T) {
	r := newRig(t)
	conn, err := connect(r.dir, socketName)
	if err != nil {
		t.Fatal(err)
	}
	slow := newClient(conn, func(s string) { t.Log(s) })
	if err := slow.greet(bound); err != nil {
		t.Fatal(err)
	}
	const n = 3000
	scripts := make(map[string]bool)
	out := outFile(t)
	for range n {
		s := Spawn{Run: newRun(), Label: strings.Repeat("l", maxLabel), Path: "/no/such", Args: []string{"x"}, Direct: true}
		s.Cgroup = "/no/such/cgroup/" + strings.Repeat("long", 150) // fails at once, with a long reason
		scripts[s.Run] = true
		if err := slow.Spawn(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	// The keeper serves on: this run comes behind all of them.
	s := shell("echo here", out)
	s.Run = newRun()
	if err := slow.Spawn(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last run has run", func() bool { return content(t, out) == "here\n" })
	go slow.read()
	go slow.pump()
	r.Client = slow
	for len(scripts) > 0 {
		ev, ok := <-slow.Events()
		if !ok {
			t.Fatal(slow.Err())
		}
		if ev.Kind == SpawnFailed {
			delete(scripts, ev.Run)
			slow.Acknowledge(ev.Run)
		}
	}
	r.wait(s.Run, Exited)
}

func TestEndIsRefusedWhileRunsLive(t *testing.T) {
	r := newRig(t)
	id := r.spawn(shell("exec sleep 1000", nil))
	r.wait(id, Started)
	if err := r.End(t.Context()); !errors.Is(err, ErrLive) {
		t.Errorf("End says %v", err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGTSTP} {
		if err := syscall.Kill(r.PID(), sig); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Fetch("x"); !errors.Is(err, ErrNotHeld) {
		t.Fatalf("the keeper has not survived signals: %v", err)
	}
	r.Sweep(id)
	r.gone(id)
	// With a superd connected, TERM does not end it even so.
	if err := syscall.Kill(r.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch("x"); !errors.Is(err, ErrNotHeld) {
		t.Fatalf("the keeper has not survived TERM: %v", err)
	}
}

func TestTermEndsAKeeperThatNobodyNeeds(t *testing.T) {
	dir := t.TempDir()
	c, _, err := Dial(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	child, err := proc.OpenPIDFD(c.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	c.Close()
	eventually(t, "TERM has ended it", func() bool {
		syscall.Kill(c.PID(), syscall.SIGTERM) // again: it may not have noticed that we hung up
		st, ok, err := proc.Reap(child)
		if err != nil || ok && st.Code != 0 {
			t.Fatalf("it ended with %+v, %v", st, err)
		}
		return ok
	})
	if _, err := os.Stat(filepath.Join(dir, socketName)); err == nil {
		t.Error("its socket is left")
	}
}

func TestDial(t *testing.T) {
	// A folder whose name does not fit a socket address, with a stale socket in it.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	r := &rig{t: t, dir: dir}
	r.dial(true)
	t.Cleanup(r.end)
	info, err := os.Lstat(filepath.Join(dir, socketName))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, pidName)); err != nil || string(data) != fmt.Sprintln(r.PID()) {
		t.Errorf("keeper.pid has %q, %v", data, err)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", r.PID())); err != nil || cwd != "/" {
		t.Errorf("the keeper's directory is %s, %v", cwd, err)
	}
	st, err := proc.ReadStat(r.PID())
	if err != nil || st.SID != r.PID() {
		t.Errorf("the keeper is in session %d, %v", st.SID, err)
	}
	if _, _, err := Dial("/no/such/folder", Options{}); err == nil || !strings.HasPrefix(err.Error(), "cannot start the keeper of /no/such/folder: ") {
		t.Error(err)
	}
}

func TestDialTellsWhyAKeeperDoesNotCome(t *testing.T) {
	dir := t.TempDir()
	exe := write(t, "keeper", "#!/bin/sh\necho this is broken >&2; exit 7\n", 0o755)
	_, _, err := Dial(dir, Options{Exe: exe})
	if err == nil || !strings.Contains(err.Error(), "this is broken") {
		t.Error(err)
	}
	// One that hangs is given up after a time.
	exe = write(t, "keeper", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	_, _, err = Dial(dir, Options{Exe: exe, Timeout: 100_000_000})
	if err == nil || !strings.Contains(err.Error(), "did not answer within 100ms") {
		t.Error(err)
	}
	// The next start works, and tells what the last one said.
	var log []string
	c, started, err := Dial(dir, Options{Log: func(s string) { log = append(log, s) }})
	if err != nil || !started {
		t.Fatal(started, err)
	}
	defer c.Close()
	if err := c.End(t.Context()); err != nil {
		t.Error(err)
	}
}

package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listed are the keeper's runs by their ID.
func (r *rig) listed() map[string]RunState {
	r.t.Helper()
	runs, _, err := r.List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	all := make(map[string]RunState)
	for _, s := range runs {
		all[s.Run] = s
	}
	return all
}

// freeze stops the keeper, and returns when all of it stands still.
func (r *rig) freeze() {
	r.t.Helper()
	if err := syscall.Kill(r.PID(), syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the keeper is stopped", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", r.PID()))
		for _, name := range tasks {
			if data, err := os.ReadFile(name); err != nil || !strings.Contains(string(data), ") T ") {
				return false
			}
		}
		return len(tasks) > 0
	})
}

// TestSocketIsMadeAgain: somebody deletes the folder, or the socket in it. Whoever
// comes next gets the keeper that there is, and not another one.
func TestSocketIsMadeAgain(t *testing.T) {
	r := newRig(t)
	id := r.spawn(shell("exec sleep 1000", nil))
	r.wait(id, Started)
	pid := r.PID()
	if err := os.RemoveAll(r.dir); err != nil {
		t.Fatal(err)
	}
	if err := r.BindAgain(r.Client); err == nil {
		t.Error("the keeper has made its socket in a folder that is not there")
	}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.BindAgain(r.Client); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(filepath.Join(r.dir, socketName)); err != nil || fi.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", fi, err)
	}
	// The connection that there was goes on, and a new one is served.
	r.listed()
	r.Close()
	r.dial(false)
	// Nobody is there to have it made.
	r.Close()
	if err := os.RemoveAll(r.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.dial(false)
	if r.PID() != pid {
		t.Errorf("the keeper is %d, and was %d", r.PID(), pid)
	}
	if s := r.listed()[id]; s.Phase != PhaseRunning {
		t.Errorf("the run is %+v", s)
	}
	// A socket of nobody's in its place.
	r.Close()
	os.Remove(filepath.Join(r.dir, socketName))
	fd, err := bind(filepath.Join(r.dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	r.dial(false)
}

// TestHangingKeeper: a keeper that is stopped is noticed when something is asked
// of it, and replaced; its runs go on.
func TestHangingKeeper(t *testing.T) {
	oldAfter, oldGrace := hangAfter, hangGrace
	hangAfter, hangGrace = 200*time.Millisecond, 100*time.Millisecond
	t.Cleanup(func() { hangAfter, hangGrace = oldAfter, oldGrace })
	r := newRig(t)
	id := r.spawn(shell("exec sleep 1000", nil))
	started := r.wait(id, Started)
	r.freeze()
	if err := r.Signal(id, syscall.SIGCONT, "", 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is given up", func() bool { return r.Err() != nil })
	if !r.Hung() {
		t.Errorf("it is lost for another reason: %v", r.Err())
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r.dial(true)
	if err := r.Adopt(Adopt{Run: id, PID: started.PID, StartTicks: started.StartTicks}); err != nil {
		t.Fatal(err)
	}
	if s := r.listed()[id]; s.Phase != PhaseRunning || s.PID != started.PID {
		t.Errorf("the run is %+v", s)
	}
	// Once more, and this time nobody is there to notice.
	r.Close()
	r.freeze()
	c, again, err := Dial(r.dir, Options{Timeout: 3 * time.Second, Log: func(s string) { t.Log(s) }})
	if err != nil || !again {
		t.Fatal(again, err)
	}
	r.Client = c
	if err := r.Adopt(Adopt{Run: id, PID: started.PID, StartTicks: started.StartTicks}); err != nil {
		t.Fatal(err)
	}
	r.Sweep(id)
	r.gone(id)
}

// TestBusyKeeperIsNoHangingOne: one that is stopped for less than the patience, and
// a client that is stopped itself for longer.
func TestBusyKeeperIsNoHangingOne(t *testing.T) {
	r := newRig(t)
	r.watchHang()
	r.mu.Lock()
	id := r.hang.id
	r.mu.Unlock()
	r.hang.packets.Add(1) // something has come
	r.suspect()
	if r.hang.late || r.Hung() {
		t.Error("a keeper that says something counts as one that hangs")
	}
	r.suspect() // the time is over, but the answer may lie in the socket
	if !r.hang.late || r.Hung() {
		t.Error("no grace is given")
	}
	r.heard(id)
	r.suspect()
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

// TestOnlyAKeeperIsKilled: arguments alone make no keeper.
func TestOnlyAKeeperIsKilled(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "keep"), []byte("echo; read x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	forger := exec.Cmd{Path: "/bin/sh", Args: []string{"superd", "keep", "--dir", dir}, Dir: folder}
	in, err := forger.StdinPipe() // it ends when we do
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := forger.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { forger.Process.Kill(); forger.Wait() }()
	out.Read(make([]byte, 1)) // it is /bin/sh by now
	if _, ok := living(dir, nil); ok {
		t.Error("a process counts as the keeper that has only its arguments")
	}
	r := &rig{t: t, dir: dir}
	r.dial(true)
	t.Cleanup(r.end)
	if p, ok := living(dir, nil); !ok || p.pid != r.PID() {
		t.Errorf("the keeper is %d, found was %+v", r.PID(), p)
	} else {
		p.close()
	}
	if _, ok := living(t.TempDir(), nil); ok {
		t.Error("another folder's keeper was found")
	}
}

package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/store"
	"golang.org/x/sys/unix"
)

// TestSilentHolder: whoever has the lock and does not answer is named, and what can be
// done is said.
func TestSilentHolder(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("flock", dir+"/lock", "sleep", "1000")
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	pid := cmd.Process.Pid
	waitFor(t, "the lock is taken", func() bool { return store.Holder(dir+"/lock") == pid })

	defer func(was time.Duration) { lockPatience = was }(lockPatience)
	lockPatience = 0
	s := newSupervisor(Options{Config: folders(dir)})
	refused := func(want string) {
		t.Helper()
		err := s.takeFolder()
		if !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwithout %q", err, want)
		}
	}
	refused(fmt.Sprintf("another superd runs: pid %d (flock) has held %s/lock for 0s and does not answer (if it hangs, kill -KILL %d ends it", pid, dir, pid))
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "it is stopped", func() bool { return stopped(pid) })
	refused(fmt.Sprintf("(it is stopped, and kill -CONT %d has it go on)", pid))
}

// TestOwnLock: what this process has locked itself is no other superd's.
func TestOwnLock(t *testing.T) {
	dir := t.TempDir()
	f, err := store.Lock(dir+"/state.db", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newSupervisor(Options{Config: folders(dir)})
	for _, err := range []error{store.ErrLocked, os.ErrPermission} {
		if got := s.rivalled(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("not within a minute:", what)
		}
	}
}

func folders(dir string) *config.Config {
	return &config.Config{Superd: config.Superd{RuntimeDir: dir, StateDir: dir}}
}

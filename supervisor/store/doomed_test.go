package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTakeOverOfTheLiving: whoever lives keeps the lock, another process or this one.
func TestTakeOverOfTheLiving(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := Lock(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := TakeOver(path); !errors.Is(err, ErrLocked) {
		t.Errorf("taken over from the living: %v", err)
	}
	if pids, err := holders(path); err != nil || !slices.Equal(pids, []int{os.Getpid()}) {
		t.Errorf("held by %v, %v", pids, err)
	}
	if pid := Holder(path); pid != os.Getpid() {
		t.Errorf("held by %d", pid)
	}
	lock.Close()
	if pid := Holder(path); pid != 0 {
		t.Errorf("nobody has it, and it is held by %d", pid)
	}
	if _, _, err := TakeOver(path); !errors.Is(err, ErrLocked) {
		t.Errorf("taken over from nobody: %v", err)
	}
	lock, err = Lock(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if !SameFile(path, lock) {
		t.Error("the file was replaced")
	}
}

func TestDoomed(t *testing.T) {
	if doomed(os.Getpid()) {
		t.Error("this process is doomed")
	}
	if doomed(1 << 22) { // more than pids can be
		t.Error("nobody is doomed")
	}
	child := exec.Command("true")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a zombie is doomed", func() bool { return doomed(child.Process.Pid) })
	child.Wait()
	for status, want := range map[string]bool{
		"Name:\tsuperd\nState:\tS (sleeping)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n": false,
		"Name:\tsuperd\nState:\tD (disk sleep)\nSigPnd:\t0000000000000100\n":                          true,
		"Name:\tsuperd\nState:\tD (disk sleep)\nSigPnd:\t0000000000004000\n":                          false,
		"Name:\tsuperd\nState:\tZ (zombie)\n":                                                         true,
		"":                                                                                            false,
		"State:\nSigPnd:\tnonsense\n":                                                                 false,
	} {
		if ending([]byte(status)) != want {
			t.Errorf("%q: %v", status, !want)
		}
	}
	locks := fmt.Sprintf("1: POSIX  ADVISORY  WRITE 7 fe:00:12 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 fe:00:12 0 EOF\n"+
		"2: -> FLOCK  ADVISORY  WRITE 9 fe:00:12 0 EOF\n3: FLOCK  ADVISORY  WRITE 10 fe:00:13 0 EOF\n%s", "4: FLOCK")
	if pids := lockedBy([]byte(locks), 12); !slices.Equal(pids, []int{8}) {
		t.Errorf("locked by %v", pids)
	}
}

// TestTakeOverOfAStateFile: the copy has what was in it.
func TestTakeOverOfAStateFile(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(dir+"/from", []byte("what was in it"), 0o600))
	must(copyFile(dir+"/from", dir+"/to"))
	if data, err := os.ReadFile(dir + "/to"); err != nil || string(data) != "what was in it" {
		t.Errorf("%q, %v", data, err)
	}
	must(os.Symlink("from", dir+"/link"))
	if err := copyFile(dir+"/from", dir+"/link"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("through a symlink: %v", err)
	}
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childVariable tells the test binary that it is the child of one of the tests
// below; its value is the child's part.
const childVariable = "SUPERD_STORE_TEST"

func child(t *testing.T, part string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	// The race detector would have each child wait a second at its end.
	cmd.Env = append(os.Environ(), childVariable+"="+part, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// privateMounts runs the test in a mount namespace of its own, in a child. It
// returns false in the parent, where that is all there is to do.
func privateMounts(t *testing.T) bool {
	if os.Getenv(childVariable) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := child(t, "mounts")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("cannot make a mount namespace here: %v", err)
	}
	if bytes.Contains(out, []byte("--- SKIP: "+t.Name())) {
		t.Skipf("in its own mount namespace:\n%s", out)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("in its own mount namespace: %v\n%s", err, out)
	}
	return false
}

// smallDisk mounts a tmpfs of so many bytes.
func smallDisk(t *testing.T, size int) string {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill leaves no room on a disk; the returned function gives it back.
func fill(t *testing.T, dir string) (release func()) {
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := 4096; block > 0; block /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, block))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	return func() { os.Remove(name) }
}

func TestFullRuntimeFolder(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	dir := smallDisk(t, 256<<10)
	d := openDir(t, filepath.Join(dir, "records"))
	table := openTable(t, d, 100, 200)
	if err := d.PutFile("pool", []byte("small")); err != nil {
		t.Fatal(err)
	}
	put(t, table, 0, "before")
	release := fill(t, dir)
	for slot := range 100 { // the room was taken beforehand
		put(t, table, slot, strings.Repeat("x", 200))
		put(t, table, slot, strings.Repeat("y", 200))
	}
	wantSlot(t, table, 99, strings.Repeat("y", 200))
	if err := d.PutFile("pool", bytes.Repeat([]byte("p"), minRecord)); err != nil {
		t.Errorf("a record that fits into its room: %v", err)
	}

	noRoom := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v; want ENOSPC", what, err)
		}
	}
	noRoom("grow", table.Grow(1000, 200))
	noRoom("large record", d.PutFile("pool", make([]byte, 8192)))
	_, err := d.Table("other", 10, 1000)
	noRoom("table", err)
	if table.Slots() != 100 {
		t.Errorf("%d slots after a failed grow", table.Slots())
	}
	wantSlot(t, table, 50, strings.Repeat("y", 200))
	put(t, table, 50, "still works")
	if got, ok, err := d.GetFile("pool"); !ok || err != nil || len(got) != minRecord {
		t.Errorf("record after a failed write: %d bytes, %v, %v", len(got), ok, err)
	}
	if names, _ := d.names(newSuffix); len(names) != 0 {
		t.Errorf("unfinished files are left: %v", names)
	}

	release()
	if err := table.Grow(200, 200); err != nil {
		t.Error(err)
	}
	wantSlot(t, table, 50, "still works")
}

func TestFullStateFolder(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	dir := smallDisk(t, 256<<10)
	s := openState(t, dir)
	s.Put("b", "old", []byte("v"))
	flush(t, s)
	release := fill(t, dir)
	large := bytes.Repeat([]byte("x"), 100<<10)
	s.Put("b", "large", large)
	if err := s.Flush(t.Context()); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("flush: %v", err)
	}
	wantDegraded(t, s, "no space left on device")
	wantValue(t, s, "b", "large", string(large))
	release()
	s.Put("b", "another", []byte("v"))
	flush(t, s)
	wantDegraded(t, s, "")
	s.Close()
	s = openState(t, dir)
	wantValue(t, s, "b", "old", "v")
	wantValue(t, s, "b", "large", string(large))
	wantValue(t, s, "b", "another", "v")
}

func TestReadOnlyState(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	dir := smallDisk(t, 1<<20)
	s := openState(t, dir)
	s.Put("b", "old", []byte("v"))
	s.Close()
	remount := func(flags uintptr) {
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	s = openState(t, dir)
	wantDegraded(t, s, "read-only file system")
	wantValue(t, s, "b", "old", "v")
	s.Put("b", "new", []byte("v"))
	if err := s.Flush(t.Context()); !errors.Is(err, unix.EROFS) {
		t.Errorf("flush: %v", err)
	}
	wantValue(t, s, "b", "new", "v")
	remount(0)
	flush(t, s) // tries again
	wantDegraded(t, s, "")
	s.Close()
	s = openState(t, dir)
	wantValue(t, s, "b", "old", "v")
	wantValue(t, s, "b", "new", "v")
}

// TestUntrustedStateFolder: root's superd does not believe what another user put there.
func TestUntrustedStateFolder(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o777)
	s := openState(t, dir)
	wantDegraded(t, s, "others than its owner may write into it")
	s.Put("b", "k", []byte("v"))
	wantValue(t, s, "b", "k", "v")
	if err := s.Flush(t.Context()); err == nil {
		t.Error("it was written all the same")
	}
	os.Chmod(dir, 0o700)
	flush(t, s)
	wantDegraded(t, s, "")
}

// TestDamagedStateFile damages a state file at random places. Whatever that does
// to the library that reads it, an error, a fault, an endless loop ended from
// outside, superd must be able to work after a few starts.
func TestDamagedStateFile(t *testing.T) {
	if dir := os.Getenv(childVariable); dir != "" {
		// An endless loop that allocates must not take the machine with it.
		unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: 2 << 30, Max: 2 << 30})
		s := openState(t, dir)
		s.Put("b", "k", []byte("v"))
		flush(t, s)
		return
	}
	const seed = 20
	random := rand.New(rand.NewPCG(seed, seed))
	base := t.TempDir()
	s := openState(t, base)
	for i := range 300 {
		s.Put(fmt.Sprint("bucket", i%5), fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 100))
	}
	flush(t, s)
	s.Close()
	whole := readFile(t, filepath.Join(base, stateFile))
	for round := range 25 {
		dir := t.TempDir()
		bad := bytes.Clone(whole)
		for range 1 + random.IntN(20) {
			// Page headers are where damage does most.
			at := random.IntN(len(bad)/4096)*4096 + random.IntN(64)
			bad[at] ^= byte(1 + random.IntN(255))
		}
		writeFile(t, filepath.Join(dir, stateFile), bad)
		starts := 0
		for {
			out, err := child(t, dir).CombinedOutput()
			if err == nil {
				break
			}
			if starts++; starts > maxStarts {
				t.Fatalf("round %d (seed %d): superd does not come up: %v\n%.2000s", round, seed, err, out)
			}
		}
		s := openState(t, dir)
		wantValue(t, s, "b", "k", "v")
		s.Close()
	}
}

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseEnvFile(t *testing.T) {
	got, err := parseEnvFile([]byte("\ufeff# comment\n\n  A=1\nexport B = two words  \n\texport\tC='it is $HOME \\n'# c\nD=\"a\\tb\\n\\\"c\\\" \\$x \\\\ \\q\" # c\n" +
		"E=\nF=a=b # kept\r\nG='' \nA=2\nexport_H=1\nI=it's \"fine\"\nexport=x\nJ.k-l=1"))
	want := map[string]string{"A": "2", "B": "two words", "C": `it is $HOME \n`, "D": "a\tb\n\"c\" $x \\ \\q", "E": "", "F": "a=b # kept",
		"G": "", "export_H": "1", "I": `it's "fine"`, "export": "x", "J.k-l": "1"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v\nwant %q", got, err, want)
	}
	for in, want := range map[string]string{
		"A=1\nsecret":            ":2: it is not KEY=VALUE",
		"=secret":                ":1: it is not KEY=VALUE",
		"a b=secret":             ":1: it is not KEY=VALUE",
		"export export A=secret": ":1: it is not KEY=VALUE",
		"A=\"secret":             ":1: a quote is not closed",
		"A='secret\n'":           ":1: a quote is not closed",
		"A=\"secret\\\"":         ":1: a quote is not closed",
		"A='x' secret":           ":1: something follows the closing quote",
		"A=secret\x00":           ":1: it has a NUL character",
	} {
		if _, err := parseEnvFile([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%q: %v; want %s", in, err, want)
		}
	}
}

func TestReadEnvFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "A=1\nB=1\n", "b": "B=2\n", "bad": "A=1\nsecret\n"})
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "large"), make([]byte, maxEnvFile+1), 0o644))
	file := func(name string) EnvFile { return EnvFile{Path: filepath.Join(dir, name)} }
	got, err := ReadEnvFiles([]EnvFile{file("a"), {Path: filepath.Join(dir, "missing"), Optional: true}, file("b")}, nil)
	if want := map[string]string{"A": "1", "B": "2"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for name, want := range map[string]string{
		"missing": "cannot read env_file DIR/missing: no such file or directory",
		"bad":     "cannot read env_file DIR/bad:2: it is not KEY=VALUE",
		"fifo":    "cannot read env_file DIR/fifo: it is no regular file",
		"large":   "cannot read env_file DIR/large: it is larger than 1M",
		".":       "cannot read env_file DIR: it is no regular file",
	} {
		_, err := ReadEnvFile(file(name), nil)
		if got := strings.ReplaceAll(errorText(err), dir, "DIR"); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestEnvFileRights: the file is opened as the worker, in all that this means,
// and nothing of it sticks to other threads.
func TestEnvFileRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs to be root to take another user's rights")
	}
	const uid, gid, extra = 12345, 12346, 12347
	acct := &Account{UID: uid, GID: gid, Groups: []int{gid, extra}}
	dir := t.TempDir()
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if st, err := os.Stat(d); err == nil && st.Mode()&0o005 != 0o005 {
			must(t, os.Chmod(d, st.Mode()|0o755))
		}
	}
	own := filepath.Join(dir, "own")
	must(t, os.Mkdir(own, 0o755))
	must(t, os.Chown(own, uid, gid))
	write(t, dir, map[string]string{"root": "R=1", "own/mine": "M=1", "own/group": "G=1", "own/stranger": "S=secret"})
	must(t, os.Chmod(filepath.Join(dir, "root"), 0o600))
	for name, owner := range map[string][2]int{"mine": {uid, 0}, "group": {1, extra}, "stranger": {1, 1}} {
		must(t, os.Chown(filepath.Join(own, name), owner[0], owner[1]))
		must(t, os.Chmod(filepath.Join(own, name), 0o440))
	}
	must(t, os.Symlink(filepath.Join(dir, "root"), filepath.Join(own, "link")))
	must(t, os.Symlink("own/link", filepath.Join(dir, "rootlink")))

	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	must(t, err)
	var wg sync.WaitGroup
	for range 20 { // some of them would land on the first thread
		for name, want := range map[string]string{
			"own/mine":     "",
			"own/group":    "",
			"root":         "", // as root, by a path on which only root can write
			"own/stranger": "cannot read env_file DIR/own/stranger: uid 12345 may not read it (permission denied), and it is not root's alone: DIR/own belongs to uid 12345; needed: root; type: chown 0 DIR/own",
			"own/link":     "cannot read env_file DIR/own/link: uid 12345 may not read it (permission denied), and it is not root's alone: DIR/own belongs to uid 12345; needed: root; type: chown 0 DIR/own",
			"rootlink":     "cannot read env_file DIR/rootlink: uid 12345 may not read it (permission denied), and it is not root's alone: DIR/rootlink is a symbolic link",
		} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				env, err := ReadEnvFile(EnvFile{Path: filepath.Join(dir, name)}, acct)
				if got := strings.ReplaceAll(errorText(err), dir, "DIR"); got != want || (err == nil) != (len(env) == 1) {
					t.Errorf("%s: %q, %s\nwant %s", name, env, got, want)
				}
			}()
		}
	}
	wg.Wait()
	// The threads end on their own time.
	deadline := time.Now().Add(10 * time.Second)
	for threadsWith(t, "12345") > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d threads have kept the rights", threadsWith(t, "12345"))
		}
		time.Sleep(time.Millisecond)
	}
	if now, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || now != dumpable {
		t.Errorf("dumpable was %d and is %d, %v", dumpable, now, err)
	}
}

// threadsWith counts the threads of this process whose status mentions a text.
func threadsWith(t *testing.T, text string) int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	must(t, err)
	n := 0
	for _, task := range tasks {
		if status, err := os.ReadFile(task); err == nil && strings.Contains(string(status), text) {
			n++
		}
	}
	return n
}

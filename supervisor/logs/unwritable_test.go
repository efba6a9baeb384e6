package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUnwritable: a log that cannot be written never stops the worker, and the
// reason is told; when it can be written again it goes on.
func TestUnwritable(t *testing.T) {
	foreign := 65534
	cases := []struct {
		name string
		make func(t *testing.T, dir string)
		want string
	}{
		{"symlink", func(t *testing.T, dir string) {
			must(t, os.Symlink(filepath.Join(dir, "target"), filepath.Join(dir, "a/0.log")))
		}, "symbolic link"},
		{"hardlink", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "target"), nil, 0o600))
			must(t, os.Link(filepath.Join(dir, "target"), filepath.Join(dir, "a/0.log")))
		}, "hard links"},
		{"fifo", func(t *testing.T, dir string) {
			must(t, unix.Mkfifo(filepath.Join(dir, "a/0.log"), 0o600))
		}, "not a regular file"},
		{"foreign file", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "a/0.log"), nil, 0o600))
			must(t, os.Chown(filepath.Join(dir, "a/0.log"), foreign, -1))
		}, "belongs to uid"},
		{"foreign folder", func(t *testing.T, dir string) {
			must(t, os.Chown(filepath.Join(dir, "a"), foreign, -1))
		}, "belongs to uid"},
		{"writable folder", func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, "a"), 0o777))
		}, "lets others write"},
		{"linked folder", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "a")))
			must(t, os.Mkdir(filepath.Join(dir, "b"), 0o750))
			must(t, os.Symlink("b", filepath.Join(dir, "a")))
		}, "symbolic link"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.name, "foreign") && os.Getuid() != 0 {
				t.Skip("needs root, to give files to another user")
			}
			t.Parallel()
			l := newLab(t, nil)
			must(t, os.Mkdir(filepath.Join(l.log(), "a"), 0o750))
			c.make(t, l.log())
			p := l.prepare("run1", spec("a", 0))
			line := strings.Repeat("y", 999) + "\n"
			const lines = 3000 // more than the FIFO holds: dropping must go on
			for range lines {
				write(t, p.Stdout, line)
			}
			eventually(t, 5*time.Second, func() bool { return len(l.told(Dropped, "run1")) > 0 }, "dropping was not told")
			if n := l.told(Dropped, "run1")[0]; n.Err == nil || !strings.Contains(n.Err.Error(), c.want) || n.Pool != "a" {
				t.Errorf("told %+v, want %q", n, c.want)
			}
			if fi, err := os.Stat(filepath.Join(l.log(), "target")); err == nil && fi.Size() > 0 {
				t.Error("superd wrote into a file that is not its own")
			}
			must(t, os.RemoveAll(filepath.Join(l.log(), "a")))
			write(t, p.Stdout, "end\n")
			p.Close()
			l.m.Ended("run1")
			l.drained("run1")
			checkDropped(t, l.read("a/0.log"), line, lines)
		})
	}
}

// checkDropped: a log of equal lines, some dropped, ends with "end".
func checkDropped(t *testing.T, text, line string, lines int) {
	t.Helper()
	got, told := 0, 0
	for l := range strings.Lines(text) {
		var bytes, n int
		if k, _ := fmt.Sscanf(l, "superd: %d bytes dropped here, %d lines: ", &bytes, &n); k == 2 {
			if bytes != n*len(line) {
				t.Errorf("told of %d bytes in %d lines", bytes, n)
			}
			told += n
			continue
		}
		if l != line && l != "end\n" {
			t.Fatalf("torn: %q", l)
		}
		if l == line {
			got++
		}
	}
	if got+told != lines || told == 0 || !strings.HasSuffix(text, "\nend\n") {
		t.Errorf("%d lines are there and %d told of as dropped, of %d", got, told, lines)
	}
}

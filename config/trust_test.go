package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTrust wants to be root: only root can make what belongs to others.
func TestTrust(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs to be root to give files away")
	}
	const other = 12345
	for _, tc := range []struct {
		name string
		uid  int
		make func(t *testing.T, dir string) string // gives the path to read
		want string
	}{
		{name: "root's own", make: plainFile},
		{name: "another's file", make: func(t *testing.T, dir string) string {
			f := plainFile(t, dir)
			must(t, os.Chown(f, other, other))
			return f
		}, want: "DIR/f belongs to uid 12345; needed: root; type: chown 0 DIR/f"},
		{name: "the user's own file", uid: other, make: func(t *testing.T, dir string) string {
			f := plainFile(t, dir)
			must(t, os.Chown(f, other, other))
			return f
		}},
		{name: "a third one's file", uid: other, make: func(t *testing.T, dir string) string {
			f := plainFile(t, dir)
			must(t, os.Chown(f, other+1, other))
			return f
		}, want: "DIR/f belongs to uid 12346; needed: root or uid 12345; type: chown 12345 DIR/f"},
		{name: "writable by the group", make: func(t *testing.T, dir string) string {
			f := plainFile(t, dir)
			must(t, os.Chmod(f, 0o664))
			return f
		}, want: "DIR/f may be written by others (mode 0664); needed: by root alone; type: chmod go-w DIR/f"},
		{name: "another's directory", make: func(t *testing.T, dir string) string {
			f := plainFile(t, filepath.Join(dir, "it's"))
			must(t, os.Chown(filepath.Dir(f), other, 0))
			return f
		}, want: `DIR/it's belongs to uid 12345; needed: root; type: chown 0 'DIR/it'\''s'`},
		{name: "a directory that others may write", make: func(t *testing.T, dir string) string {
			f := plainFile(t, filepath.Join(dir, "sub"))
			must(t, os.Chmod(filepath.Dir(f), 0o777))
			return f
		}, want: "DIR/sub may be written by others (mode 0777); needed: by root alone; type: chmod go-w DIR/sub"},
		{name: "a sticky directory", make: func(t *testing.T, dir string) string {
			f := plainFile(t, filepath.Join(dir, "sub"))
			must(t, os.Chmod(filepath.Dir(f), 0o777|os.ModeSticky))
			return f
		}},
		{name: "root's link", make: func(t *testing.T, dir string) string {
			plainFile(t, filepath.Join(dir, "sub"))
			must(t, os.Symlink("../"+filepath.Base(dir)+"/sub/f", filepath.Join(dir, "link")))
			return filepath.Join(dir, "link")
		}},
		{name: "an absolute link to a directory", make: func(t *testing.T, dir string) string {
			plainFile(t, filepath.Join(dir, "sub"))
			must(t, os.Symlink(filepath.Join(dir, "sub"), filepath.Join(dir, "link")))
			return filepath.Join(dir, "link", "f")
		}},
		{name: "another's link in a sticky directory", make: func(t *testing.T, dir string) string {
			f := plainFile(t, dir)
			must(t, os.Chmod(dir, 0o777|os.ModeSticky))
			must(t, os.Symlink(f, filepath.Join(dir, "link")))
			must(t, os.Lchown(filepath.Join(dir, "link"), other, other))
			return filepath.Join(dir, "link")
		}, want: "DIR/link belongs to uid 12345; needed: root; type: chown -h 0 DIR/link"},
		{name: "a link to another's directory", make: func(t *testing.T, dir string) string {
			plainFile(t, filepath.Join(dir, "sub"))
			must(t, os.Chown(filepath.Join(dir, "sub"), other, other))
			must(t, os.Symlink("sub/f", filepath.Join(dir, "link")))
			return filepath.Join(dir, "link")
		}, want: "DIR/sub belongs to uid 12345; needed: root; type: chown 0 DIR/sub"},
		{name: "a circle of links", make: func(t *testing.T, dir string) string {
			must(t, os.Symlink("b", filepath.Join(dir, "a")))
			must(t, os.Symlink("a", filepath.Join(dir, "b")))
			return filepath.Join(dir, "a")
		}, want: "DIR/a: too many levels of symbolic links"},
		{name: "a FIFO", make: func(t *testing.T, dir string) string {
			must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
			return filepath.Join(dir, "fifo")
		}, want: "DIR/fifo is no regular file"},
		{name: "a device that all may write", make: func(*testing.T, string) string { return "/dev/null" },
			want: "/dev/null is no regular file"},
		{name: "a FIFO that others may write", make: func(t *testing.T, dir string) string {
			must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
			must(t, os.Chmod(filepath.Join(dir, "fifo"), 0o666))
			return filepath.Join(dir, "fifo")
		}, want: "DIR/fifo is no regular file"},
		{name: "a directory", make: func(t *testing.T, dir string) string { return dir },
			want: "DIR is a directory; needed: a file"},
		{name: "below a file", make: func(t *testing.T, dir string) string { return plainFile(t, dir) + "/x" },
			want: "DIR/f: not a directory"},
		{name: "too large", make: func(t *testing.T, dir string) string {
			f := plainFile(t, dir)
			must(t, os.Truncate(f, maxFile+1))
			return f
		}, want: "it is larger than 8M"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := tc.make(t, dir)
			data, err := trust{uid: tc.uid}.read(path)
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), dir, "DIR")
			}
			if got != tc.want && !(strings.HasPrefix(tc.want, "DIR/a: too many") && strings.HasSuffix(got, "too many levels of symbolic links")) {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
			if err == nil && string(data) != "content" {
				t.Errorf("read %q", data)
			}
		})
	}
}

func plainFile(t *testing.T, dir string) string {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	f := filepath.Join(dir, "f")
	must(t, os.WriteFile(f, []byte("content"), 0o644))
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLoadTrusts: Load checks the file itself and each include.
func TestLoadTrusts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs to be root to give files away")
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"superd.toml": "[superd]\ninclude = [\"*.d/*.toml\"]\n",
		"a.d/x.toml":  "[pool.x]\ncommand = \"x\"\nuser = \"root\"\n",
	})
	file, sub := filepath.Join(dir, "superd.toml"), filepath.Join(dir, "a.d")
	refused := func(want string) {
		t.Helper()
		_, err := Load(file, Options{})
		if got := strings.ReplaceAll(errorText(err), dir, "DIR"); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	refused("")
	must(t, os.Chown(sub, 12345, 0))
	refused(`DIR/superd.toml:2:12: superd.include: found "*.d/*.toml", but cannot read DIR/a.d/x.toml: DIR/a.d belongs to uid 12345; needed: root; type: chown 0 DIR/a.d`)
	must(t, os.Chmod(file, 0o666))
	refused("DIR/superd.toml: cannot read it: it may be written by others (mode 0666); needed: by root alone; type: chmod go-w DIR/superd.toml")
}

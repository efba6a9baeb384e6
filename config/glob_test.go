package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// It matches what filepath.Glob matches.
func TestGlob(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/1.toml", "a/2.toml", "a/x.txt", "b/1.toml", "b/.toml", "c.toml", "a/[1].toml"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{"*.toml", "a/*.toml", "*/*.toml", "*/1.toml", "?/[12].toml", "c.toml/*", "no/*", "*/no", `a/\[1].toml`, "../*/a/1.toml"} {
		pattern = dir + "/" + pattern
		want, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		got, err := glob(pattern)
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", pattern, got, err, want)
		}
	}
	if _, err := glob(dir + "/[*.toml"); !errors.Is(err, filepath.ErrBadPattern) {
		t.Error(err)
	}
	// A folder that cannot be read is no empty folder.
	long := filepath.Join(dir, string(slices.Repeat([]byte("x"), 300)))
	if _, err := glob(long + "/*.toml"); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Error(err)
	}
}

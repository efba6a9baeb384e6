package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenProgram(t *testing.T) {
	root := os.Geteuid() == 0
	for _, tc := range []struct {
		name string
		make func(t *testing.T, dir string) string
		want string // part of the error
	}{
		{"good", func(t *testing.T, dir string) string { return program(t, dir, 0o755) }, ""},
		{"by a link", func(t *testing.T, dir string) string {
			must(t, os.Symlink(program(t, dir, 0o755), dir+"/link"))
			return dir + "/link"
		}, ""},
		{"missing", func(t *testing.T, dir string) string { return dir + "/no" }, "no such file"},
		{"relative", func(t *testing.T, dir string) string { return "superd" }, "slash"},
		{"not executable", func(t *testing.T, dir string) string { return program(t, dir, 0o644) }, "chmod +x"},
		{"writable by the group", func(t *testing.T, dir string) string { return program(t, dir, 0o775) }, "chmod go-w"},
		{"writable by others", func(t *testing.T, dir string) string { return program(t, dir, 0o757) }, "chmod go-w"},
		{"a device", func(*testing.T, string) string { return "/dev/null" }, "/dev/null is no regular file"},
		{"a folder", func(t *testing.T, dir string) string { return dir }, map[bool]string{true: "is a directory", false: "no regular file"}[root]},
		{"somebody else's", func(t *testing.T, dir string) string {
			path := program(t, dir, 0o755)
			if !root {
				return path // nothing of another user's can be made
			}
			must(t, os.Chown(path, 71001, 71001))
			return path
		}, map[bool]string{true: "belongs to uid 71001", false: ""}[root]},
		{"in a folder that others may write", func(t *testing.T, dir string) string {
			path := program(t, dir, 0o755)
			if root {
				must(t, os.Chmod(filepath.Dir(path), 0o777))
			}
			return path
		}, map[bool]string{true: "may be written by others"}[root]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := tc.make(t, t.TempDir())
			f, err := OpenProgram(path)
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v; want %q", err, tc.want)
			}
			if err == nil {
				f.Close()
			}
		})
	}
}

func program(t *testing.T, dir string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, "bin", "superd")
	must(t, os.Mkdir(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	must(t, os.Chmod(path, mode))
	return path
}

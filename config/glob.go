package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// glob is filepath.Glob, but it does not pass over a folder that cannot be read for
// want of a descriptor or because its disk is broken: what it would have matched
// then counts as removed, and its workers are stopped. A folder that was itself
// only matched may be closed to superd.
func glob(pattern string) (matches []string, err error) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, err
	}
	dir, file := filepath.Split(pattern)
	dir = filepath.Clean(dir)
	folders := []string{dir}
	if hasMeta(dir) {
		if folders, err = glob(dir); err != nil {
			return nil, err
		}
	}
	for _, folder := range folders {
		names, err := namesIn(folder, file)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		case errors.Is(err, fs.ErrPermission) && hasMeta(dir):
		case err != nil:
			return nil, err
		}
		for _, name := range names {
			if ok, _ := filepath.Match(file, name); ok {
				matches = append(matches, filepath.Join(folder, name))
			}
		}
	}
	return matches, nil
}

// namesIn are those in a folder that may match, sorted.
func namesIn(folder, pattern string) (names []string, err error) {
	if !hasMeta(pattern) {
		if _, err := os.Lstat(filepath.Join(folder, pattern)); err != nil {
			return nil, err
		}
		return []string{pattern}, nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[\`) }

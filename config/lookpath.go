package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// errNotFound is what LookPath says of a program that is nowhere.
var errNotFound = errors.New("no such program")

// LookPath is the file that a command's first word means: with a slash it is
// relative to dir, else it is searched in path (the worker's PATH, whose
// relative entries are below dir too). The result is absolute if dir is. The
// error says where it looked. Whether the worker may execute the file is seen
// when it does: only files without any execute bit are passed over here.
func LookPath(argv0, dir, path string) (string, error) {
	if argv0 == "" {
		return "", errors.New("the program's name is empty")
	}
	if strings.Contains(argv0, "/") {
		file := under(dir, argv0)
		if err := executable(file); err != nil && !errors.Is(err, os.ErrPermission) {
			return "", fmt.Errorf("%s: %w", file, plainError(err))
		}
		return file, nil
	}
	var looked []string
	for _, entry := range strings.Split(path, ":") {
		if entry == "" {
			continue // POSIX means the working directory; nobody does who writes one by mistake
		}
		file := under(dir, entry) + "/" + argv0
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, os.ErrNotExist) {
			looked = append(looked, under(dir, entry))
		} else {
			looked = append(looked, fmt.Sprintf("%s (%v)", under(dir, entry), plainError(err)))
		}
	}
	if looked == nil {
		return "", fmt.Errorf("%s: %w, since PATH is empty", argv0, errNotFound)
	}
	return "", fmt.Errorf("%s: %w in PATH; looked in %s", argv0, errNotFound, strings.Join(looked, ", "))
}

// under is path below dir, unless it is absolute.
func under(dir, path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return strings.TrimSuffix(dir, "/") + "/" + path
}

// executable tells what is wrong with a file that is to be executed.
func executable(file string) error {
	st, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case st.IsDir():
		return errors.New("is a directory")
	case st.Mode()&0o111 == 0:
		return errors.New("is not executable")
	}
	return nil
}

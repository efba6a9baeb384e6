package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
)

// What a newer superd has written is neither damaged nor foreign: it is the truth, in
// words that this one does not know. It is not set aside, and nothing is built beside
// it. Whoever meets it stops before anything has happened.

// ErrNewer is what a file is of that a newer superd has written.
var ErrNewer = errors.New("a newer superd has written it")

// newerState is about a format of the state file that comes after ours; nil: it does not.
func newerState(format string) error {
	theirs, err := strconv.Atoi(format)
	ours, _ := strconv.Atoi(stateVersion)
	if err != nil || theirs <= ours {
		return nil
	}
	return fmt.Errorf("it has format %q, this superd reads %q: %w", format, stateVersion, ErrNewer)
}

// CheckVersions looks into the files of a folder of records, before it is opened: one
// of a format that comes after ours is an [ErrNewer]. Whatever else may be wrong with
// them is no concern of it. It changes nothing, and a folder that is not there is fine.
func CheckVersions(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // whoever opens it will say so
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if format, ours, ok := formatOf(path); ok && format > ours {
			return fmt.Errorf("cannot read %s: it has format %d, this superd reads %d: %w", path, format, ours, ErrNewer)
		}
	}
	return nil
}

// formatOf is the format that a file says it has, and the one that is known of its kind.
// All kinds begin alike: 16 bytes of magic, the format, and a checksum at a place of its own.
func formatOf(path string) (format, ours uint32, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, false
	}
	defer f.Close()
	b := make([]byte, max(tableHeader, journalHeader))
	n, _ := f.ReadAt(b, 0) // a short one is no file of superd's
	summed := 0
	switch {
	case n >= tableHeader && string(b[:16]) == tableMagic:
		ours, summed = tableVersion, tableSummed
	case n >= journalHeader && string(b[:16]) == journalMagic:
		ours, summed = journalVersion, journalSummed
	default:
		return 0, 0, false
	}
	ok = crc32.Checksum(b[:summed], castagnoli) == binary.LittleEndian.Uint32(b[summed:])
	return binary.LittleEndian.Uint32(b[16:]), ours, ok
}

package service

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Unit is the systemd service that the caller belongs to, by its cgroup, and whether
// that is one of a user's own systemd.
func Unit() (name string, user bool, err error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false, fmt.Errorf("cannot learn the unit of this process: %w", err)
	}
	name, user = unitOf(string(text))
	if name == "" {
		return "", false, errors.New("cannot learn the unit of this process: its cgroup is in no service")
	}
	return name, user, nil
}

// unitOf finds the innermost service in /proc/PID/cgroup, where it is in the tree
// that systemd keeps.
func unitOf(cgroup string) (name string, user bool) {
	for line := range strings.Lines(cgroup) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 || fields[0] != "0" && fields[1] != "name=systemd" {
			continue
		}
		for part := range strings.SplitSeq(fields[2], "/") {
			if !strings.HasSuffix(part, ".service") {
				continue
			}
			user = user || strings.HasPrefix(name, "user@")
			name = part
		}
		if name != "" {
			return name, user
		}
	}
	return "", false
}

// Stops tells, by what `systemctl list-jobs --no-legend` says, whether a unit is
// being stopped, for good or to be started again.
func Stops(jobs, unit string) bool {
	for line := range strings.Lines(jobs) {
		fields := strings.Fields(line) // JOB UNIT TYPE STATE
		if i := slices.Index(fields, unit); i >= 0 && i+1 < len(fields) {
			switch fields[i+1] {
			case "stop", "restart", "try-restart":
				return true
			}
		}
	}
	return false
}

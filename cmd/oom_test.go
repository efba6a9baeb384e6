package cmd_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// memoryCgroup makes a cgroup in which there is little memory to be had.
func memoryCgroup(name string, bytes int) (dir string, err error) {
	for _, limit := range []string{
		"/sys/fs/cgroup/memory/superd-test-%s-%d/memory.limit_in_bytes", // the first version of cgroups
		"/sys/fs/cgroup/superd-test-%s-%d/memory.max",
	} {
		limit = fmt.Sprintf(limit, name, os.Getpid())
		dir = filepath.Dir(limit)
		if err = os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			continue
		}
		// Where the folder is no cgroup there is no such file, and none is to be made.
		var f *os.File
		if f, err = os.OpenFile(limit, os.O_WRONLY, 0); err == nil {
			_, err = f.WriteString(strconv.Itoa(bytes))
			f.Close()
			if err == nil {
				return dir, nil
			}
		}
		os.Remove(dir)
	}
	return "", err
}

// oom tells whether a process can be killed for want of memory here, and superd
// learn of it.
func oom() bool {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil || ns != "pid:[4026531836]" {
		return false
	}
	log, err := os.Open("/dev/kmsg")
	if err != nil {
		return false
	}
	log.Close()
	if vmstat, _ := os.ReadFile("/proc/vmstat"); !bytes.Contains(vmstat, []byte("\noom_kill ")) {
		return false
	}
	dir, err := memoryCgroup("oom", 20e6)
	if err != nil {
		return false
	}
	return os.Remove(dir) == nil
}

// memcg FILE makes such a cgroup for the time of the script and writes its path
// into a file.
func memcg(ts *testscript.TestScript, neg bool, args []string) {
	dir, err := memoryCgroup("oom", 20e6)
	ts.Check(err)
	ts.Defer(func() { os.Remove(dir) })
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(dir), 0o644))
}

// reuse tells whether a pid can be had again in a pid namespace of its own.
func reuse() bool {
	return exec.Command("unshare", "-p", "-f", "--mount-proc", "sh", "-c", "echo 100 > /proc/sys/kernel/ns_last_pid").Run() == nil
}

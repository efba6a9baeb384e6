package cmd_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type hostKey struct{}

// host is a script's superd: at most one lives at a time, in folders of its own.
type host struct {
	dir     string
	config  string
	process *os.Process
	ended   chan struct{}
	code    int
	output  bytes.Buffer         // of the superd that was started last
	wrap    []string             // what superd is started by; see users
	tracers map[string]*exec.Cmd // see inject
	crowd   []net.Conn           // see crowd
	program string               // instead of the superd that was built for all; see use
}

func (h *host) socket() string { return h.dir + "/run/control.sock" }

// superdTable is put before the configuration of a script.
func (h *host) superdTable() string {
	return fmt.Sprintf("[superd]\nruntime_dir = %q\nstate_dir = %q\nlog_dir = %q\n", h.dir+"/run", h.dir+"/state", h.dir+"/log")
}

// up FILE starts superd with a configuration and waits until it answers; @LOGS@
// and @WORK@ in it are folders. With no file it starts the one of before again.
func up(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	if len(args) > 0 {
		text := strings.NewReplacer("@LOGS@", h.dir+"/log", "@WORK@", ts.Getenv("WORK")).Replace(ts.ReadFile(ts.MkAbs(args[0])))
		h.config = ts.MkAbs("superd.toml")
		ts.Check(os.WriteFile(h.config, []byte(h.superdTable()+text), 0o644))
	}
	h.start(ts)
	eventually(ts, "superd answers\n"+h.output.String(), func() bool {
		select {
		case <-h.ended:
			ts.Fatalf("superd ended with %d:\n%s", h.code, h.output.String())
		default:
		}
		_, _, code := superctl(ts, "--timeout", "5s", "status")
		return code == 0
	})
}

func (h *host) start(ts *testscript.TestScript) {
	line := append(slices.Clone(h.wrap), cmp.Or(h.program, filepath.Join(bin, "superd")), "-c", h.config)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	h.output.Reset()
	log, err := os.OpenFile(h.dir+"/superd.out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	log.Close()
	h.process, h.ended = cmd.Process, make(chan struct{})
	go func(ended chan struct{}) {
		cmd.Wait()
		h.code = cmd.ProcessState.ExitCode()
		close(ended)
	}(h.ended)
}

// down stops superd by TERM and wants it to end with a code (0).
func down(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	ts.Check(h.process.Signal(syscall.SIGTERM))
	ended(ts, neg, args)
}

// ended [CODE] waits until superd has ended, and wants that code (0).
func ended(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	select {
	case <-h.ended:
	case <-time.After(patience):
		ts.Fatalf("superd did not end within %s\n%s", patience, h.said())
	}
	want := "0"
	if len(args) > 0 {
		want = args[0]
	}
	if fmt.Sprint(h.code) != want {
		ts.Fatalf("superd ended with %d, not %s\n%s", h.code, want, h.said())
	}
}

// said is what superd wrote.
func (h *host) said() string {
	data, _ := os.ReadFile(h.dir + "/superd.out")
	return string(data)
}

// crash superd|keeper|both kills without warning.
func crash(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	keeper := h.keeperPID(ts)
	if args[0] != "keeper" {
		ts.Check(h.process.Kill())
	}
	if args[0] != "superd" {
		ts.Check(syscall.Kill(keeper, syscall.SIGKILL))
	}
	if args[0] != "keeper" {
		<-h.ended
	}
}

func (h *host) keeperPID(ts *testscript.TestScript) int {
	stdout, _, _ := superctl(ts, "status", "--json")
	var s struct {
		Superd struct {
			KeeperPID int `json:"keeper_pid"`
		}
	}
	ts.Check(json.Unmarshal([]byte(stdout), &s))
	return s.Superd.KeeperPID
}

// until REGEXP ARGS... runs superctl until its output matches.
// until ! REGEXP ARGS... until it does not.
// A first argument "file" instead of superctl's looks at a file, "exec" runs a program.
func until(ts *testscript.TestScript, neg bool, args []string) {
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var last string
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if args[1] == "file" {
			data, _ := os.ReadFile(ts.MkAbs(args[2]))
			last = string(data)
		} else if args[1] == "exec" {
			cmd := exec.Command(args[2], args[3:]...)
			cmd.Dir = ts.Getenv("WORK")
			data, _ := cmd.Output()
			last = string(data)
		} else {
			last, _, _ = superctl(ts, args[1:]...)
		}
		if re.MatchString(last) != neg {
			return
		}
		if time.Now().After(late) {
			ts.Fatalf("not within %s: %q in\n%s\nsuperd said:\n%s", patience, args[0], last, hostOf(ts).said())
		}
	}
}

// get VARIABLE PATH takes a value out of `superctl status --json`, by a path
// like pools.mailers.workers.1.pid.
func get(ts *testscript.TestScript, neg bool, args []string) {
	stdout, stderr, code := superctl(ts, "status", "--json")
	if code != 0 {
		ts.Fatalf("superctl status: %s", stderr)
	}
	var v any
	d := json.NewDecoder(strings.NewReader(stdout))
	d.UseNumber()
	ts.Check(d.Decode(&v))
	for _, key := range strings.Split(args[1], ".") {
		switch node := v.(type) {
		case map[string]any:
			child, ok := node[key]
			if !ok {
				ts.Fatalf("status has no %s in %s:\n%s", key, args[1], stdout)
			}
			v = child
		case []any:
			v = element(node, key)
			if v == nil {
				ts.Fatalf("status has no %s in %s:\n%s", key, args[1], stdout)
			}
		default:
			ts.Fatalf("status has no %s:\n%s", args[1], stdout)
		}
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// element is a list's element by its number or its name, or nil.
func element(list []any, key string) any {
	if i, err := strconv.Atoi(key); err == nil && i < len(list) {
		return list[i]
	}
	for _, v := range list {
		if m, ok := v.(map[string]any); ok && m["name"] == key {
			return v
		}
	}
	return nil
}

// alive PID... wants processes to live; with ! waits until they do not.
func alive(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		ts.Check(err)
		if neg {
			eventually(ts, "the end of pid "+arg, func() bool { return !lives(pid) })
		} else if !lives(pid) {
			ts.Fatalf("pid %d does not live", pid)
		}
	}
}

// lives tells whether a pid is a process that is no zombie.
func lives(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(data, ')')
	return i > 0 && i+2 < len(data) && data[i+2] != 'Z' && data[i+2] != 'X'
}

// same A B wants two values to be equal.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if (args[0] == args[1]) == neg {
		ts.Fatalf("%s and %s", args[0], args[1])
	}
}

// killpid SIGNAL PID sends a signal to a process that superd started.
func killpid(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(args[1])
	ts.Check(err)
	sig, ok := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "STOP": syscall.SIGSTOP,
		"CONT": syscall.SIGCONT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2}[args[0]]
	if !ok {
		ts.Fatalf("no signal %s", args[0])
	}
	if pid == 0 {
		pid = hostOf(ts).process.Pid
	}
	ts.Check(syscall.Kill(pid, sig))
}

// numbers FILE... wants the lines of the files together to be 1, 2, 3 and so on:
// none lost, none torn, none twice, none out of order. It wants at least one.
func numbers(ts *testscript.TestScript, neg bool, args []string) {
	next := 1
	for _, name := range args {
		for _, line := range strings.Split(strings.TrimSuffix(ts.ReadFile(ts.MkAbs(name)), "\n"), "\n") {
			if line != strconv.Itoa(next) {
				ts.Fatalf("%s: %q where %d was expected", name, line, next)
			}
			next++
		}
	}
	if next == 1 {
		ts.Fatalf("no lines")
	}
}

// cleanUp ends what a script has left: superd, its keeper and all runs.
func (h *host) cleanUp(t testscript.T) {
	if h.process == nil {
		return
	}
	if t.(interface{ Failed() bool }).Failed() {
		t.Log("superd said:\n" + h.said())
	}
	h.process.Kill()
	<-h.ended
	for _, pid := range h.processes() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes are what belongs to this host: keepers, which were started for its
// folder, and workers, which write into its FIFOs.
func (h *host) processes() []int {
	var pids []int
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range entries {
		line, _ := os.ReadFile(dir + "/cmdline")
		out, _ := os.Readlink(dir + "/fd/1")
		if bytes.Contains(line, []byte("\x00keep\x00")) && bytes.Contains(line, []byte(h.dir)) || strings.HasPrefix(out, h.dir+"/run/fifos/") {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// descendants are a process's children and theirs.
func descendants(pid int) []int {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var all []int
	for _, f := range strings.Fields(string(data)) {
		if child, err := strconv.Atoi(f); err == nil {
			all = append(all, child)
			all = append(all, descendants(child)...)
		}
	}
	return all
}

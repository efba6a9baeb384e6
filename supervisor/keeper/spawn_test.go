package keeper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// write makes a file with a mode, whatever the umask.
func write(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFailuresNameTheirStage(t *testing.T) {
	r := newRig(t)
	plain := write(t, "plain", "just text\n", 0o755)
	closed := write(t, "closed", "#!/bin/sh\n", 0o644)
	script := write(t, "script", "#!/no/such/interpreter -x\n", 0o755)
	dir := t.TempDir()
	for _, c := range []struct {
		name          string
		change        func(*Spawn)
		stage, reason string
	}{
		{"directory", func(s *Spawn) { s.Dir = "/no/such" }, "directory", "directory /no/such: no such file or directory"},
		{"no directory", func(s *Spawn) { s.Dir = plain }, "directory", "directory " + plain + ": not a directory"},
		{"program", func(s *Spawn) { s.Path = "/no/prog" }, "exec", "program /no/prog: no such file or directory"},
		{"relative", func(s *Spawn) { s.Dir = dir; s.Path = "./prog" }, "exec", "program ./prog: no such file or directory"},
		{"mode", func(s *Spawn) { s.Path = closed }, "exec", "program " + closed + ": permission denied (it is not marked executable)"},
		{"a directory", func(s *Spawn) { s.Path = dir }, "exec", "program " + dir + ": it is a directory"},
		{"interpreter", func(s *Spawn) { s.Path = script }, "exec", "program " + script + ": its interpreter /no/such/interpreter: no such file or directory"},
		{"format", func(s *Spawn) { s.Path = plain }, "exec", "program " + plain + ": neither an executable of this machine nor a script with #! in its first line"},
		{"path", func(s *Spawn) { s.Path = "nosuchprogram"; s.Env = []string{"PATH=/usr/bin:/bin"} }, "exec", "program nosuchprogram: not found in PATH /usr/bin:/bin"},
		{"zero byte", func(s *Spawn) { s.Args = []string{"sh", "a\x00b"} }, "exec", "program /bin/sh: an argument or variable has a zero byte in it"},
		{"cgroup", func(s *Spawn) { s.Cgroup = "/no/cgroup" }, "fork", "cgroup /no/cgroup: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, direct bool) {
				s := shell("exit 0", nil)
				s.Direct = direct
				c.change(&s)
				id := r.spawn(s)
				ev := r.wait(id, SpawnFailed)
				if ev.Stage != c.stage || ev.Reason != c.reason {
					t.Errorf("failed at stage %q: %q\nwant     stage %q: %q", ev.Stage, ev.Reason, c.stage, c.reason)
				}
				r.Acknowledge(id)
			})
		})
	}
}

func TestCredentials(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	both(t, func(t *testing.T, direct bool) {
		out := outFile(t)
		s := shell("id -u; id -g; id -G; umask; pwd; cat /proc/self/oom_score_adj", out)
		s.Direct, s.Umask, s.Dir = direct, 0o027, "/usr"
		s.Credential = &proc.Credential{UID: 65534, GID: 65534, Groups: []uint32{65534, 7, 4711}}
		id := r.spawn(s)
		r.wait(id, Exited)
		own, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := content(t, out), "65534\n65534\n65534 7 4711\n0027\n/usr\n"+string(own); got != want {
			t.Errorf("the worker says\n%s\nwant\n%s", got, want)
		}
		r.Acknowledge(id)
	})
	// A directory that only root may enter: the credentials are dropped before.
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	both(t, func(t *testing.T, direct bool) {
		s := shell("exit 0", nil)
		s.Direct, s.Dir, s.Credential = direct, closed, &proc.Credential{UID: 65534, GID: 65534}
		id := r.spawn(s)
		ev := r.wait(id, SpawnFailed)
		if ev.Stage != proc.StageDirectory || !strings.HasSuffix(ev.Reason, ": permission denied") {
			t.Errorf("%+v", ev)
		}
		r.Acknowledge(id)
	})
	// 2^32-1 means "leave it" to setuid(2), and is refused as a user.
	both(t, func(t *testing.T, direct bool) {
		s := shell("exit 0", nil)
		s.Direct, s.Credential = direct, &proc.Credential{UID: 1<<32 - 1, GID: 65534}
		id := r.spawn(s)
		if ev := r.wait(id, SpawnFailed); ev.Stage != proc.StageCredentials || ev.Reason != "user 4294967295: invalid argument" {
			t.Errorf("%+v", ev)
		}
		r.Acknowledge(id)
	})
}

// limit is a pointer to a number.
func limit[T any](v T) *T { return &v }

func TestLimits(t *testing.T) {
	r := newRig(t)
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		t.Fatal(err)
	}
	out := outFile(t)
	s := shell("ulimit -Sn; ulimit -Hn; ulimit -c; nice; cat /proc/self/oom_score_adj; umask", out)
	s.Umask = 0o077
	s.Limits = config.Limits{
		NoFile: limit(uint64(123)), NProc: limit(uint64(5000)), Core: limit(uint64(1 << 20)),
		Nice: limit(7), OOMScoreAdj: limit(500),
	}
	id := r.spawn(s)
	r.wait(id, Exited)
	if got, want := content(t, out), "123\n123\n2048\n7\n500\n0077\n"; got != want {
		t.Errorf("the worker says\n%s\nwant\n%s", got, want)
	}
	r.Acknowledge(id)
}

// capable tells whether the process has a capability, which root may lack.
func capable(t *testing.T, n uint) bool {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return set&(1<<n) != 0
		}
	}
	t.Fatal("no CapEff in /proc/self/status")
	return false
}

func TestForbiddenLimitsAreWarnings(t *testing.T) {
	if capable(t, unix.CAP_SYS_RESOURCE) {
		t.Skip("nothing is forbidden to a process with CAP_SYS_RESOURCE")
	}
	r := newRig(t)
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		t.Fatal(err)
	}
	out := outFile(t)
	s := shell("ulimit -Sn; ulimit -Hn", out)
	s.Limits = config.Limits{NoFile: limit(have.Max + 1), OOMScoreAdj: limit(-1000)}
	id := r.spawn(s)
	var warnings []string
	for len(warnings) < 2 {
		warnings = append(warnings, r.wait(id, Warning).Warnings...)
	}
	r.wait(id, Started)
	r.wait(id, Exited)
	want := []string{
		fmt.Sprintf("limits.nofile: %d is not permitted on this host; %d is set", have.Max+1, have.Max),
		"limits.oom_score_adj: -1000 is not permitted on this host; it stays as it was",
	}
	if strings.Join(warnings, "|") != strings.Join(want, "|") {
		t.Errorf("warnings %q\nwant     %q", warnings, want)
	}
	if got, want := content(t, out), fmt.Sprintf("%d\n%d\n", have.Max, have.Max); got != want {
		t.Errorf("the worker has %q, want %q", got, want)
	}
	r.Acknowledge(id)
}

// status is what a worker's /proc/self/status has under some names.
func status(text string, names ...string) map[string]string {
	found := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		for _, n := range names {
			if n == name {
				found[n] = strings.TrimSpace(value)
			}
		}
	}
	return found
}

func TestWorkerInheritsNothingOfOurs(t *testing.T) {
	// A keeper that was started with ignored and blocked signals, as by nohup. Some
	// of them the runtime leaves alone.
	for _, sig := range []int{int(unix.SIGHUP), int(unix.SIGTSTP), int(unix.SIGCONT), int(unix.SIGPIPE), 33, 35} {
		defer ignore(t, sig)()
	}
	defer block(t, unix.SIGUSR2)()
	r := newRig(t)
	both(t, func(t *testing.T, direct bool) {
		out := outFile(t)
		s := Spawn{Path: "/bin/sh", Args: []string{"sh", "-c", "cat /proc/self/status; ls -l /proc/self/fd; exec env"},
			Env: []string{"A=1", "PATH=/usr/bin:/bin"}, Dir: "/", Direct: direct, Stdout: out, Stderr: out}
		id := r.spawn(s)
		r.wait(id, Exited)
		text := content(t, out)
		for name, value := range status(text, "SigBlk", "SigIgn", "SigPnd", "SigCgt") {
			// cat itself catches nothing.
			if strings.Trim(value, "0") != "" {
				t.Errorf("the worker has %s %s", name, value)
			}
		}
		for fd := 4; fd < 30; fd++ { // 3 is ls's own folder
			if strings.Contains(text, fmt.Sprintf(" %d -> ", fd)) {
				t.Errorf("the worker has descriptor %d:\n%s", fd, text)
			}
		}
		if !strings.Contains(text, " 0 -> /dev/null\n") {
			t.Errorf("the worker's standard input is not /dev/null:\n%s", text)
		}
		env := text[strings.LastIndex(text, " -> "):]
		if !strings.Contains(env, "A=1\n") || strings.Contains(env, "HOME=") {
			t.Errorf("the worker's environment is %s", env)
		}
		r.Acknowledge(id)
	})
}

// ignore sets a signal to be ignored behind the runtime's back.
func ignore(t *testing.T, sig int) (restore func()) {
	t.Helper()
	type sigaction struct {
		handler uintptr
		flags   uint64
		rest    [3]uintptr
	}
	call := func(act, old *sigaction) {
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), 8, 0, 0); e != 0 {
			t.Fatal(e)
		}
	}
	var old sigaction
	call(&sigaction{handler: 1}, &old)
	return func() { call(&old, nil) }
}

// block blocks a signal on the thread of the test, which is then not left.
func block(t *testing.T, sig syscall.Signal) (restore func()) {
	t.Helper()
	runtime.LockOSThread()
	var old, set unix.Sigset_t
	set.Val[0] = 1 << (sig - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	}
}

func TestSessionAndGroup(t *testing.T) {
	r := newRig(t)
	both(t, func(t *testing.T, direct bool) {
		s := shell("exec sleep 1000", nil)
		s.Direct = direct
		id := r.spawn(s)
		ev := r.wait(id, Started)
		eventually(t, "the program is sleep", func() bool {
			st, err := proc.ReadStat(ev.PID)
			return err == nil && st.Comm == "sleep"
		})
		st, err := proc.ReadStat(ev.PID)
		if err != nil {
			t.Fatal(err)
		}
		if st.SID != ev.PID || st.PGID != ev.PID || st.PPID != r.PID() || st.StartTicks != ev.StartTicks {
			t.Errorf("the worker is %+v, the event %+v, the keeper %d", st, ev, r.PID())
		}
		r.Signal(id, syscall.SIGTERM, config.ScopeMain, 0)
		if ev := r.wait(id, Exited); ev.Status.Signal != syscall.SIGTERM {
			t.Errorf("%+v", ev)
		}
		r.Acknowledge(id)
	})
}

func TestForkedComesBeforeTheProgram(t *testing.T) {
	r := newRig(t)
	s := shell("exit 3", nil)
	s.Direct = false
	id := r.spawn(s)
	forked := r.wait(id, Forked)
	started := r.wait(id, Started)
	if forked.PID == 0 || forked.PID != started.PID || forked.StartTicks != started.StartTicks {
		t.Errorf("forked %+v, started %+v", forked, started)
	}
	if ev := r.wait(id, Exited); ev.Status.Code != 3 {
		t.Errorf("%+v", ev)
	}
	r.Acknowledge(id)
}

func TestProgramIsFoundInTheWorkersPath(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	open := filepath.Join(dir, "open")
	for path, mode := range map[string]os.FileMode{closed: 0o644, open: 0o755} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "prog"), []byte("#!/bin/sh\nexit 5\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int{"/no/where:" + closed + ":" + open: 5, "open": 5} {
		s := shell("", nil)
		s.Path, s.Args, s.Dir, s.Env = "prog", []string{"prog"}, dir, []string{"PATH=" + path}
		id := r.spawn(s)
		if ev := r.wait(id, Exited); ev.Status.Code != want {
			t.Errorf("PATH %s: %+v", path, ev)
		}
		r.Acknowledge(id)
	}
	s := shell("", nil)
	s.Path, s.Args, s.Env = "prog", []string{"prog"}, []string{"PATH=/no/where:" + closed}
	id := r.spawn(s)
	if ev := r.wait(id, SpawnFailed); ev.Reason != "program "+closed+"/prog: permission denied (it is not marked executable)" {
		t.Errorf("%+v", ev)
	}
	r.Acknowledge(id)
}

func TestSpecLargerThanAPacket(t *testing.T) {
	r := newRig(t)
	both(t, func(t *testing.T, direct bool) {
		out := outFile(t)
		s := shell(`echo ${#BIG} ${#AND}`, out)
		s.Direct = direct
		s.Env = append(s.Env, "BIG="+strings.Repeat("x", 100_000), "AND="+strings.Repeat("y", 100_000))
		id := r.spawn(s)
		r.wait(id, Exited)
		if got := content(t, out); got != "100000 100000\n" {
			t.Errorf("the worker says %q", got)
		}
		r.Acknowledge(id)
	})
	s := shell("", nil)
	s.Run = newRun()
	s.Env = []string{strings.Repeat("x", proc.MaxSpec+1)}
	if err := r.Spawn(context.Background(), s); err == nil || !strings.Contains(err.Error(), "at most 8388608 are allowed") {
		t.Errorf("a spec beyond all bounds: %v", err)
	}
	// More than the kernel takes is the run's failure.
	s.Env = []string{strings.Repeat("x", 1<<20)}
	r.spawn(s)
	if ev := r.wait(s.Run, SpawnFailed); ev.Stage != proc.StageExec || ev.Reason != "program /bin/sh: argument list too long" {
		t.Errorf("%+v", ev)
	}
	r.Acknowledge(s.Run)
}

func TestASpawnIsRepeatable(t *testing.T) {
	r := newRig(t)
	out := outFile(t)
	s := shell("echo once; exit 4", out)
	s.Run, s.Label = newRun(), "mailers/0"
	for range 3 {
		r.spawn(s)
	}
	first := r.wait(s.Run, Exited)
	// Asked again after the end, and before that is acknowledged.
	r.spawn(s)
	started, again := r.wait(s.Run, Started), r.wait(s.Run, Exited)
	if again.PID != first.PID || again.Status != first.Status || started.PID != first.PID {
		t.Errorf("first told %+v, then %+v and %+v", first, started, again)
	}
	runs, _, err := r.List(t.Context())
	if err != nil || len(runs) != 1 || runs[0].Label != s.Label || runs[0].Status.Code != 4 {
		t.Fatalf("list: %+v, %v", runs, err)
	}
	r.Acknowledge(s.Run)
	r.spawn(s)
	if ev := r.wait(s.Run, SpawnFailed); !strings.Contains(ev.Reason, "not started twice") {
		t.Errorf("%+v", ev)
	}
	r.Acknowledge(s.Run)
	if got := content(t, out); got != "once\n" {
		t.Errorf("the worker ran more than once, or never: %q", got)
	}
}

func TestWrongSpawnsAreRefusedAtOnce(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		change func(*Spawn)
		want   string
	}{
		{func(s *Spawn) { s.Run = "" }, "1 to 32 are allowed"},
		{func(s *Spawn) { s.Run = "UPPER" }, "other characters than 0-9 and a-z"},
		{func(s *Spawn) { s.KillScope = "main" }, "main is no kill scope"},
		{func(s *Spawn) { s.KillScope = "all" }, `there is no scope "all"`},
		{func(s *Spawn) { s.KillScope = config.ScopeCgroup }, "no cgroup is named"},
		{func(s *Spawn) { s.Cgroup = "relative" }, "no absolute path"},
		{func(s *Spawn) { s.Path = "" }, "names no program"},
		{func(s *Spawn) { s.Args = nil }, "not even the program's name"},
		{func(s *Spawn) { s.Umask = 0o1000 }, "at most 0777"},
		{func(s *Spawn) { s.Hold = map[string]*os.File{"a b": os.Stdin} }, "printable"},
	} {
		s := shell("exit 0", nil)
		s.Run = newRun()
		c.change(&s)
		if err := r.Spawn(context.Background(), s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want it to say %q", err, c.want)
		}
	}
}

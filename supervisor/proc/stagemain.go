package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// StageMain is the whole life of a stage: it becomes the program that its spec
// names, or reports why not. It returns the exit code of a failure. The caller
// is main, before it has looked at anything.
//
// Everything is done on one thread, since nice and the signal mask belong to
// threads, and whichever thread executes the program hands its own on.
func StageMain() int {
	runtime.LockOSThread()
	unix.CloseOnExec(stageReportFD)
	text, err := ReadSealed(stageSpecFD, MaxSpec)
	if err != nil {
		fmt.Fprintln(os.Stderr, "superd keep --stage: cannot read the spec:", err, "(superd starts this by itself)")
		return 2
	}
	unix.Close(stageSpecFD)
	os.WriteFile("/proc/self/comm", []byte(stageComm), 0)
	var spec Spec
	r := pack.NewReader(text)
	spec.Unpack(r)
	s := &stage{spec: &spec}
	if err := r.End(); err != nil {
		s.report(recFailure, "the spec cannot be read: "+err.Error())
		return 1
	}
	for _, step := range []struct {
		record byte
		do     func() error
	}{
		{recLimits, s.limits},
		{recCredentials, s.credentials},
		{recDirectory, s.directory},
		{recExec, s.exec},
	} {
		s.w.Byte(step.record)
		if err := step.do(); err != nil {
			s.report(recFailure, err.Error())
			return 1
		}
	}
	return 1
}

type stage struct {
	spec *Spec
	w    pack.Writer // not yet written to the pipe
}

// report writes a record, and all that waits before it.
func (s *stage) report(record byte, text string) {
	s.w.Byte(record)
	s.w.String(clip(text))
	s.flush()
}

// flush writes what waits. It is called before each step that may hang, so that
// the reader knows where.
func (s *stage) flush() {
	for len(s.w.Buf) > 0 {
		n, err := unix.Write(stageReportFD, s.w.Buf)
		if err != nil && err != unix.EINTR {
			return
		}
		s.w.Buf = s.w.Buf[max(n, 0):]
	}
}

func (s *stage) warn(format string, args ...any) {
	s.report(recWarning, fmt.Sprintf(format, args...))
}

// limits sets what needs the caller's rights: before the credentials go.
func (s *stage) limits() error {
	l := &s.spec.Limits
	for _, e := range []struct {
		name string
		what int
		want *uint64
	}{
		{"nofile", unix.RLIMIT_NOFILE, l.NoFile},
		{"nproc", unix.RLIMIT_NPROC, l.NProc},
		{"core", unix.RLIMIT_CORE, l.Core},
	} {
		if e.want == nil {
			continue
		}
		if err := s.rlimit(e.name, e.what, *e.want); err != nil {
			return fmt.Errorf("limit %s: %w", e.name, err)
		}
	}
	if l.Nice != nil {
		// Of this thread alone, which is the one that executes the program.
		err := unix.Setpriority(unix.PRIO_PROCESS, 0, *l.Nice)
		if forbidden(err) {
			s.warn("limits.nice: %d is not permitted on this host; it stays as it was", *l.Nice)
		} else if err != nil {
			return fmt.Errorf("nice: %w", err)
		}
	}
	if l.OOMScoreAdj != nil {
		err := os.WriteFile("/proc/self/oom_score_adj", strconv.AppendInt(nil, int64(*l.OOMScoreAdj), 10), 0)
		if forbidden(err) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS) {
			s.warn("limits.oom_score_adj: %d is not permitted on this host; it stays as it was", *l.OOMScoreAdj)
		} else if err != nil {
			return fmt.Errorf("oom_score_adj: %w", bare(err))
		}
	}
	unix.Umask(int(s.spec.Umask))
	return nil
}

// rlimit sets one limit, soft and hard, or as much of it as the host allows.
func (s *stage) rlimit(name string, what int, want uint64) error {
	var have syscall.Rlimit
	if err := syscall.Getrlimit(what, &have); err != nil {
		return err
	}
	// syscall.Setrlimit and not the plain system call: it makes the runtime
	// forget the limit of open files that it would else restore at exec.
	err := syscall.Setrlimit(what, &syscall.Rlimit{Cur: want, Max: want})
	if !forbidden(err) {
		return err
	}
	if want <= have.Max {
		return err
	}
	s.warn("limits.%s: %s is not permitted on this host; %s is set", name, limitText(want), limitText(have.Max))
	return syscall.Setrlimit(what, &syscall.Rlimit{Cur: have.Max, Max: have.Max})
}

func limitText(v uint64) string {
	if v == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(v, 10)
}

func forbidden(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

// bare is an error without the path that the message already has.
func bare(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func (s *stage) credentials() error {
	c := s.spec.Credential
	if c == nil {
		return nil
	}
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("supplementary groups %v: %w", groups, err)
	}
	if err := syscall.Setgid(int(c.GID)); err != nil {
		return fmt.Errorf("group %d: %w", c.GID, err)
	}
	if err := syscall.Setuid(int(c.UID)); err != nil {
		return fmt.Errorf("user %d: %w", c.UID, err)
	}
	return nil
}

func (s *stage) directory() error {
	dir := s.spec.Dir
	if dir == "" {
		dir = "/"
	}
	s.flush()
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("directory %s: %w", dir, err)
	}
	return nil
}

// exec returns only if it has failed.
func (s *stage) exec() error {
	if err := ResetSignals(); err != nil {
		return fmt.Errorf("signals: %w", err)
	}
	s.flush()
	if strings.Contains(s.spec.Path, "/") {
		return s.explain(s.spec.Path, syscall.Exec(s.spec.Path, s.spec.Args, s.spec.Env))
	}
	path, given := lookupEnv(s.spec.Env, "PATH")
	if !given {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	// As execvp(3) does: a folder that cannot be searched or a file that may
	// not be executed is passed over, and remembered if nothing better comes.
	var denied error
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		file := dir + "/" + s.spec.Path
		err := syscall.Exec(file, s.spec.Args, s.spec.Env)
		switch {
		case err == unix.EACCES:
			if denied == nil {
				denied = s.explain(file, err)
			}
		case err == unix.ENOENT && missing(file), err == unix.ENOTDIR:
		default:
			return s.explain(file, err)
		}
	}
	if denied != nil {
		return denied
	}
	return fmt.Errorf("program %s: not found in PATH %s", s.spec.Path, path)
}

func missing(file string) bool { return unix.Access(file, unix.F_OK) == unix.ENOENT }

func lookupEnv(env []string, name string) (string, bool) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// explain says what execve(2) meant: its ENOENT may be about the interpreter.
func (s *stage) explain(file string, err error) error {
	switch err {
	case unix.ENOENT:
		if missing(file) {
			break
		}
		if in := interpreter(file); in != "" {
			return fmt.Errorf("program %s: its interpreter %s: %w", file, in, err)
		}
		return fmt.Errorf("program %s: its dynamic loader: %w", file, err)
	case unix.ENOEXEC:
		return fmt.Errorf("program %s: neither an executable of this machine nor a script with #! in its first line", file)
	case unix.EACCES:
		var st unix.Stat_t
		if unix.Stat(file, &st) == nil {
			switch {
			case st.Mode&unix.S_IFMT == unix.S_IFDIR:
				return fmt.Errorf("program %s: it is a directory", file)
			case st.Mode&0o111 == 0:
				return fmt.Errorf("program %s: %w (it is not marked executable)", file, err)
			}
			if in := interpreter(file); in != "" {
				return fmt.Errorf("program %s or its interpreter %s: %w", file, in, err)
			}
		}
	case unix.EINVAL:
		for _, list := range [][]string{s.spec.Args, s.spec.Env, {file}} {
			for _, e := range list {
				if strings.IndexByte(e, 0) >= 0 {
					return fmt.Errorf("program %s: an argument or variable has a zero byte in it", file)
				}
			}
		}
	case unix.EAGAIN:
		return fmt.Errorf("program %s: %w (the user has as many processes as its limit allows)", file, err)
	}
	return fmt.Errorf("program %s: %w", file, err)
}

// interpreter is what the first line of a script asks for. It is read with the
// worker's rights, which the process has by now.
func interpreter(file string) string {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var buf [256]byte
	n, _ := unix.Read(fd, buf[:])
	line, _, _ := strings.Cut(string(buf[:max(n, 0)]), "\n")
	line, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return ""
	}
	if f := strings.Fields(line); len(f) > 0 {
		return f[0]
	}
	return ""
}

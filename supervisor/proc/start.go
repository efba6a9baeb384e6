package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Starter starts processes. Its zero value is not ready: see [NewStarter]. It is
// for one goroutine; while it forks, nothing else in the process may rely on the
// umask.
type Starter struct {
	null  int // /dev/null, everybody's standard input
	umask uint32
	files [5]uintptr
	attr  syscall.ProcAttr
	sys   syscall.SysProcAttr
	cred  syscall.Credential
}

// NewStarter opens what every start needs.
func NewStarter() (*Starter, error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /dev/null: %w", err)
	}
	umask, err := currentUmask()
	if err != nil {
		unix.Close(null)
		return nil, err
	}
	return &Starter{null: null, umask: umask}, nil
}

// currentUmask asks /proc: umask(2) can only be asked by changing it, which the
// files that other goroutines make would feel.
func currentUmask() (uint32, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("cannot tell the umask: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "Umask:"); ok {
			u, err := strconv.ParseUint(strings.TrimSpace(v), 8, 32)
			return uint32(u), err
		}
	}
	return 0, fmt.Errorf("cannot tell the umask: /proc/self/status does not have it (Linux 4.7 is needed)")
}

// Umask is the umask that a start without a wish of its own should ask for: the
// process's.
func (s *Starter) Umask() uint32 { return s.umask }

// Close closes what NewStarter has opened.
func (s *Starter) Close() error { return unix.Close(s.null) }

// Null is a descriptor of /dev/null, the Starter's own.
func (s *Starter) Null() int { return s.null }

// Files are what a new process gets besides its spec: descriptors that stay the
// caller's.
type Files struct {
	Stdout, Stderr int // 0: /dev/null
	// Cgroup is an opened folder of cgroup v2 that the process is born into; 0: the caller's.
	Cgroup int
	// Extra is the new process's descriptor 3 (Direct only); 0: it has none.
	Extra int
}

// Process is a new process, pinned. The PIDFD is the caller's to close.
type Process struct{ PID, PIDFD int }

// Direct forks and executes spec at once, as leader of a session and a process
// group of its own. It returns when the program is executed; until then the
// whole caller stands still (see the package comment), so Dir and Path must be
// known to lie on local file systems. Limits must be None and Path must have a
// slash. Any failure leaves nothing behind, and does not say at which stage it
// came about: the stage does.
func (s *Starter) Direct(spec *Spec, f Files) (Process, error) {
	s.prepare(f)
	if c := spec.Credential; c != nil {
		s.cred = syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
		s.sys.Credential = &s.cred
	}
	s.attr.Files = s.files[:3]
	if f.Extra > 0 {
		s.files[3] = uintptr(f.Extra)
		s.attr.Files = s.files[:4]
	}
	s.attr.Env = spec.Env
	s.attr.Dir = spec.Dir
	if s.attr.Dir == "" {
		s.attr.Dir = "/"
	}
	if spec.Umask != s.umask {
		unix.Umask(int(spec.Umask))
		s.umask = spec.Umask
	}
	return s.fork(spec.Path, spec.Args)
}

// prepare sets what both ways have in common.
func (s *Starter) prepare(f Files) {
	s.files = [5]uintptr{uintptr(s.null), uintptr(s.null), uintptr(s.null)}
	if f.Stdout > 0 {
		s.files[1] = uintptr(f.Stdout)
	}
	if f.Stderr > 0 {
		s.files[2] = uintptr(f.Stderr)
	}
	// Setsid alone makes session and group; with Setpgid beside it, it fails.
	s.sys = syscall.SysProcAttr{Setsid: true}
	if f.Cgroup > 0 {
		s.sys.UseCgroupFD, s.sys.CgroupFD = true, f.Cgroup
	}
	s.attr = syscall.ProcAttr{Sys: &s.sys}
}

// fork does the deed with what prepare and its caller have set.
func (s *Starter) fork(path string, args []string) (Process, error) {
	pidfd := -1
	s.sys.PidFD = &pidfd
	pid, err := syscall.ForkExec(path, args, &s.attr)
	s.attr, s.sys, s.cred = syscall.ProcAttr{}, syscall.SysProcAttr{}, syscall.Credential{}
	if err != nil {
		return Process{}, err
	}
	if pidfd < 0 {
		// A kernel before 5.2. The child cannot have been reaped by anybody but us.
		if pidfd, err = OpenPIDFD(pid); err != nil {
			syscall.Kill(pid, syscall.SIGKILL)
			syscall.Wait4(pid, nil, 0, nil)
			return Process{}, os.NewSyscallError("pidfd_open", err)
		}
	}
	return Process{PID: pid, PIDFD: pidfd}, nil
}

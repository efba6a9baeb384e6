package proc

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// The stages at which a start can fail. What a caller does before it asks for a
// process is its own business; superd calls that "prepare".
const (
	StageFork        = "fork"        // no process, or the stage itself did not come up
	StageLimits      = "limits"      // rlimits, nice, oom_score_adj
	StageCredentials = "credentials" // groups and user
	StageDirectory   = "directory"   // the working directory
	StageExec        = "exec"        // the program
)

// StageArgs is the command line by which a binary is asked to be a stage: who
// sees it in its own must call StageMain.
var StageArgs = []string{"superd", "keep", "--stage"}

// The descriptors of a stage, besides the three standard ones.
const (
	stageSpecFD   = 3
	stageReportFD = 4
)

// stageComm is the name that a stage gives itself in /proc: it is how a process
// that was killed just before its program was executed is told from one whose
// program ended at once.
const stageComm = "superd:stage"

// The records of the report pipe: a letter for each stage that is entered, or a
// letter, a length and a text.
const (
	recLimits      = 'L'
	recCredentials = 'C'
	recDirectory   = 'D'
	recExec        = 'X'
	recWarning     = 'W'
	recFailure     = 'E'
)

// Stage forks a stage for spec: the process exists when Stage returns, and goes
// on by itself. What it reports is read from report, which is non-blocking and
// the caller's to close, and given to a [Report].
func (s *Starter) Stage(spec *Spec, f Files) (p Process, report int, err error) {
	memfd, err := sealed(spec)
	if err != nil {
		return p, -1, err
	}
	defer unix.Close(memfd)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return p, -1, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(pipe[1])
	s.prepare(f)
	s.files[stageSpecFD], s.files[stageReportFD] = uintptr(memfd), uintptr(pipe[1])
	s.attr.Files = s.files[:]
	s.attr.Dir = "/"
	p, err = s.fork("/proc/self/exe", StageArgs)
	if err != nil {
		unix.Close(pipe[0])
		return p, -1, err
	}
	unix.SetNonblock(pipe[0], true)
	return p, pipe[0], nil
}

// sealed puts a packed spec into memory that nobody can change any more.
func sealed(spec *Spec) (int, error) {
	var w pack.Writer
	spec.Pack(&w)
	if len(w.Buf) > MaxSpec {
		return -1, fmt.Errorf("arguments and environment have %d bytes; at most %d are allowed", len(w.Buf), MaxSpec)
	}
	return Sealed("superd-spec", w.Buf)
}

// Sealed puts data into a memory file that can only be read. The descriptor is
// the caller's.
func Sealed(name string, data []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for off := 0; off < len(data); {
		n, err := unix.Pwrite(fd, data[off:], int64(off))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("write to memfd", err)
		}
		off += n
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("seal memfd", err)
	}
	return fd, nil
}

// ReadSealed reads what Sealed wrote, at most max bytes, and refuses a
// descriptor whose content could change or block: whoever sent it is not trusted.
func ReadSealed(fd, max int) (string, error) {
	const need = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&need != need {
		return "", fmt.Errorf("the descriptor is no sealed memory")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", os.NewSyscallError("fstat", err)
	}
	if st.Size > int64(max) {
		return "", fmt.Errorf("it has %d bytes; at most %d are allowed", st.Size, max)
	}
	var b strings.Builder
	b.Grow(int(st.Size))
	var buf [16 << 10]byte
	for off := int64(0); off < st.Size; {
		n, err := unix.Pread(fd, buf[:min(int64(len(buf)), st.Size-off)], off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", os.NewSyscallError("pread", err)
		}
		if n == 0 {
			return "", io.ErrUnexpectedEOF
		}
		b.Write(buf[:n])
		off += int64(n)
	}
	return b.String(), nil
}

// Report is what a stage has said so far. The zero value is ready.
type Report struct {
	Stage    string   // it is at, or failed at
	Failed   bool     // it named a failure: no program will be executed
	Reason   string   // of the failure
	Warnings []string // what the host forbids
	rest     []byte
}

const (
	maxReport   = 16 << 10 // bytes of one stage's report; a real one has some hundred
	maxWarnings = 16
	maxReason   = 1 << 10 // bytes
)

// Read takes what is in the pipe. Done means that the other end is closed: by
// the program's execution, or by the end of the process. See [Report.Executed].
func (r *Report) Read(fd int) (done bool) {
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil, n == 0:
			return true
		default:
			r.feed(buf[:n])
		}
	}
}

// feed takes more bytes of the report; nonsense becomes a failure.
func (r *Report) feed(data []byte) {
	if r.Failed {
		return
	}
	r.rest = append(r.rest, data...)
	if len(r.rest) > maxReport {
		r.fail("the stage's report has no end")
		return
	}
	for len(r.rest) > 0 && !r.Failed {
		p := pack.NewReader(string(r.rest))
		before := len(r.rest)
		kind := p.Byte()
		switch kind {
		case recLimits:
			r.Stage = StageLimits
		case recCredentials:
			r.Stage = StageCredentials
		case recDirectory:
			r.Stage = StageDirectory
		case recExec:
			r.Stage = StageExec
		case recWarning, recFailure:
			text := p.String()
			if p.Err() != nil {
				return // the rest is still on its way
			}
			text = clip(text)
			if kind == recFailure {
				r.fail(text)
			} else if len(r.Warnings) < maxWarnings {
				r.Warnings = append(r.Warnings, text)
			}
		default:
			r.fail("the stage's report makes no sense")
		}
		r.rest = r.rest[before-p.Left():]
	}
}

func (r *Report) fail(reason string) {
	if r.Stage == "" {
		r.Stage = StageFork
	}
	r.Failed, r.Reason = true, reason
}

// Executed judges a stage whose pipe is closed. It must be asked before the
// process is reaped: a dead one is told by the name that it died with.
func (r *Report) Executed(p Process) bool {
	if r.Failed || r.Stage != StageExec {
		return false
	}
	if !Ended(p.PIDFD) {
		return true
	}
	st, err := ReadStat(p.PID)
	return err != nil || st.Comm != stageComm
}

// clip bounds a text that is kept.
func clip(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

package proc

import (
	"bytes"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// report packs what a stage would say.
func report(parts ...any) []byte {
	var w pack.Writer
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			w.Byte(p)
		case rune:
			w.Byte(byte(p))
		case string:
			w.String(p)
		}
	}
	return w.Buf
}

func TestReport(t *testing.T) {
	whole := report(recLimits, recWarning, "nice", recCredentials, recDirectory, recFailure, "directory /x: no")
	// However it is cut into pieces.
	for cut := range whole {
		var r Report
		r.feed(whole[:cut])
		r.feed(whole[cut:])
		if !r.Failed || r.Stage != StageDirectory || r.Reason != "directory /x: no" || len(r.Warnings) != 1 || r.Warnings[0] != "nice" {
			t.Errorf("cut at %d: %+v", cut, r)
		}
	}
	for name, data := range map[string][]byte{
		"nonsense":      []byte("hello"),
		"without end":   []byte(strings.Repeat("L", 1) + "W\xff\xff\x01" + strings.Repeat("x", maxReport)),
		"a huge number": []byte("E\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" + strings.Repeat("x", maxReport)),
	} {
		var r Report
		r.feed(data)
		if !r.Failed || r.Stage == "" || r.Reason == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	var r Report
	for range 1000 {
		r.feed(report(recWarning, "w"))
	}
	if len(r.Warnings) != maxWarnings {
		t.Errorf("%d warnings are kept", len(r.Warnings))
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte("LCDX"), 2)
	f.Add(report(recLimits, recWarning, "nice", recFailure, "no"), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		var whole, parts Report
		whole.feed(data)
		cut = min(max(cut, 0), len(data))
		parts.feed(data[:cut])
		parts.feed(data[cut:])
		if len(data) < maxReport && (whole.Failed != parts.Failed || whole.Stage != parts.Stage || whole.Reason != parts.Reason) {
			t.Errorf("in one piece %+v, in two %+v", whole, parts)
		}
	})
}

func FuzzSpec(f *testing.F) {
	var w pack.Writer
	fine := 5
	(&Spec{Path: "/bin/true", Args: []string{"true"}, Env: []string{"A=1"}, Dir: "/", Umask: 0o22,
		Credential: &Credential{UID: 1, GID: 2, Groups: []uint32{3}}, Limits: Limits{Nice: &fine}}).Pack(&w)
	f.Add(string(w.Buf))
	f.Add("")
	f.Fuzz(func(t *testing.T, data string) {
		var s, back Spec
		r := pack.NewReader(data)
		s.Unpack(r)
		if r.End() != nil {
			return
		}
		var w pack.Writer
		s.Pack(&w)
		r = pack.NewReader(string(w.Buf))
		back.Unpack(r)
		if err := r.End(); err != nil || !reflect.DeepEqual(s, back) {
			t.Errorf("%+v\ncomes back as %+v, %v", s, back, err)
		}
	})
}

func TestStageReportsWhatItIs(t *testing.T) {
	s, err := NewStarter()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		spec     Spec
		executed bool
		stage    string
		status   ExitStatus
	}{
		{Spec{Path: "/bin/sh", Args: []string{"sh", "-c", "exit 12"}}, true, StageExec, ExitStatus{Code: 12}},
		{Spec{Path: "/no/such", Args: []string{"x"}}, false, StageExec, ExitStatus{Code: 1}},
		{Spec{Path: "/bin/sh", Args: []string{"sh"}, Dir: "/no/such"}, false, StageDirectory, ExitStatus{Code: 1}},
	} {
		p, fd, err := s.Stage(&c.spec, Files{})
		if err != nil {
			t.Fatal(err)
		}
		var r Report
		eventually(t, "it ends", func() bool { return Ended(p.PIDFD) })
		if !r.Read(fd) {
			t.Error("its pipe is open")
		}
		if r.Executed(p) != c.executed || r.Stage != c.stage || r.Failed == c.executed {
			t.Errorf("%+v: %+v", c.spec, r)
		}
		st, ok, err := Reap(p.PIDFD)
		st.Rusage = Rusage{}
		if st != c.status || !ok || err != nil {
			t.Errorf("%+v: %+v %v %v", c.spec, st, ok, err)
		}
		unix.Close(fd)
		unix.Close(p.PIDFD)
	}
}

// A stage whose parent ignores and blocks signals, some of which the runtime
// leaves alone, hands none of that on.
func TestStageResetsSignals(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, sig := range []int{int(unix.SIGCONT), int(unix.SIGTSTP), 33} {
		var old sigaction
		if err := rtSigaction(sig, &sigaction{handler: sigIgnore}, &old); err != nil {
			t.Fatal(err)
		}
		defer func() {
			// Its flags are not in our struct: the default is what it was.
			if err := rtSigaction(sig, &sigaction{}, nil); err != nil {
				t.Error(err)
			}
		}()
	}
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGUSR2 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	s, err := NewStarter()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, fd, err := s.Stage(&Spec{Path: "/bin/cat", Args: []string{"cat", "/proc/self/status"}}, Files{Stdout: int(out.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	defer unix.Close(p.PIDFD)
	eventually(t, "it ends", func() bool { _, ok, err := Reap(p.PIDFD); return ok || err != nil })
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		if !bytes.Contains(text, []byte(name+":\t0000000000000000\n")) {
			t.Errorf("%s is not empty in\n%s", name, text)
		}
	}
}

package proc

import (
	"reflect"
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

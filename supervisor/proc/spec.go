package proc

import (
	"fmt"

	"github.com/superd/superd/supervisor/proc/pack"
)

// Spec is a process to be started. Its standard files are not in it: they are
// descriptors, and travel on their own.
type Spec struct {
	// Path is the program. With a slash in it, it is used as it is, relative to
	// Dir; without one it is looked for in the PATH of Env.
	Path string
	Args []string // argv, the program's name included
	Env  []string // KEY=VALUE; the whole environment, nothing is added
	Dir  string   // working directory; empty is "/"
	// Credential is whom the process runs as; nil leaves the caller's own, and
	// is the only choice of a caller without the right to change.
	Credential *Credential
	Umask      uint32
	Limits     Limits
}

// Credential is a user as the kernel knows it.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // supplementary; nil: none
}

// Limits is what the kernel limits by itself. Nil leaves what the caller has.
// It has the fields of the configuration's table, so that one converts to the other.
type Limits struct {
	NoFile      *uint64 // RLIMIT_NOFILE, soft and hard
	NProc       *uint64 // RLIMIT_NPROC
	Core        *uint64 // RLIMIT_CORE in bytes
	Nice        *int    // -20 to 19
	OOMScoreAdj *int    // -1000 to 1000
}

// None tells that nothing is limited.
func (l Limits) None() bool { return l == Limits{} }

// MaxSpec is how many bytes a packed Spec may have: more than the kernel takes
// as arguments and environment.
const MaxSpec = 8 << 20

// Pack appends the spec to w.
func (s *Spec) Pack(w *pack.Writer) {
	w.String(s.Path)
	w.Strings(s.Args)
	w.Strings(s.Env)
	w.String(s.Dir)
	w.Uint(uint64(s.Umask))
	w.Bool(s.Credential != nil)
	if c := s.Credential; c != nil {
		w.Uint(uint64(c.UID))
		w.Uint(uint64(c.GID))
		w.Uint(uint64(len(c.Groups)))
		for _, g := range c.Groups {
			w.Uint(uint64(g))
		}
	}
	for _, u := range []*uint64{s.Limits.NoFile, s.Limits.NProc, s.Limits.Core} {
		w.Bool(u != nil)
		if u != nil {
			w.Uint(*u)
		}
	}
	for _, i := range []*int{s.Limits.Nice, s.Limits.OOMScoreAdj} {
		w.Bool(i != nil)
		if i != nil {
			w.Int(int64(*i))
		}
	}
}

// Unpack reads what Pack wrote. What was wrong is in r's error.
func (s *Spec) Unpack(r *pack.Reader) {
	s.Path = r.String()
	s.Args = r.Strings()
	s.Env = r.Strings()
	s.Dir = r.String()
	s.Umask = r.Uint32()
	if r.Bool() {
		c := &Credential{UID: r.Uint32(), GID: r.Uint32()}
		if n := r.Count(); n > 0 {
			c.Groups = make([]uint32, n)
			for i := range c.Groups {
				c.Groups[i] = r.Uint32()
			}
		}
		s.Credential = c
	}
	for _, u := range []**uint64{&s.Limits.NoFile, &s.Limits.NProc, &s.Limits.Core} {
		if r.Bool() {
			v := r.Uint()
			*u = &v
		}
	}
	for _, i := range []**int{&s.Limits.Nice, &s.Limits.OOMScoreAdj} {
		if r.Bool() {
			v := r.Int32()
			*i = &v
		}
	}
	if err := s.Check(); err != nil {
		r.Fail(err)
	}
}

// Check refuses what no kernel could start.
func (s *Spec) Check() error {
	switch {
	case s.Path == "":
		return fmt.Errorf("the spec names no program")
	case len(s.Args) == 0:
		return fmt.Errorf("the spec has no arguments, not even the program's name")
	case s.Umask > 0o777:
		return fmt.Errorf("the spec's umask is %#o; at most 0777 is allowed", s.Umask)
	}
	return nil
}

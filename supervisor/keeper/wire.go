package keeper

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/proc/pack"
)

// A packet is a kind, a request number and a body. The request number comes back
// in the answer; 0 asks for none, and what is to be said about such a request
// comes as an event of its run.
//
// The first packet of a connection is a hello. It has the same form in every
// version for good: a magic word, the lowest and the highest version that the
// sender speaks. The answer names the one to be spoken, the highest that both
// know. Bodies of one version never change (testdata/wire-1.txt has their bytes); a
// new field or request is a new version, and is sent only to who speaks it: both
// [Client] and the keeper's conn know the version of the connection.
//
// superd speaks all versions back to the first, for as long as runs may live whose
// keeper speaks no other. The version is also what tells that a keeper is to be
// followed by a new one (see several.go): whoever mends the keeper so that hosts must
// have it whose runs go on for days makes a new version of it.

// newestVersion and lowestVersion are variables for the tests alone, which build
// superds of other versions (-ldflags "-X ...").
var (
	newestVersion = "1"
	lowestVersion = "1"
)

// Version is the newest version of the protocol that is spoken here.
var Version = versionNumber(newestVersion)

func versionNumber(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("keeper: no version: " + s)
	}
	return n
}

// ourHello tells which versions are spoken here.
func ourHello() hello {
	return hello{lowest: uint64(versionNumber(lowestVersion)), highest: uint64(Version)}
}

const magic = "superd-keeper"

// maxPacket bounds a packet. A spec that does not fit travels in sealed memory.
const maxPacket = 64 << 10

type kind byte

const (
	reqHello kind = iota + 1
	reqHold
	reqRelease
	reqFetch
	reqSpawn
	reqSignal
	reqSweep
	reqList
	reqAcknowledge
	reqAdopt
	reqEnd
	reqObserve // instead of a hello: whoever sends it may list, and takes nobody's place
)

const (
	ansHello   kind = iota + 64
	ansDone         // the request is done
	ansRefused      // it is not: a code and a text
	ansHeld         // to fetch: the descriptor is beside it
	ansRuns         // to list: some of the runs
	ansListed       // to list: names of held descriptors, and whether they are the last
	ansEvents       // unasked: what has happened
)

// The codes of ansRefused.
const (
	refuseOther   = 0
	refuseNotHeld = 1
	refuseLive    = 2
)

// scopes are the kill scopes and signal scopes by their number on the wire.
var scopes = [...]config.Scope{config.ScopeMain, config.ScopeProcess, config.ScopeGroup, config.ScopeCgroup}

const (
	scopeMain uint8 = iota
	scopeProcess
	scopeGroup
	scopeCgroup
)

func scopeNumber(s config.Scope) (uint8, error) {
	if s == "" {
		return scopeGroup, nil
	}
	for i, have := range scopes {
		if s == have {
			return uint8(i), nil
		}
	}
	return 0, fmt.Errorf("there is no scope %.40q", s)
}

func readScope(r *pack.Reader) uint8 {
	b := r.Byte()
	if int(b) >= len(scopes) {
		r.Fail(fmt.Errorf("there is no scope %d", b))
		return 0
	}
	return b
}

func readRun(r *pack.Reader) string {
	id := r.String()
	if r.Err() == nil {
		if err := checkRun(id); err != nil {
			r.Fail(err)
		}
	}
	// Out of the packet, which else would be kept alive by these few bytes.
	return strings.Clone(id)
}

func readLabel(r *pack.Reader) string {
	label := r.String()
	if len(label) > maxLabel {
		r.Fail(fmt.Errorf("the label has %d bytes; at most %d are allowed", len(label), maxLabel))
		return ""
	}
	return strings.Clone(label)
}

func readName(r *pack.Reader) string {
	name := r.String()
	if r.Err() == nil {
		if err := checkName(name); err != nil {
			r.Fail(err)
		}
	}
	return strings.Clone(name)
}

func head(w *pack.Writer, k kind, id uint64) {
	w.Byte(byte(k))
	w.Uint(id)
}

// hello is the first packet of a client.
type hello struct{ lowest, highest uint64 }

func (h hello) pack(w *pack.Writer) {
	w.String(magic)
	w.Uint(h.lowest)
	w.Uint(h.highest)
}

// readHello passes over what a later version may add.
func readHello(r *pack.Reader) (h hello, err error) {
	word := r.String()
	h = hello{lowest: r.Uint(), highest: r.Uint()}
	if r.Err() != nil || word != magic {
		return h, errors.New("this is not superd: the first packet is no hello")
	}
	return h, nil
}

// choose is the version to be spoken with a peer.
func (h hello) choose() (uint64, error) {
	ours := ourHello()
	if h.lowest > h.highest || h.lowest > ours.highest || h.highest < ours.lowest {
		age := "an older"
		if h.highest < ours.lowest {
			age = "a newer"
		}
		return 0, fmt.Errorf("superd speaks the versions %d to %d of the keeper's protocol, this keeper %d to %d (%s superd has started it: start that one again, until its runs have ended)",
			h.lowest, h.highest, ours.lowest, ours.highest, age)
	}
	return min(h.highest, ours.highest), nil
}

// spawnPacket is a spawn as it travels. Its descriptors are beside the packet, in
// this order: stdout, stderr (if its own), the held ones, the spec's memory.
type spawnPacket struct {
	run, label     string
	scope          uint8
	cgroup         string
	direct         bool
	stdout, stderr uint8 // outNone, outOwn, outSame
	hold           []string
	apart          bool // the spec is in memory of its own
	spec           proc.Spec
}

const (
	outNone uint8 = iota // /dev/null
	outOwn               // a descriptor beside the packet
	outSame              // stderr: the same as stdout
)

// descriptors is how many must be beside the packet.
func (s *spawnPacket) descriptors() int {
	n := len(s.hold)
	for _, have := range []bool{s.stdout == outOwn, s.stderr == outOwn, s.apart} {
		if have {
			n++
		}
	}
	return n
}

func (s *spawnPacket) pack(w *pack.Writer) {
	w.String(s.run)
	w.String(s.label)
	w.Byte(s.scope)
	w.String(s.cgroup)
	w.Bool(s.direct)
	w.Byte(s.stdout)
	w.Byte(s.stderr)
	w.Strings(s.hold)
	w.Bool(s.apart)
	if !s.apart {
		s.spec.Pack(w)
	}
}

func (s *spawnPacket) unpack(r *pack.Reader) {
	s.run, s.label = readRun(r), readLabel(r)
	s.scope = readScope(r)
	s.cgroup = strings.Clone(r.String())
	s.direct = r.Bool()
	s.stdout, s.stderr = r.Byte(), r.Byte()
	n := r.Count()
	if n > maxHold {
		r.Fail(fmt.Errorf("%d descriptors to hold; at most %d are allowed", n, maxHold))
	}
	for range n {
		if r.Err() != nil {
			return
		}
		s.hold = append(s.hold, readName(r))
	}
	s.apart = r.Bool()
	if err := s.check(); err != nil {
		r.Fail(err)
	}
	if !s.apart && r.Err() == nil {
		s.spec.Unpack(r)
	}
}

// check refuses what makes no sense. Both sides do it: superd, to say so at once,
// and the keeper, which trusts nobody.
func (s *spawnPacket) check() error {
	switch {
	case len(s.label) > maxLabel:
		return fmt.Errorf("the label has %d bytes; at most %d are allowed", len(s.label), maxLabel)
	case s.scope == scopeMain:
		return errors.New("main is no kill scope")
	case s.scope == scopeCgroup && s.cgroup == "":
		return errors.New("the kill scope is cgroup, and no cgroup is named")
	case len(s.cgroup) > maxCgroup || s.cgroup != "" && s.cgroup[0] != '/':
		return errors.New("the cgroup is no absolute path")
	case s.stdout > outOwn || s.stderr > outSame:
		return errors.New("there is no such standard output")
	case len(s.hold) > maxHold:
		return fmt.Errorf("%d descriptors to hold; at most %d are allowed", len(s.hold), maxHold)
	}
	for _, name := range s.hold {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func packAdopt(w *pack.Writer, a *Adopt, scope uint8) {
	w.String(a.Run)
	w.String(a.Label)
	w.Int(int64(a.PID))
	w.Uint(a.StartTicks)
	w.Byte(scope)
	w.String(a.Cgroup)
	w.Uint(uint64(a.UID))
}

func readAdopt(r *pack.Reader) (a Adopt, scope uint8) {
	a.Run, a.Label = readRun(r), readLabel(r)
	a.PID = r.Int32()
	a.StartTicks = r.Uint()
	scope = readScope(r)
	a.Cgroup = strings.Clone(r.String())
	a.UID = r.Uint32()
	switch {
	case r.Err() != nil:
	case a.PID <= 1:
		r.Fail(fmt.Errorf("%d is no pid of a run", a.PID))
	case scope == scopeMain:
		r.Fail(errors.New("main is no kill scope"))
	case len(a.Cgroup) > maxCgroup || a.Cgroup != "" && a.Cgroup[0] != '/':
		r.Fail(errors.New("the cgroup is no absolute path"))
	case scope == scopeCgroup && a.Cgroup == "":
		r.Fail(errors.New("the kill scope is cgroup, and no cgroup is named"))
	}
	return a, scope
}

func (s *RunState) pack(w *pack.Writer) {
	w.String(s.Run)
	w.String(s.Label)
	w.Byte(byte(s.Phase))
	w.Int(int64(s.PID))
	w.Uint(s.StartTicks)
	w.Bool(s.Adopted)
	w.String(s.Stage)
	w.String(s.Reason)
	packStatus(w, &s.Status)
	w.Bool(s.Gone)
	w.Int(int64(s.Signals))
	w.Strings(s.Warnings)
	w.Uint(uint64(len(s.Leftovers)))
	for _, l := range s.Leftovers {
		w.Int(int64(l.PID))
		w.String(l.State)
		w.String(l.Comm)
	}
}

func (s *RunState) unpack(r *pack.Reader) {
	s.Run, s.Label = readRun(r), readLabel(r)
	s.Phase = Phase(r.Byte())
	s.PID = r.Int32()
	s.StartTicks = r.Uint()
	s.Adopted = r.Bool()
	s.Stage = r.String()
	s.Reason = r.String()
	readStatus(r, &s.Status)
	s.Gone = r.Bool()
	s.Signals = r.Int32()
	s.Warnings = r.Strings()
	for range r.Count() {
		l := proc.Leftover{PID: r.Int32(), State: r.String(), Comm: r.String()}
		if r.Err() != nil {
			return
		}
		s.Leftovers = append(s.Leftovers, l)
	}
}

func packStatus(w *pack.Writer, s *proc.ExitStatus) {
	w.Int(int64(s.Code))
	w.Uint(uint64(s.Signal))
	w.Bool(s.Core)
	w.Bool(s.Unknown)
	w.Uint(uint64(s.Rusage.User))
	w.Uint(uint64(s.Rusage.System))
	w.Uint(uint64(s.Rusage.MaxRSS))
}

func readStatus(r *pack.Reader, s *proc.ExitStatus) {
	s.Code = r.Int32()
	s.Signal = syscall.Signal(r.Uint32())
	s.Core = r.Bool()
	s.Unknown = r.Bool()
	s.Rusage.User = time.Duration(r.Uint())
	s.Rusage.System = time.Duration(r.Uint())
	s.Rusage.MaxRSS = int64(r.Uint())
}

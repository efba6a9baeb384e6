package keeper

import (
	"errors"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// packet is one packet as it travels.
func packet(k kind, id uint64, body func(w *pack.Writer)) []byte {
	var w pack.Writer
	head(&w, k, id)
	if body != nil {
		body(&w)
	}
	return w.Buf
}

func goodSpawn() *spawnPacket {
	return &spawnPacket{
		run: "abc", label: "pool/0", scope: scopeGroup, direct: true, stdout: outOwn, stderr: outSame,
		hold: []string{"abc.out"},
		spec: proc.Spec{
			Path: "/bin/true", Args: []string{"true"}, Env: []string{"A=1", ""}, Dir: "/tmp", Umask: 0o22,
			Credential: &proc.Credential{UID: 1, GID: 2, Groups: []uint32{3, 4}},
			Limits:     proc.Limits{NoFile: limit(uint64(5)), Nice: limit(-3)},
		},
	}
}

// goodPackets are one of each request.
func goodPackets() map[string][]byte {
	run := func(w *pack.Writer) { w.String("abc") }
	name := func(w *pack.Writer) { w.String("control") }
	return map[string][]byte{
		"hello":   packet(reqHello, 1, hello{1, 1}.pack),
		"spawn":   packet(reqSpawn, 0, goodSpawn().pack),
		"hold":    packet(reqHold, 2, name),
		"release": packet(reqRelease, 3, name),
		"fetch":   packet(reqFetch, 4, name),
		"signal": packet(reqSignal, 0, func(w *pack.Writer) {
			w.String("abc")
			w.Uint(15)
			w.Byte(scopeGroup)
			w.Int(1)
		}),
		"sweep":       packet(reqSweep, 0, run),
		"list":        packet(reqList, 5, nil),
		"acknowledge": packet(reqAcknowledge, 0, run),
		"adopt": packet(reqAdopt, 6, func(w *pack.Writer) {
			packAdopt(w, &Adopt{Run: "abc", PID: 4711, StartTicks: 17, UID: 1000}, scopeGroup)
		}),
		"end": packet(reqEnd, 7, nil),
	}
}

// read decodes a packet as the keeper does, without doing what it says.
func read(data string) error {
	r := pack.NewReader(data)
	k := kind(r.Byte())
	r.Uint()
	switch k {
	case reqHello:
		h, err := readHello(r)
		if err != nil {
			return err
		}
		_, err = h.choose()
		return err
	case reqSpawn:
		var s spawnPacket
		s.unpack(r)
		if r.Err() == nil {
			s.descriptors()
		}
	case reqHold, reqRelease, reqFetch:
		readName(r)
	case reqSignal:
		readRun(r)
		r.Uint32()
		readScope(r)
		r.Int32()
	case reqSweep, reqAcknowledge:
		readRun(r)
	case reqAdopt:
		readAdopt(r)
	case ansEvents, ansRuns:
		for r.Left() > 0 {
			var s RunState
			s.unpack(r)
		}
	}
	return r.End()
}

func FuzzPacket(f *testing.F) {
	for _, p := range goodPackets() {
		f.Add(string(p))
	}
	state := RunState{Run: "abc", Phase: PhaseEnded, PID: 5, Leftovers: []proc.Leftover{{PID: 6, State: "D", Comm: "x"}}}
	f.Add(string(packet(ansRuns, 1, state.pack)))
	f.Add("")
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, data string) {
		read(data)
	})
}

func TestPacketsAreReadAsTheyWereWritten(t *testing.T) {
	for name, p := range goodPackets() {
		if err := read(string(p)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// Cut short anywhere, and with something behind, it is an error.
		for n := range p {
			if n > 1 && read(string(p[:n])) == nil {
				t.Errorf("%s: cut to %d bytes it is accepted", name, n)
			}
		}
		if err := read(string(p) + "x"); err == nil && name != "hello" {
			t.Errorf("%s: a byte behind it is accepted", name)
		}
	}
	want := goodSpawn()
	var w pack.Writer
	want.pack(&w)
	var got spawnPacket
	r := pack.NewReader(string(w.Buf))
	got.unpack(r)
	if err := r.End(); err != nil || !reflect.DeepEqual(&got, want) {
		t.Errorf("%v: %+v\nwant %+v", err, got, want)
	}
	state := RunState{
		Run: "abc", Label: "l", Phase: PhaseEnded, PID: 5, StartTicks: 1 << 60, Adopted: true, Stage: "exec", Reason: "r",
		Status: proc.ExitStatus{Code: -1, Signal: 9, Core: true, Rusage: proc.Rusage{User: 1, System: 2, MaxRSS: 3}},
		Gone:   true, Signals: 7, Warnings: []string{"w"}, Leftovers: []proc.Leftover{{PID: 6, State: "D", Comm: "c"}},
	}
	w.Buf = nil
	state.pack(&w)
	var back RunState
	r = pack.NewReader(string(w.Buf))
	back.unpack(r)
	if err := r.End(); err != nil || !reflect.DeepEqual(back, state) {
		t.Errorf("%v: %+v\nwant %+v", err, back, state)
	}
}

// raw is a connection that says whatever it likes.
type raw struct {
	*net.UnixConn
	t *testing.T
}

func (r *rig) raw(t *testing.T, greet bool) raw {
	t.Helper()
	var conn *net.UnixConn
	eventually(t, "the keeper takes a call", func() bool {
		var err error
		conn, err = connect(r.dir, socketName)
		if err != nil && !errors.Is(err, unix.EAGAIN) { // its queue is full for now
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	c := raw{conn, t}
	if greet {
		c.say(goodPackets()["hello"])
		if k, _ := c.hear(); k != ansHello {
			t.Fatalf("the keeper answers a hello with %d", k)
		}
	}
	return c
}

func (c raw) say(p []byte, fds ...int) {
	c.t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := c.WriteMsgUnix(p, oob, nil); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads one packet: its kind, and what a refusal says. 0: hung up.
func (c raw) hear() (kind, string) {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(bound))
	buf := make([]byte, maxPacket)
	n, err := c.Read(buf)
	if err != nil || n == 0 {
		return 0, ""
	}
	r := pack.NewReader(string(buf[:n]))
	k := kind(r.Byte())
	r.Uint()
	if k != ansRefused {
		return k, ""
	}
	r.Uint()
	return k, r.String()
}

func TestBadPacketsGetAClearAnswer(t *testing.T) {
	r := newRig(t)
	c := r.raw(t, true)
	for _, x := range []struct {
		packet []byte
		want   string
	}{
		{[]byte{0}, "has no request 0"},
		{[]byte{99, 0}, "has no request 99"},
		{[]byte{99}, "has no request 99"},
		{packet(reqSweep, 0, func(w *pack.Writer) { w.String("../x") }), "other characters than"},
		{packet(reqSweep, 0, func(w *pack.Writer) { w.String("a"); w.Byte(0) }), "1 bytes are left over"},
		{packet(reqSignal, 0, func(w *pack.Writer) { w.String("a"); w.Uint(1 << 40) }), "too large"},
		{packet(reqAdopt, 0, func(w *pack.Writer) { packAdopt(w, &Adopt{Run: "a", PID: 1}, scopeGroup) }), "1 is no pid of a run"},
		{packet(reqHold, 1, func(w *pack.Writer) { w.String("name") }), "0 descriptors came"},
		{packet(reqSpawn, 0, func(w *pack.Writer) { w.String("A") }), "other characters than"},
		{[]byte(strings.Repeat("\x06", maxPacket+1)), "larger than 65536 bytes"},
	} {
		c.say(x.packet)
		if k, text := c.hear(); k != ansRefused || !strings.Contains(text, x.want) {
			t.Errorf("%.40q gets %d %q; want it to say %q", x.packet, k, text, x.want)
		}
	}
	// A spawn whose run is known and whose rest is nonsense is that run's failure.
	c.say(packet(reqSpawn, 0, func(w *pack.Writer) { w.String("broken"); w.Byte(200) }))
	if k, _ := c.hear(); k != ansEvents {
		t.Errorf("a broken spawn gets %d", k)
	}
	// As many descriptors as it needs, and not one less.
	c.say(packet(reqSpawn, 0, goodSpawn().pack), 0)
	if k, _ := c.hear(); k != ansEvents {
		t.Errorf("a spawn without its descriptors gets %d", k)
	}
	r.dial(false)
	runs, _, err := r.List(t.Context())
	if err != nil || len(runs) != 2 {
		t.Fatalf("%+v, %v", runs, err)
	}
	for _, s := range runs {
		if s.Phase != PhaseFailed || s.Stage != proc.StageFork || !strings.HasPrefix(s.Reason, "the keeper cannot read the spawn: ") {
			t.Errorf("%+v", s)
		}
	}
}

func TestStrangersAreHungUpOn(t *testing.T) {
	r := newRig(t)
	c := r.raw(t, false)
	c.say(goodPackets()["end"])
	if k, text := c.hear(); k != ansRefused || text != "the first packet is no hello" {
		t.Errorf("%d %q", k, text)
	}
	if k, _ := c.hear(); k != 0 {
		t.Errorf("it goes on talking: %d", k)
	}
	c = r.raw(t, false)
	c.say(packet(reqHello, 1, hello{7, 9}.pack))
	if k, text := c.hear(); k != ansRefused || !strings.Contains(text, "speaks the versions 7 to 9") {
		t.Errorf("%d %q", k, text)
	}
	// Many that say nothing neither keep superd out nor pile up.
	for range 3 * maxWaiting {
		r.raw(t, false)
	}
	if _, err := r.Fetch("x"); !errors.Is(err, ErrNotHeld) {
		t.Error(err)
	}
	r.dial(false)
}

func TestOtherUsersAreHungUpOn(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	// The socket's mode keeps others out; should it be changed, the keeper does.
	for path, mode := range map[string]os.FileMode{r.dir: 0o755, r.dir + "/..": 0o755, r.dir + "/" + socketName: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	out := outFile(t)
	s := shell(`exec python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.settimeout(10)
try:
    print("got", len(s.recv(100)))
except ConnectionError:
    print("got 0")
' "$SOCK"`, out)
	s.Env = append(s.Env, "SOCK="+r.dir+"/"+socketName)
	s.Credential = &proc.Credential{UID: 65534, GID: 65534}
	id := r.spawn(s)
	r.wait(id, Exited)
	if got := content(t, out); got != "got 0\n" {
		t.Errorf("another user's call says %q", got)
	}
}

func TestAPeerThatAsksAndDoesNotReadIsCutOff(t *testing.T) {
	r := newRig(t)
	c := r.raw(t, true)
	long := packet(reqFetch, 1, func(w *pack.Writer) { w.String(strings.Repeat("n", maxName)) })
	c.SetWriteDeadline(time.Now().Add(bound))
	for {
		if _, err := c.Write(long); err != nil {
			if !strings.Contains(err.Error(), syscall.EPIPE.Error()) && !strings.Contains(err.Error(), syscall.ECONNRESET.Error()) {
				t.Errorf("the keeper did not hang up: %v", err)
			}
			break
		}
	}
	r.dial(false)
}

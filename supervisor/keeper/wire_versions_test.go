package keeper

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/proc/pack"
)

// packets1 is one packet of each kind in version 1, in the words of the protocol.
func packets1() map[string]func(*pack.Writer) {
	state := RunState{Run: "a1", Label: "pool/0", Phase: PhaseEnded, PID: 4711, StartTicks: 12345678901, Adopted: true,
		Stage: "exec", Reason: "no", Gone: true, Signals: 3, Warnings: []string{"one", "two"},
		Status:    proc.ExitStatus{Code: 7, Signal: syscall.SIGTERM, Core: true, Unknown: true, Rusage: proc.Rusage{User: time.Second, System: 2 * time.Second, MaxRSS: 1 << 20}},
		Leftovers: []proc.Leftover{{PID: 4712, State: "D", Comm: "sleep"}}}
	spawn := spawnPacket{run: "a1", label: "pool/0", scope: scopeCgroup, cgroup: "/sys/fs/cgroup/x", direct: true, stdout: outOwn, stderr: outSame,
		hold: []string{"a1.out", "a1.err"}, spec: proc.Spec{Path: "/bin/true", Args: []string{"true", ""}, Env: []string{"A=b"}, Dir: "/",
			Credential: &proc.Credential{UID: 1, GID: 2, Groups: []uint32{3}}, Umask: 0o22, Limits: proc.Limits(config.Limits{})}}
	apart := spawn
	apart.apart = true
	packet := func(k kind, body func(*pack.Writer)) func(*pack.Writer) {
		return func(w *pack.Writer) {
			head(w, k, 300)
			if body != nil {
				body(w)
			}
		}
	}
	name := func(w *pack.Writer) { w.String("control") }
	run := func(w *pack.Writer) { w.String("a1") }
	return map[string]func(*pack.Writer){
		"hello":       packet(reqHello, hello{1, 1}.pack),
		"observe":     packet(reqObserve, hello{1, 1}.pack),
		"hold":        packet(reqHold, name),
		"release":     packet(reqRelease, name),
		"fetch":       packet(reqFetch, name),
		"spawn":       packet(reqSpawn, spawn.pack),
		"spawn apart": packet(reqSpawn, apart.pack),
		"signal":      packet(reqSignal, func(w *pack.Writer) { run(w); w.Uint(15); w.Byte(scopeGroup); w.Int(2) }),
		"sweep":       packet(reqSweep, run),
		"list":        packet(reqList, nil),
		"acknowledge": packet(reqAcknowledge, run),
		"adopt": packet(reqAdopt, func(w *pack.Writer) {
			packAdopt(w, &Adopt{Run: "a1", Label: "pool/0", PID: 4711, StartTicks: 12345678901, Cgroup: "/sys/fs/cgroup/x", UID: 33}, scopeProcess)
		}),
		"end":     packet(reqEnd, nil),
		"hello!":  packet(ansHello, func(w *pack.Writer) { w.Uint(1); w.Uint(815) }),
		"done!":   packet(ansDone, nil),
		"refuse!": packet(ansRefused, func(w *pack.Writer) { w.Uint(refuseLive); w.String("2 runs live") }),
		"held!":   packet(ansHeld, nil),
		"runs!":   packet(ansRuns, state.pack),
		"listed!": packet(ansListed, func(w *pack.Writer) { w.Bool(true); w.Strings([]string{"control", "a1.out"}) }),
		"events!": packet(ansEvents, func(w *pack.Writer) { w.Byte(byte(Exited)); state.pack(w) }),
	}
}

// TestBytesOfVersion1: what keepers of version 1 read and write, of which some may
// still run when nobody remembers them, does not change.
func TestBytesOfVersion1(t *testing.T) {
	const file = "testdata/wire-1.txt"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if name, bytes, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && line[0] != '#' {
			want[name] = bytes
		}
	}
	have := packets1()
	for name, pack1 := range have {
		var w pack.Writer
		pack1(&w)
		if got := fmt.Sprintf("%x", w.Buf); got != want[name] {
			t.Errorf("%s is\n%s: %s\nin %s it is\n%s: %s", name, name, got, file, name, want[name])
		}
	}
	if len(want) != len(have) {
		t.Errorf("%s has %d packets, and there are %d", file, len(want), len(have))
	}
}

package core

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/signals"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// TestTranscripts plays each testdata/*.txt and compares what follows with what is
// written there. A line that begins with "> " is something that happens:
//
//	> pool web count=2 update.max_parallel=1   the configuration on disk gets this pool
//	> drop web                                 and has it no more
//	> begin, > apply                           superd starts; takes the configuration on
//	> start web/1, > stop web now, > restart web, > scale web 3, > signal web USR1
//	> process web/0 deaf life=3s code=1        what runs from now on will do (see behaves)
//	> exit web/0 1                             its process ends by itself, by code or signal
//	> look web/0 busy|idle [changed]           its title was looked at, and has changed since the last look
//	> wait 10s                                 time passes, with all that comes of it
//	> crash, > crash before spawn              superd dies, at once or before such a deed
//	> keeper dies, > reboot, > leave [now] [detach] [within 15s]
//	> show                                     the workers as they are
//
// All other lines are what follows; `go test -update` writes them.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			now := play(t, string(old))
			if now == string(old) {
				return
			}
			if !*update {
				t.Fatalf("%s: something else follows (if that is right: go test ./supervisor/core -update)\n%s", file, now)
			}
			if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// script plays a transcript.
type script struct {
	*world
	t         *testing.T
	names     *names
	behaviour map[string]behaviour // by pool or slot
	states    map[string]WorkerState
	out       []string
}

func play(t *testing.T, text string) string {
	s := &script{world: newWorld(), t: t, names: newNames(), behaviour: map[string]behaviour{}}
	s.behave = func(slot string) behaviour {
		if b, ok := s.behaviour[slot]; ok {
			return b
		}
		pool, _, _ := strings.Cut(slot, "/")
		return s.behaviour[pool]
	}
	s.watch = func(ev Event, done []Action) {
		s.names.learn(done)
		lines := describeStep(s.now.Boot-bootStart.Boot, ev, done)
		after := states(s.core)
		lines = slices.Insert(lines, 1, changes(s.states, after)...)
		s.states = after
		if _, tick := ev.(Tick); tick && len(lines) == 1 {
			return
		}
		for _, line := range lines {
			s.out = append(s.out, s.names.in(line))
		}
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case broken:
			t.Fatalf("%s\n%s", strings.Join(s.out, "\n"), r)
		default:
			panic(r)
		}
	}()
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		what, given := strings.CutPrefix(line, "> ")
		switch {
		case given:
			s.out = append(s.out, line)
			s.do(words(what))
			s.read()
		case line == "" || strings.HasPrefix(line, "#"):
			s.out = append(s.out, line)
		}
	}
	return strings.Join(s.out, "\n") + "\n"
}

// words splits a line at spaces that are not in quotes.
func words(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

// do has one line happen.
func (s *script) do(w []string) {
	last := w[len(w)-1]
	switch w[0] {
	case "pool":
		s.configurePool(w[1], w[2:])
	case "drop":
		s.specs = slices.DeleteFunc(slices.Clone(s.specs), func(spec Spec) bool { return spec.Config.Name == w[1] })
	case "begin":
		s.states = nil
		s.world.start()
	case "apply":
		s.step(Configure{Specs: s.specs})
	case "start", "stop", "restart", "scale", "signal":
		s.order(w)
	case "process":
		s.behaviour[w[1]] = s.behaves(w[2:])
	case "exit":
		p := s.keeper.find(s.worker(w[1]).Run.ID)
		code, err := strconv.Atoi(last)
		e := End{Code: code}
		if err != nil {
			e = End{Signal: last}
		}
		s.keeper.exit(p, e, s.now.Boot)
		s.pass(s.now.Boot)
	case "look":
		ev := Observed{Run: s.worker(w[1]).Run.ID, Work: Work(w[2])}
		if last == "changed" {
			ev.Changed = s.now
		}
		s.step(ev)
	case "wait":
		s.pass(s.now.Boot + s.duration(last))
	case "crash":
		if len(w) == 1 {
			s.crash()
			return
		}
		s.dieBefore = func(_ int, a Action) bool { return strings.HasPrefix(describeAction(a), last) }
	case "keeper":
		s.keeperDies()
	case "reboot":
		s.reboot()
	case "leave":
		leave := Leave{Now: slices.Contains(w, "now"), Detach: slices.Contains(w, "detach"), By: "uid 0"}
		if i := slices.Index(w, "within"); i >= 0 {
			leave.Within, leave.By = s.duration(w[i+1]), "the system goes down"
		}
		s.step(leave)
	case "show":
		for _, name := range s.core.names() {
			for _, worker := range s.core.Pools[name].Workers {
				s.out = append(s.out, fmt.Sprintf("    %s/%d is %s, revision %d, %d restarts", name, worker.Index, worker.State, worker.Revision, worker.Restarts))
			}
		}
	default:
		s.t.Fatalf("what is %q?", w)
	}
}

// worker finds "web/0".
func (s *script) worker(slot string) *Worker {
	pool, index, _ := strings.Cut(slot, "/")
	return s.core.Pools[pool].Workers[s.number(index)]
}

func (s *script) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) duration(text string) time.Duration {
	d, err := signals.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// order gives a command.
func (s *script) order(w []string) {
	pool, index, single := strings.Cut(w[1], "/")
	c := Command{Verb: Verb(w[0]), Pool: pool, Now: w[len(w)-1] == "now"}
	if single {
		c.Workers = []int{s.number(index)}
	}
	switch c.Verb {
	case VerbScale:
		c.Count = s.number(w[2])
	case VerbSignal:
		c.Signal = w[2]
	case VerbRestart:
		if len(w) > 2 {
			c.Release = w[2]
		}
	}
	s.command(c)
}

// behaves reads what a process will do: deaf (ignores all but KILL), hangs (before
// its program), fails=STAGE, life=3s with code=1 or signal=SEGV, obeys=2s,
// stubborn=30s (stays after KILL), leaves=12s (something behind).
func (s *script) behaves(w []string) behaviour {
	var b behaviour
	for _, word := range w {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "deaf":
			b.deaf = true
		case "hangs":
			b.hangs = true
		case "fails":
			b.fails = value
		case "life":
			b.life = s.duration(value)
		case "code":
			b.end = End{Code: s.number(value)}
		case "signal":
			b.end = End{Signal: value}
		case "obeys":
			b.obeys = s.duration(value)
		case "stubborn":
			b.stubborn = s.duration(value)
		case "leaves":
			b.leaves = s.duration(value)
		default:
			s.t.Fatalf("what is %s?", word)
		}
	}
	return b
}

// configurePool puts a pool into the configuration on disk: the keys are those of
// the real one, and so is what reads them.
func (s *script) configurePool(name string, keys []string) {
	text := "[pool." + name + "]\n"
	if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, "command=") }) {
		text += "command = \"" + name + "\"\n"
	}
	text += strings.Join(keys, "\n") + "\n"
	after := slices.IndexFunc(keys, func(k string) bool { return strings.HasPrefix(k, "after=") })
	if after >= 0 {
		for _, spec := range s.specs {
			if spec.Config.Name != name {
				text += "[pool." + spec.Config.Name + "]\ncommand = \"x\"\n"
			}
		}
	}
	cfg, err := config.LoadBytes("/superd.toml", []byte(text), config.Options{})
	if err != nil {
		s.t.Fatalf("%s\n%v", text, err)
	}
	s.specs = slices.DeleteFunc(slices.Clone(s.specs), func(spec Spec) bool { return spec.Config.Name == name })
	s.specs = append(s.specs, Spec{Config: cfg.Pools[name], Release: "/"})
}

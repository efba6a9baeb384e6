package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/superd/superd/signals"
)

// names gives the IDs of runs and operations short names, in the order of their
// appearance: a run is "web/0#2", an operation "op3".
type names struct {
	known map[string]string
	runs  map[string]int // by slot
	ops   int
}

func newNames() *names { return &names{known: map[string]string{}, runs: map[string]int{}} }

// learn names the runs that a step asks for.
func (n *names) learn(actions []Action) {
	for _, a := range actions {
		if a, ok := a.(Spawn); ok && n.known[a.Run] == "" {
			slot := a.Pool.worker(a.Worker)
			n.runs[slot]++
			n.known[a.Run] = fmt.Sprintf("%s#%d", slot, n.runs[slot])
		}
	}
}

// in replaces the IDs in a text by their names.
func (n *names) in(text string) string {
	return idPattern.ReplaceAllStringFunc(text, func(id string) string {
		if n.known[id] == "" {
			n.ops++
			n.known[id] = fmt.Sprintf("op%d", n.ops)
		}
		return n.known[id]
	})
}

// describeEvent is an event in words.
func describeEvent(ev Event) string {
	switch ev := ev.(type) {
	case Begin:
		return fmt.Sprintf("superd begins%s", found(ev.Found, ev.SameBoot))
	case Recheck:
		return fmt.Sprintf("another keeper%s", found(ev.Found, true))
	case Configure:
		return "the configuration is applied"
	case Do:
		return "command " + describeCommand(ev.Command)
	case Forked:
		return fmt.Sprintf("%s is forked, pid %d", ev.Run, ev.PID)
	case Started:
		return ev.Run + " is started"
	case SpawnFailed:
		return fmt.Sprintf("%s cannot be started: %s", ev.Run, ev.Reason)
	case Exited:
		return fmt.Sprintf("%s has exited, %s%s", ev.Run, describeEnd(ev.End), map[bool]string{false: ", and left something"}[ev.Gone])
	case Gone:
		return ev.Run + " is gone"
	case Observed:
		return fmt.Sprintf("%s is seen %s", ev.Run, ev.Work)
	case Warned:
		return ev.Run + ": " + ev.Message
	case Leave:
		return fmt.Sprintf("superd is told to end%s%s%s", map[bool]string{true: " within " + ev.Within.String()}[ev.Within > 0], map[bool]string{true: " now"}[ev.Now], map[bool]string{true: ", detached"}[ev.Detach])
	case Tick:
		return "tick"
	}
	return fmt.Sprintf("%T", ev)
}

func found(runs map[string]Found, sameBoot bool) string {
	if !sameBoot {
		return " after a reboot"
	}
	var parts []string
	for _, run := range sortedKeys(runs) {
		f := runs[run]
		what := "is being spawned"
		switch {
		case f.Failed != nil:
			what = "could not be started"
		case f.End != nil && f.Gone:
			what = "has ended, " + describeEnd(*f.End)
		case f.End != nil:
			what = "has ended and left something, " + describeEnd(*f.End)
		case f.Started:
			what = "lives"
		}
		parts = append(parts, run+" "+what)
	}
	if len(parts) == 0 {
		return ""
	}
	return " and finds: " + strings.Join(parts, "; ")
}

func describeEnd(e End) string {
	switch {
	case e.Unknown:
		return "how is unknown"
	case e.Signal != "":
		return "signal " + e.Signal
	}
	return fmt.Sprintf("code %d", e.Code)
}

func describeCommand(c Command) string {
	s := string(c.Verb) + " " + c.Pool
	if len(c.Workers) > 0 {
		s += "/" + strings.Trim(strings.ReplaceAll(fmt.Sprint(c.Workers), " ", ","), "[]")
	}
	switch {
	case c.Verb == VerbScale:
		s += fmt.Sprintf(" to %d", c.Count)
	case c.Verb == VerbSignal:
		s += " " + c.Signal
	case c.Now:
		s += " now"
	}
	return s
}

// describeAction is a deed in words; savings are gathered elsewhere.
func describeAction(a Action) string {
	switch a := a.(type) {
	case SaveExit:
		return "save the exit of " + a.Run.ID
	case SavePool:
		return "save " + a.Pool.Name
	case SaveWorker:
		return "save " + a.Pool.worker(a.Worker)
	case DropPool:
		return "drop " + a.Name
	case DropWorkers:
		return fmt.Sprintf("drop %s/%d and up", a.Pool.Name, a.Count)
	case Spawn:
		return fmt.Sprintf("spawn %s in revision %d", a.Run, a.Revision.Number)
	case CancelSpawn:
		return "give up the spawn of " + a.Run
	case Signal:
		return fmt.Sprintf("signal %s %s to %s, number %d", a.Run, signals.Name(a.Signal), a.Scope, a.Number)
	case Sweep:
		return "sweep " + a.Run
	case Forget:
		return "forget " + a.Run
	case Publish:
		return "event " + describeNotice(a.Notice)
	case Answer:
		return "answer " + describeReply(a.Reply)
	case Quit:
		return fmt.Sprintf("quit with code %d%s", a.Code, map[bool]string{true: ", detached"}[a.Detached])
	}
	return fmt.Sprintf("%T", a)
}

func describeNotice(n Notice) string {
	who := n.Worker
	if who == "" {
		who = n.Pool
	}
	s := strings.TrimSpace(n.Type + " " + who)
	if n.Message != "" {
		s += ": " + n.Message
	}
	if sig, ok := n.Data["signal"].(string); ok && n.Type != "worker.exited" {
		s += " [" + sig + "]"
	}
	return s
}

func describeReply(r Reply) string {
	if r.Refusal != nil {
		return fmt.Sprintf("refused (%s): %s", r.Refusal.Kind, r.Refusal.Message)
	}
	s := r.Operation
	if r.Joined {
		s += ", joined"
	}
	if r.Superseded != "" {
		s += ", superseding " + r.Superseded
	}
	return s
}

// describeStep is a step and its deeds, a line each; savings share one line.
func describeStep(at time.Duration, ev Event, done []Action) []string {
	lines := []string{fmt.Sprintf("%s  %s", signals.FormatDuration(at), describeEvent(ev))}
	var saved []string
	for _, a := range done {
		switch a := a.(type) {
		case SavePool:
			saved = append(saved, a.Pool.Name)
		case SaveWorker:
			saved = append(saved, a.Pool.worker(a.Worker))
		}
	}
	if len(saved) > 0 {
		lines = append(lines, "    save "+strings.Join(saved, ", "))
	}
	for _, a := range done {
		switch a.(type) {
		case SaveExit, SavePool, SaveWorker:
		default:
			lines = append(lines, "    "+describeAction(a))
		}
	}
	return lines
}

// changes are the changes of the workers' states from one look to the next.
func changes(before, after map[string]WorkerState) []string {
	var lines []string
	for _, name := range sortedKeys(after) {
		if was, known := before[name]; known && was != after[name] {
			lines = append(lines, fmt.Sprintf("    %s: %s -> %s", name, was, after[name]))
		}
	}
	return slices.Clip(lines)
}

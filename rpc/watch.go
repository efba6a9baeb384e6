package rpc

import (
	"fmt"
	"time"
)

// settle is how long a worker that came up must stay up before a command that
// wanted it up is called done.
const settle = time.Second

// Watch tells when a command on one pool is done: start when the workers are
// running and ready and still so a second later, stop when their runs have
// ended, a restart of single workers like start, scale when the count is
// reached. A deployment ends by itself and needs no Watch.
//
// It is given pools as they come and waits for nothing. It is for one goroutine.
type Watch struct {
	ask       Ask
	operation Text
	joined    bool
	workers   map[int]bool // nil: all
	watched   map[int]*watched
	counted   bool // scale: the count was seen in force
	looks     int
}

// Ask is the command that a Watch follows.
type Ask struct {
	Verb    string // start, stop, restart or scale
	Workers []int  // those that it named, nil for all
	Count   int    // of scale
	From    int    // of scale: the count before
}

// watched is what is known of one worker.
type watched struct {
	base    Worker // when the command was accepted
	ours    bool   // it was seen in the command's charge
	run     Text   // seen up
	upSince time.Time
	done    bool
	problem string
}

// Outcome is what a look at the pool says.
type Outcome struct {
	Done bool // nothing is left to wait for
	// Problems are why the command did not do what it was to do. With Done it
	// is final, without they are what is certain already.
	Problems []string
	// Superseded is the ID of what took the workers over, or empty.
	Superseded Text
	// Again is when to look again though nothing may have changed; 0: only then.
	Again time.Duration
}

// NewWatch follows the command that reply is the answer to.
func NewWatch(ask Ask, reply *CommandReply) *Watch {
	w := &Watch{ask: ask, operation: reply.Operation, joined: reply.Joined, watched: map[int]*watched{}}
	if ask.Workers != nil {
		w.workers = map[int]bool{}
		for _, i := range ask.Workers {
			w.workers[i] = true
		}
	}
	for _, worker := range reply.Pool.Workers {
		w.watched[worker.Index] = &watched{base: worker}
	}
	return w
}

// Look judges the pool as it is now; nil means that there is no such pool any more.
func (w *Watch) Look(p *Pool, now time.Time) Outcome {
	out := Outcome{Done: true}
	w.looks++
	if p == nil {
		if w.ask.Verb != "stop" {
			out.Problems = append(out.Problems, "the pool is gone")
		}
		return out
	}
	if w.ask.Verb == "scale" && !w.countHolds(p, &out) {
		return out
	}
	present := map[int]bool{}
	for i := range p.Workers {
		worker := &p.Workers[i]
		present[worker.Index] = true
		if !w.concerns(worker.Index) {
			continue
		}
		w.look(worker, now, &out)
	}
	w.missing(p, present, &out)
	return out
}

// countHolds tells whether the count that scale asked for is in force; if not,
// out says what that means.
func (w *Watch) countHolds(p *Pool, out *Outcome) bool {
	if p.Count == w.ask.Count {
		w.counted = true
		return true
	}
	if w.counted {
		out.Problems = append(out.Problems, fmt.Sprintf("the count was changed to %d meanwhile", p.Count))
		return false
	}
	out.Done = false
	return false
}

func (w *Watch) concerns(index int) bool { return w.workers == nil || w.workers[index] }

// look judges one worker.
func (w *Watch) look(worker *Worker, now time.Time, out *Outcome) {
	t := w.watched[worker.Index]
	if t == nil {
		t = &watched{base: Worker{Index: worker.Index}}
		w.watched[worker.Index] = t
	}
	if worker.Operation == w.operation && w.operation != "" {
		t.ours = true
	}
	if !t.done && t.problem == "" {
		w.judge(t, worker, now, out)
	}
	if t.problem != "" {
		out.Problems = append(out.Problems, t.problem)
	} else if !t.done {
		out.Done = false
	}
}

func (w *Watch) judge(t *watched, worker *Worker, now time.Time, out *Outcome) {
	switch {
	case w.ask.Verb == "stop" || (w.ask.Verb == "scale" && worker.Index >= w.ask.Count):
		w.judgeDown(t, worker, out)
	case w.ask.Verb == "scale" && (!w.grown(t, worker) || worker.Desired == "stopped"):
		t.done = true
	default:
		w.judgeUp(t, worker, now, out)
	}
}

// grown tells whether scale brought the worker: what those that were there
// before do has nothing to do with it.
func (w *Watch) grown(t *watched, worker *Worker) bool {
	if w.joined {
		return t.base.State == "starting" || t.base.State == "stopping"
	}
	return worker.Index >= w.ask.From
}

func (w *Watch) judgeDown(t *watched, worker *Worker, out *Outcome) {
	switch {
	case atRest(worker):
		t.done = true
	case w.ask.Verb == "stop" && worker.Desired == "running" && w.takenOver(t, worker):
		w.superseded(t, worker, out)
	}
}

func (w *Watch) judgeUp(t *watched, worker *Worker, now time.Time, out *Outcome) {
	switch {
	case w.takenOver(t, worker):
		w.superseded(t, worker, out)
	case w.crashed(t, worker):
		t.problem = fmt.Sprintf("%s did not come up: %s", worker.Name, worker.LastExit.Reason)
	case worker.State == "failed" && t.ours:
		t.problem = worker.Name + " is failed"
	case worker.State == "completed" && t.ours:
		t.done = true
	case worker.State == "stopped" && worker.Desired == "stopped" && t.ours:
		t.problem = worker.Name + " was stopped"
	case worker.State == "running" && worker.Ready && (w.ask.Verb != "restart" || t.ours):
		w.settled(t, worker, now, out)
	}
}

// settled waits for a worker that is up to stay so.
func (w *Watch) settled(t *watched, worker *Worker, now time.Time, out *Outcome) {
	if t.run != worker.RunID {
		t.run, t.upSince = worker.RunID, now
		if w.looks == 1 && worker.Uptime.Duration() >= settle {
			t.done = true
			return
		}
	}
	left := settle - now.Sub(t.upSince)
	if left <= 0 {
		t.done = true
		return
	}
	if out.Again == 0 || left < out.Again {
		out.Again = left
	}
}

// takenOver tells whether something else has taken charge of the worker since.
func (w *Watch) takenOver(t *watched, worker *Worker) bool {
	return w.operation != "" && worker.Operation != w.operation && worker.Operation != "" &&
		(t.ours || worker.Operation != t.base.Operation)
}

func (w *Watch) superseded(t *watched, worker *Worker, out *Outcome) {
	t.problem = fmt.Sprintf("%s was taken over by %s", worker.Name, worker.Operation)
	out.Superseded = worker.Operation
}

// crashed tells whether a run that the command wanted has failed. The end of
// the run that it replaces is none.
func (w *Watch) crashed(t *watched, worker *Worker) bool {
	exit := worker.LastExit
	if exit == nil || exit.Success || exit.RunID == "" {
		return false
	}
	if t.base.LastExit != nil && t.base.LastExit.RunID == exit.RunID {
		return false
	}
	replaced := w.ask.Verb == "restart" || t.base.State == "stopping"
	return !replaced || exit.RunID != t.base.RunID
}

// missing judges the workers that were named and are not there.
func (w *Watch) missing(p *Pool, present map[int]bool, out *Outcome) {
	if w.ask.Verb == "stop" {
		return
	}
	if w.ask.Verb == "scale" {
		for i := range w.ask.Count {
			if !present[i] {
				out.Done = false
			}
		}
		return
	}
	for i, t := range w.watched {
		if w.concerns(i) && !present[i] {
			if t.problem == "" {
				t.problem = fmt.Sprintf("%s/%d is no longer there: the pool was scaled to %d", p.Name, i, p.Count)
			}
			out.Problems = append(out.Problems, t.problem)
		}
	}
}

// atRest tells whether a worker has no run and waits for none.
func atRest(w *Worker) bool {
	if w.RunID != "" || w.PID != 0 {
		return false
	}
	switch w.State {
	case "stopped", "failed", "completed":
		return true
	}
	return false
}

package main

import (
	"time"

	"github.com/superd/superd/rpc"
)

// trouble is what is wrong with a worker.
type trouble struct {
	state  severity
	what   string // the same word for the same trouble, so that workers can be summed up
	more   string // what is of this worker alone
	cause  string
	counts bool // the worker is wanted: it leaves its pool without one
}

// worker judges one worker; it is in trouble if ok.
func (j *judge) worker(p *rpc.Pool, w *rpc.Worker) (x trouble, ok bool) {
	if s := w.Stopping; s != nil && s.Signal == "KILL" && j.now.Sub(s.At.Time) > afterKill {
		return trouble{state: sevWarning, what: "does not end after KILL", more: "(pid " + number(w.PID) + ")"}, true
	}
	if w.Healthy || !isWanted(p, w) {
		return trouble{}, false
	}
	cause := ""
	if w.LastExit != nil {
		cause = w.LastExit.Reason
	}
	switch w.State {
	case "failed":
		return trouble{sevCritical, "failed", "", cause, true}, true
	case "delayed":
		return trouble{sevWarning, "delayed", j.until(w.NextStartAt), cause, true}, true
	case "backoff":
		return trouble{sevWarning, "in backoff", j.until(w.NextStartAt), cause, true}, true
	case "starting", "running":
		return j.onItsWay(p, w, cause)
	case "stopped":
		return j.notStarted(p, w)
	}
	return trouble{}, false // completed, or in the middle of a stop sequence
}

func (j *judge) until(t rpc.Time) string {
	if t.IsZero() {
		return ""
	}
	return "for " + span(max(0, t.Sub(j.now)))
}

// onItsWay judges a worker that has a run which is not healthy.
func (j *judge) onItsWay(p *rpc.Pool, w *rpc.Worker, cause string) (trouble, bool) {
	limit := j.patience[p.Name]
	switch {
	case w.Window.Used > 0 && w.LastExit != nil && !w.LastExit.Success:
		// A worker that crashes and is restarted without delay is seen like
		// this, and never in backoff.
		return trouble{sevWarning, "restarted and not healthy yet", "", cause, true}, true
	case w.Ready && w.State == "running" && w.Uptime.Duration() > limit.minimum+time.Second:
		return trouble{sevWarning, "not healthy", "after " + span(w.Uptime.Duration()), string(w.StatusText), true}, true
	}
	if due := j.due(p, w); !due.IsZero() {
		if j.now.After(due) {
			return trouble{sevWarning, "not healthy in time", "(" + w.State + ")", "", true}, true
		}
		return trouble{}, false
	}
	if age := j.now.Sub(w.Since.Time); age > limit.deadline {
		return trouble{sevWarning, "not healthy in time", "(" + w.State + " for " + span(age) + ")", "", true}, true
	}
	return trouble{}, false
}

// due is until when the deployment in progress expects a worker to be healthy;
// zero without one.
func (j *judge) due(p *rpc.Pool, w *rpc.Worker) time.Time {
	if p.Deployment != nil {
		for _, s := range p.Deployment.Workers {
			if s.Name == w.Name {
				return s.Deadline.Time
			}
		}
	}
	return time.Time{}
}

// notStarted judges a worker that is to run and has not been begun with.
func (j *judge) notStarted(p *rpc.Pool, w *rpc.Worker) (trouble, bool) {
	if len(p.WaitsFor) > 0 || p.Deployment != nil {
		return trouble{}, false
	}
	if age := j.now.Sub(w.Since.Time); age > j.patience[p.Name].deadline {
		return trouble{sevWarning, "not started", "for " + span(age), "", true}, true
	}
	return trouble{}, false
}

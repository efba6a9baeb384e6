package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/superd/superd/rpc"
)

// manyWorkers is from how many workers on plain progress sums them up.
const manyWorkers = 20

// progress shows how pursuits get on: on a terminal a line for each that is
// drawn anew, else a line for each change.
type progress struct {
	app   *app
	list  []*pursuit
	live  bool // lines are drawn anew
	quiet bool // --json: the answer alone
	drawn int  // lines to go up
	said  map[string]string
	ended map[*pursuit]bool
}

func (a *app) progress(list []*pursuit) *progress {
	return &progress{
		app: a, list: list, live: a.tty && !a.json, quiet: a.json,
		said: map[string]string{}, ended: map[*pursuit]bool{},
	}
}

// update shows what has changed.
func (g *progress) update() {
	switch {
	case g.quiet:
	case g.live:
		g.draw()
	default:
		for _, p := range g.list {
			g.lines(p)
		}
	}
}

// end leaves what was drawn last.
func (g *progress) end() { g.drawn = 0 }

// draw writes one line for each pursuit over those written before.
func (g *progress) draw() {
	var b strings.Builder
	if g.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", g.drawn)
	}
	for _, p := range g.list {
		b.WriteString(cut(p.line(time.Now()), max(20, g.app.width-1)))
		b.WriteByte('\n')
	}
	g.drawn = len(g.list)
	_, _ = g.app.out.Write([]byte(b.String()))
}

// lines prints what has changed with one pursuit, a line for each worker.
func (g *progress) lines(p *pursuit) {
	if g.ended[p] {
		return
	}
	steps := p.steps()
	if len(steps) > manyWorkers {
		g.say(p.target.pool.Name, p.summary(time.Now()))
	} else {
		for _, s := range steps {
			g.say(s.name, s.text)
		}
	}
	if p.finished {
		g.ended[p] = true
		if len(p.problems) == 0 {
			g.app.print("%s", p.line(time.Now()))
		}
	}
}

func (g *progress) say(name, text string) {
	if g.said[name] != text {
		g.said[name] = text
		g.app.print("%s: %s", name, text)
	}
}

// line is a pursuit in one line.
func (p *pursuit) line(now time.Time) string {
	name := p.target.String()
	switch {
	case !p.finished:
		return fmt.Sprintf("%s: %s, %s", name, p.verb.doing, p.summary(now))
	case len(p.problems) > 0:
		return fmt.Sprintf("%s: not %s: %s", name, p.verb.done, several(p.problems))
	case p.pool == nil:
		return fmt.Sprintf("%s: %s", name, p.verb.done)
	}
	return fmt.Sprintf("%s: %s, %s", name, p.verb.done, p.summary(now))
}

// summary counts the workers by state, and says what the slowest waits for.
func (p *pursuit) summary(now time.Time) string {
	if p.pool == nil {
		return "gone"
	}
	if p.deployment != nil && !p.finished {
		return fmt.Sprintf("%d of %d healthy%s", p.deployment.Done, p.deployment.Total, p.current())
	}
	counts := map[string]int{}
	next := ""
	for i := range p.pool.Workers {
		w := &p.pool.Workers[i]
		if !p.target.concerns(w.Index) {
			continue
		}
		counts[w.State]++
		if next == "" {
			next = nextStep(w, now)
		}
	}
	var parts []string
	for _, state := range []string{"running", "starting", "stopping", "backoff", "delayed", "failed", "completed", "stopped"} {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(p.pool.WaitsFor) > 0 {
		parts = append(parts, "waits for "+strings.Join(p.pool.WaitsFor, ", "))
	}
	if next != "" && !p.finished {
		parts = append(parts, "next: "+next)
	}
	if len(parts) == 0 {
		return "no workers"
	}
	return strings.Join(parts, ", ")
}

// current is what a deployment is doing at the moment.
func (p *pursuit) current() string {
	for _, s := range p.deployment.Workers {
		switch s.State {
		case "stopping", "starting", "waiting", "failed":
			return fmt.Sprintf(" (%s %s)", s.Name, stepText(s.State))
		}
	}
	return ""
}

// step is a worker's state in words.
type step struct{ name, text string }

// steps are the workers' states as progress tells them.
func (p *pursuit) steps() []step {
	var list []step
	if p.deployment != nil {
		for _, s := range p.deployment.Workers {
			list = append(list, step{s.Name, stepText(s.State)})
		}
		return list
	}
	if p.pool == nil {
		return nil
	}
	for i := range p.pool.Workers {
		if w := &p.pool.Workers[i]; p.target.concerns(w.Index) {
			list = append(list, step{w.Name, workerText(w)})
		}
	}
	return list
}

func stepText(state string) string {
	if state == "waiting" {
		return "waiting to be healthy"
	}
	return state
}

// workerText is a worker's state without what changes by the mere passing of time.
func workerText(w *rpc.Worker) string {
	text := w.State
	switch {
	case w.State == "running" && w.PID != 0:
		text += fmt.Sprintf(", pid %d", w.PID)
	case w.State == "stopping" && w.Stopping != nil && w.Stopping.Signal != "":
		text += fmt.Sprintf(", %s sent", w.Stopping.Signal)
		if w.PID != 0 {
			text += fmt.Sprintf(" to pid %d", w.PID)
		}
	case (w.State == "backoff" || w.State == "delayed" || w.State == "failed") && w.LastExit != nil:
		text += ": " + clean(w.LastExit.Reason)
	}
	return text
}

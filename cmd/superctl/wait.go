package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/superd/superd/rpc"
)

// verb is a command in the words that progress and errors need.
type verb struct{ do, doing, done string }

var (
	verbStart   = verb{"start", "starting", "started"}
	verbStop    = verb{"stop", "stopping", "stopped"}
	verbRestart = verb{"restart", "restarting", "restarted"}
	verbScale   = verb{"scale", "scaling", "scaled"}
	verbDeploy  = verb{"deploy", "deploying", "deployed"}
	verbRemove  = verb{"remove", "removing", "removed"}
)

// pursuit is something begun on one pool that is waited for.
type pursuit struct {
	verb   verb
	target target
	// What is waited for: a deployment, or a command, or, without either, that
	// the pool has gone.
	deployment *rpc.Deployment
	watch      *rpc.Watch
	reply      *rpc.CommandReply

	pool     *rpc.Pool // as last seen; nil: gone
	seen     time.Time // when superd was last asked
	due      time.Time // when to look although nothing happened; zero: never
	finished bool
	problems []string
}

// id is what --no-wait prints.
func (p *pursuit) id() string {
	if p.deployment != nil {
		return p.deployment.ID
	}
	return string(p.reply.Operation)
}

// await waits for all of list, showing how they get on, and says what failed.
// since is the newest event known before they were begun.
func (a *app) await(ctx context.Context, since uint64, list []*pursuit) error {
	parent := ctx
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	pools := make([]string, len(list))
	for i, p := range list {
		pools[i], p.pool = p.target.pool.Name, p.target.pool
	}
	shown := a.progress(list)
	news := a.listen(ctx, since, pools)
	for {
		if err := a.lookAt(ctx, list, news.take()); err != nil {
			return a.cutShort(parent, err, list, shown)
		}
		shown.update()
		if unfinished(list) == nil {
			shown.end()
			return verdict(list)
		}
		if err := news.wait(ctx, nextLook(list, shown)); err != nil {
			return a.cutShort(parent, err, list, shown)
		}
	}
}

// lookAt asks superd about what is worth it.
func (a *app) lookAt(ctx context.Context, list []*pursuit, changed func(string) bool) error {
	now := time.Now()
	for _, p := range list {
		due := !p.due.IsZero() && !now.Before(p.due) || now.Sub(p.seen) >= relook
		if p.finished || !due && !changed(p.target.pool.Name) {
			continue
		}
		if err := a.look(ctx, p); err != nil {
			return err
		}
		p.seen = now
	}
	return nil
}

func (a *app) look(ctx context.Context, p *pursuit) error {
	p.due = time.Time{}
	pool, _, err := a.connect().Pool(ctx, p.target.pool.Name)
	switch {
	case isNotFound(err):
		p.pool = nil
	case err != nil:
		return err
	default:
		p.pool = pool
	}
	switch {
	case p.deployment != nil:
		return a.lookDeployment(ctx, p)
	case p.watch != nil:
		seen := p.watch.Look(p.pool, time.Now())
		p.finished, p.problems = seen.Done, seen.Problems
		if seen.Again > 0 {
			p.due = time.Now().Add(seen.Again)
		}
		if p.reply != nil && p.pool != nil {
			p.reply.Pool, p.reply.Done, p.reply.Problems = *p.pool, seen.Done && len(seen.Problems) == 0, append([]string{}, seen.Problems...)
		}
	case p.pool == nil:
		p.finished = true
	case !p.pool.Removed:
		p.finished = true
		p.problems = []string{"it is in the configuration again"}
	}
	return nil
}

func (a *app) lookDeployment(ctx context.Context, p *pursuit) error {
	d, _, err := a.connect().Deployment(ctx, p.deployment.ID)
	if isNotFound(err) {
		p.finished = true
		p.problems = []string{"superd knows nothing of deployment " + p.deployment.ID + " any more"}
		return nil
	}
	if err != nil {
		return err
	}
	p.deployment, p.finished = d, d.Ended()
	if p.finished && d.State != "succeeded" {
		p.problems = []string{deploymentProblem(p.pool, d)}
	}
	return nil
}

// deploymentProblem says why a deployment that has ended did not succeed.
func deploymentProblem(p *rpc.Pool, d *rpc.Deployment) string {
	reason := clean(string(d.Error))
	switch other := otherDeployment(p, d); {
	case strings.HasPrefix(reason, d.State): // it says so itself
		return fmt.Sprintf("deployment %s was %s", d.ID, reason)
	case d.State == "failed":
		return strings.TrimSuffix(fmt.Sprintf("deployment %s failed: %s", d.ID, reason), ": ")
	case reason != "":
		return fmt.Sprintf("deployment %s was %s: %s", d.ID, d.State, reason)
	case d.State == "superseded" && other != "":
		return fmt.Sprintf("deployment %s was superseded by %s", d.ID, other)
	default:
		return fmt.Sprintf("deployment %s was %s", d.ID, d.State)
	}
}

// otherDeployment is the ID of what is going on in the pool instead of d.
func otherDeployment(p *rpc.Pool, d *rpc.Deployment) string {
	if p != nil && p.Deployment != nil && p.Deployment.ID != d.ID {
		return p.Deployment.ID
	}
	return ""
}

func isNotFound(err error) bool {
	var e *rpc.Error
	return errors.As(err, &e) && e.Kind == rpc.KindNotFound
}

func unfinished(list []*pursuit) (left []*pursuit) {
	for _, p := range list {
		if !p.finished {
			left = append(left, p)
		}
	}
	return left
}

// nextLook is how long to wait for news at most.
func nextLook(list []*pursuit, shown *progress) time.Duration {
	next := relook
	if shown.live {
		next = time.Second // what is shown counts down
	}
	for _, p := range list {
		if !p.finished && !p.due.IsZero() {
			next = min(next, max(time.Millisecond, time.Until(p.due)))
		}
	}
	return next
}

// verdict says what failed.
func verdict(list []*pursuit) error {
	var failed *failure
	for _, p := range list {
		if len(p.problems) == 0 {
			continue
		}
		failed = merge(failed, &failure{
			code: rpc.ExitFailed,
			text: fmt.Sprintf("cannot %s %s: %s", p.verb.do, p.target.String(), several(p.problems)),
			next: []string{"superctl status " + p.target.pool.Name, "superctl events " + p.target.pool.Name},
		})
	}
	if failed != nil {
		return failed
	}
	return nil
}

// answer is what --json prints.
func (p *pursuit) answer() any {
	if p.deployment != nil {
		return p.deployment
	}
	return p.reply
}

func (a *app) printJSON(v any) error {
	return json.NewEncoder(a.out).Encode(v)
}

// cutShort says how things stand when waiting ended before they did. parent
// tells the user's interruption from the end of the time.
func (a *app) cutShort(parent context.Context, err error, list []*pursuit, shown *progress) error {
	shown.end()
	left := unfinished(list)
	if len(left) == 0 {
		return err
	}
	f := &failure{code: rpc.ExitTimeout}
	switch {
	case parent.Err() != nil:
		f.code = exitInterrupted
	case errors.Is(err, context.DeadlineExceeded) || a.timeout > 0 && time.Since(a.began) >= a.timeout:
		if silent := a.silent(parent); silent != nil {
			f = a.failure(silent)
		}
	default:
		f = a.failure(err)
	}
	end := "%s: still %s (%s); it goes on"
	if f.code == rpc.ExitUnreachable {
		end = "%s: was still %s (%s) when superd was last heard of"
	}
	names := make([]string, len(left))
	for i, p := range left {
		names[i] = p.target.pool.Name
		line := fmt.Sprintf(end, p.target.String(), p.verb.doing, p.summary(time.Now()))
		f.text = strings.TrimPrefix(f.text+"\n"+line, "\n")
	}
	f.next = append(f.next, "superctl status -w "+strings.Join(names, " ")+" follows it")
	return f
}

// silence is how long superd may take to say that it is there.
const silence = time.Second

// silent tells that superd does not answer any more: then it is not known whether
// anything goes on.
func (a *app) silent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	if _, _, err := a.connect().Status(ctx); err != nil {
		return rpc.Errorf(rpc.KindUnreachable, "cannot reach superd: it does not answer any more")
	}
	return nil
}

// merge makes one failure of two; the first one's code stands.
func merge(first, second *failure) *failure {
	if first == nil {
		return second
	}
	first.text += "\n" + second.text
	for _, next := range second.next {
		if !strings.Contains(strings.Join(first.next, "\n"), next) {
			first.next = append(first.next, next)
		}
	}
	return first
}

// several is a list of problems on one line, the first few of them.
func several(problems []string) string {
	const most = 5
	if len(problems) <= most {
		return clean(strings.Join(problems, "; "))
	}
	return clean(strings.Join(problems[:most], "; ")) + fmt.Sprintf("; and %d more", len(problems)-most)
}

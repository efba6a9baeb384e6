package signals

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Step is one step of a stop or drain sequence: a signal, and how long to wait
// for the run to end before the next step is taken.
type Step struct {
	Signal syscall.Signal
	// Wait is the time until the next step. It is zero in a KILL that ends a
	// sequence, and without meaning when Forever is set.
	Wait time.Duration
	// Forever means that no later step follows: the run may take all the time it wants.
	Forever bool
}

// Sequence is what ends a run: steps in order, the last of them KILL or a wait
// of forever. The nil Sequence is not valid.
type Sequence []Step

// MaxSteps is how many steps a sequence may have.
const MaxSteps = 16

// Forever is how a wait without end is written.
const Forever = "forever"

const stepHelp = `allowed: steps such as "TERM 10s", the last of them "KILL" or one that waits "forever"`

// StepError is what is wrong with one step of a sequence.
type StepError struct {
	Step int // from 0
	Err  error
}

// Error counts steps from 1, as people do.
func (e *StepError) Error() string { return fmt.Sprintf("step %d: %v", e.Step+1, e.Err) }

// Unwrap gives the error without its step.
func (e *StepError) Unwrap() error { return e.Err }

// ParseSequence reads steps of the form "SIGNAL DURATION". The last one is
// "KILL" alone or waits "forever", and neither stands anywhere else. The error
// is a *StepError if it is one step's.
func ParseSequence(steps []string) (Sequence, error) {
	if len(steps) == 0 {
		return nil, fmt.Errorf("there are no steps; %s", stepHelp)
	}
	if len(steps) > MaxSteps {
		return nil, fmt.Errorf("there are %d steps; allowed: at most %d", len(steps), MaxSteps)
	}
	seq := make(Sequence, len(steps))
	for i, text := range steps {
		step, err := parseStep(text, i == len(steps)-1)
		if err != nil {
			return nil, &StepError{Step: i, Err: err}
		}
		seq[i] = step
	}
	return seq, nil
}

func parseStep(text string, last bool) (Step, error) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words) > 2 {
		return Step{}, fmt.Errorf("found %s; %s", quote(text), stepHelp)
	}
	sig, err := Parse(words[0])
	if err != nil {
		return Step{}, err
	}
	step := Step{Signal: sig}
	switch {
	case sig == syscall.SIGKILL && len(words) == 2:
		return Step{}, fmt.Errorf("%s waits after KILL; allowed: KILL alone, since nothing can come after it", quote(text))
	case sig == syscall.SIGKILL && !last:
		return Step{}, fmt.Errorf("KILL is not the last step; allowed: KILL at the end alone")
	case sig == syscall.SIGKILL:
		return step, nil
	case len(words) == 1 && last:
		return Step{}, fmt.Errorf(`the sequence ends in %s; allowed: an end in "KILL", or in "%s forever"`, quote(text), Name(sig))
	case len(words) == 1:
		return Step{}, fmt.Errorf(`%s does not say how long to wait; allowed: for instance "%s 10s"`, quote(text), Name(sig))
	case words[1] == Forever && !last:
		return Step{}, fmt.Errorf("%s waits forever, but steps follow it; allowed: forever in the last step alone", quote(text))
	case words[1] == Forever:
		step.Forever = true
		return step, nil
	}
	if step.Wait, err = ParseDuration(words[1]); err != nil {
		return Step{}, err
	}
	if last {
		return Step{}, fmt.Errorf(`the sequence ends in %s; allowed: an end in "KILL", or in "%s forever"`, quote(text), Name(sig))
	}
	return step, nil
}

// String is the step as it is written in a configuration.
func (s Step) String() string {
	switch {
	case s.Forever:
		return Name(s.Signal) + " " + Forever
	case s.Signal == syscall.SIGKILL && s.Wait == 0:
		return Name(s.Signal)
	}
	return Name(s.Signal) + " " + FormatDuration(s.Wait)
}

// Strings are the steps as they are written in a configuration; ParseSequence
// reads them back.
func (q Sequence) Strings() []string {
	out := make([]string, len(q))
	for i, step := range q {
		out[i] = step.String()
	}
	return out
}

// Total is the longest time from the first signal to KILL. ends is false for a
// sequence that waits forever in its last step; then total is the time until
// that step.
func (q Sequence) Total() (total time.Duration, ends bool) {
	for _, step := range q {
		if step.Forever {
			return total, false
		}
		total += step.Wait
	}
	return total, true
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/superd/superd/rpc"
)

// exitInterrupted is what shells expect of a program that was interrupted.
const exitInterrupted = 130

// failure is an error with its exit code and what to do next.
type failure struct {
	code int
	text string
	next []string
}

func (f *failure) Error() string { return f.text }

// usage is a mistake in how superctl was called.
func usage(next string, format string, args ...any) *failure {
	return &failure{code: rpc.ExitUsage, text: fmt.Sprintf(format, args...), next: []string{next}}
}

// failure gives every error its exit code.
func (a *app) failure(err error) *failure {
	var f *failure
	var e *rpc.Error
	var cut *rpc.Interrupted
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &e):
		return &failure{code: e.Kind.Exit(), text: e.Message, next: nextFor(e.Kind)}
	case errors.As(err, &cut):
		return &failure{code: rpc.ExitFailed, text: "cannot tell whether it was done: " + cut.Error(), next: []string{"superctl events shows what happened"}}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{code: rpc.ExitTimeout, text: "still going when the time ran out"}
	case errors.Is(err, context.Canceled):
		return &failure{code: exitInterrupted}
	case !a.ran:
		return usage("superctl help", "%v", err)
	}
	return &failure{code: rpc.ExitFailed, text: err.Error()}
}

// nextFor is what to do about a kind of error whose message does not say it.
func nextFor(k rpc.Kind) []string {
	switch k {
	case rpc.KindNotFound:
		return []string{"superctl status lists what there is"}
	case rpc.KindConfigInvalid:
		return []string{"mend the file, then superctl apply"}
	case rpc.KindConflict:
		return []string{"superctl status shows what is under way"}
	case rpc.KindInternal:
		return []string{"superd's log tells more"}
	case rpc.KindStopping:
		return []string{"wait until superd is there again"}
	case rpc.KindTooMany:
		return []string{"close other connections (superctl status -w, events -f), then again"}
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/superd/superd/rpc"
)

// output is standard output. It keeps the first error, so that not every place
// that prints has to look: a command whose answer was lost has not done what it
// was asked for. Like what is behind it, it is written to by one at a time.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// unwritten is the failure of a command that could not print all that it had to.
func (a *app) unwritten() error {
	o, ok := a.out.(*output)
	if !ok || o.err == nil {
		return nil
	}
	return &failure{code: rpc.ExitFailed, text: fmt.Sprintf("cannot write to standard output: %v", cause(o.err))}
}

// cause is the system's word for an error, without the name of the file.
func cause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

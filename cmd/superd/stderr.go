package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// ownStderr makes standard error never block, if it is a pipe or a terminal, and
// returns it as a file that waits only for whoever writes to it.
//
// superd writes its log from a goroutine of its own, which may wait. But what the
// runtime says of a panic goes to descriptor 2 from a process that has stopped
// doing anything else: where nobody reads, superd would neither work nor die. The
// flag belongs to the open file, which superd shares with whoever started it; so
// the file is opened anew.
func ownStderr() *os.File {
	if f, err := reopenStderr(); err == nil {
		return f
	}
	fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.Stderr
	}
	return os.NewFile(uintptr(fd), "standard error")
}

func reopenStderr() (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(2, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO && !term.IsTerminal(2) {
		return nil, unix.ENOTSUP
	}
	fd, err := unix.Open("/proc/self/fd/2", unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(fd, 2, 0); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "standard error"), nil
}

// lastWords bounds how long superd waits for a reader when it ends.
const lastWords = time.Second

// complain says why the program ends. superd itself waits for a reader, but not
// for long; its other commands are for people, who may take their time.
func complain(to *os.File, what ...any) {
	if to == os.Stderr {
		fmt.Fprintln(to, what...)
		return
	}
	said := make(chan struct{})
	go func() {
		fmt.Fprintln(to, what...)
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(lastWords):
	}
}

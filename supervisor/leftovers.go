package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/superd/superd/config"
	"github.com/superd/superd/supervisor/keeper"
	"github.com/superd/superd/supervisor/service"
	"github.com/superd/superd/supervisor/store"
	"golang.org/x/sys/unix"
)

// leftoverPatience is how long a superd that has just died may hold its lock.
const leftoverPatience = time.Second

// OpenLeftovers is Open for somebody who is there only to end what a superd has left
// that lives no more. What it returns does what a superd does that recovers and is told
// to end at once: stop sequences are kept, last words read, and nothing of what is
// wanted is changed. Nil without an error: nothing is left. [ErrRunning]: a superd lives.
//
// ask, if there is one, is asked first whether that is to be; it may use run, which
// runs a program by the keeper and returns what it printed.
func OpenLeftovers(opt Options, ask func(run func(path string, args ...string) ([]byte, error)) (bool, error)) (*Supervisor, error) {
	dir := opt.Config.RuntimeDir
	// A keeper that has ended as it should has taken its socket with it.
	if !keeper.Exists(dir) {
		return nil, nil
	}
	lock, err := store.Lock(dir+"/lock", leftoverPatience)
	if errors.Is(err, store.ErrLocked) {
		if lock, _, err = store.TakeOver(dir + "/lock"); err != nil {
			return nil, ErrRunning
		}
	}
	if err != nil {
		return nil, err
	}
	if ask != nil {
		yes, err := ask(func(path string, args ...string) ([]byte, error) { return askBy(dir, opt, path, args) })
		if !yes || err != nil {
			lock.Close()
			return nil, err
		}
	}
	opt.Lock, opt.leftovers = lock, true
	return Open(opt)
}

// askBy runs a small program by the keeper of dir, and returns what it printed.
func askBy(dir string, opt Options, path string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), getentPatience)
	defer cancel()
	all, _, err := keeper.DialAll(dir, keeper.Options{Exe: opt.Exe, Log: func(m string) { opt.Log.Warn("keeper: " + m) }})
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		defer c.Close()
	}
	client := all[0]
	out, err := unix.MemfdCreate("superd-answer", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	answer := os.NewFile(uintptr(out), "answer")
	defer answer.Close()
	run := fmt.Sprintf("%sask%s", helperPrefix, strconv.FormatInt(time.Now().UnixNano(), 36))
	err = client.Spawn(ctx, keeper.Spawn{Run: run, Path: path, Args: append([]string{filepath.Base(path)}, args...),
		Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, Dir: "/", KillScope: config.ScopeGroup, Stdout: answer})
	if err != nil {
		return nil, err
	}
	defer client.Acknowledge(run)
	for {
		select {
		case ev, ok := <-client.Events():
			switch {
			case !ok:
				return nil, client.Err()
			case ev.Run != run:
			case ev.Kind == keeper.SpawnFailed:
				return nil, errors.New(ev.Reason)
			case ev.Kind == keeper.Exited && (ev.Status.Code != 0 || ev.Status.Signal != 0):
				return nil, fmt.Errorf("%s: %s", path, ev.Status)
			case ev.Kind == keeper.Exited:
				text := make([]byte, 64<<10)
				n, err := answer.ReadAt(text, 0)
				if n == 0 && err != nil {
					n = 0 // it printed nothing
				}
				return text[:n], nil
			}
		case <-ctx.Done():
			client.Sweep(run)
			return nil, fmt.Errorf("%s: %w", path, ctx.Err())
		}
	}
}

// UnitStops asks systemd whether the unit that the caller is in is being stopped, so
// that no superd follows. It is an ask for [OpenLeftovers].
func UnitStops(run func(path string, args ...string) ([]byte, error)) (bool, error) {
	unit, user, err := service.Unit()
	if err != nil {
		return false, err
	}
	path, err := config.LookPath("systemctl", "/", "/usr/bin:/bin")
	if err != nil {
		return false, err
	}
	args := []string{"list-jobs", "--no-legend", "--no-pager", unit}
	if user {
		args = append([]string{"--user"}, args...)
	}
	out, err := run(path, args...)
	if err != nil {
		return false, fmt.Errorf("cannot learn whether %s is being stopped: %w", unit, err)
	}
	return service.Stops(string(out), unit), nil
}

package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/superd/superd/rpc"
)

// systemSocket is where a superd that was started by the system listens. It is
// a variable for the tests alone.
var systemSocket = "/run/superd/control.sock"

// sockets are where superd may be, in order.
func (a *app) sockets() []string {
	if a.socket != "" {
		return []string{a.socket}
	}
	if s := a.env("SUPERD_SOCKET"); s != "" {
		return []string{s}
	}
	list := []string{systemSocket}
	if dir := a.env("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list, filepath.Join(dir, "superd", "control.sock"))
	}
	return list
}

// connect makes the client. Nothing is asked yet.
func (a *app) connect() *rpc.Client {
	if a.client != nil {
		return a.client
	}
	reach := rpc.DefaultReach
	if a.timeout > 0 {
		reach = a.timeout
	}
	a.client = rpc.NewClient(rpc.Options{
		Sockets: a.sockets(),
		Reach:   reach,
		Waiting: func(cause error) { a.note("superd does not answer (%v); waiting up to %s for it", cause, reach) },
	})
	return a.client
}

// status asks for everything, and says which superd answers where there are two.
func (a *app) status(ctx context.Context) (*rpc.Status, []byte, error) {
	st, raw, err := a.connect().Status(ctx)
	if err != nil {
		return nil, nil, err
	}
	a.nameSocket(ctx)
	return st, raw, nil
}

// nameSocket names the superd in use when another one could be meant.
func (a *app) nameSocket(ctx context.Context) {
	list, used := a.sockets(), a.client.Socket()
	if len(list) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, path := range list {
		if path == used {
			continue
		}
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if c, err := rpc.Dial(ctx, path); err == nil {
			c.Close()
			a.note("using %s (%s answers too; choose with -s)", used, path)
		}
	}
}

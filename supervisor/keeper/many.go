package keeper

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/superd/superd/supervisor/proc/pack"
)

// Many requests are sent before the first of their answers is waited for. One by
// one, a superd that finds a thousand runs would have two processes wake each other
// a thousand times.

// lot is how many requests are sent in one go. Two lots at most are under way, which
// is fewer than the answers that a keeper keeps for whoever does not read: maxAnswers.
const lot = 64

// demand is one of many requests and what becomes of it.
type demand struct {
	kind kind
	body func(*pack.Writer)
	err  error // set beforehand: it is not sent
	res  result
	id   uint64
	wait *call
}

// askMany sends requests, in order, and takes their answers. What fails of them is
// nothing to the others.
func (c *Client) askMany(all []demand) {
	var before []demand
	for len(all) > 0 || len(before) > 0 {
		now := all[:min(lot, len(all))]
		all = all[len(now):]
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		for i := range now {
			if d := &now[i]; d.err == nil {
				d.wait = newCall()
				d.id, d.err = c.request(ctx, d.kind, nil, d.wait, d.body)
			}
		}
		// Answers come in order: with the last of them all are there, and nobody is
		// woken for each.
		for i := range slices.Backward(before) {
			if d := &before[i]; d.err == nil {
				d.res, d.err = c.answer(ctx, d.id, d.wait)
			}
		}
		cancel()
		before = now
	}
}

// Fetched is what [Client.FetchAll] gives for one name: a file, which is the
// caller's to close, or why there is none.
type Fetched struct {
	File *os.File
	Err  error
}

// FetchAll is Fetch for many names at once, at the price of a few: their answers
// have the order of the names.
func (c *Client) FetchAll(names []string) []Fetched {
	all := make([]demand, len(names))
	for i, name := range names {
		all[i] = demand{kind: reqFetch, err: checkName(name), body: func(w *pack.Writer) { w.String(name) }}
	}
	c.askMany(all)
	files := make([]Fetched, len(names))
	for i, d := range all {
		files[i].File, files[i].Err = fetched(names[i], d.res, d.err)
	}
	return files
}

// fetched is the file that an answer to fetch came with.
func fetched(name string, r result, err error) (*os.File, error) {
	if err != nil {
		return nil, fmt.Errorf("cannot fetch %s: %w", name, err)
	}
	if r.fd < 0 {
		return nil, fmt.Errorf("cannot fetch %s: no descriptor came with the answer", name)
	}
	return os.NewFile(uintptr(r.fd), name), nil
}

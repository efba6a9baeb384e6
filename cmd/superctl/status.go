package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superd/superd/rpc"
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:     "status [POOL...]",
		GroupID: groupLook,
		Short:   "Show pools and their workers",
		Long: `Show pools and their workers: what is wanted, what is, and how it last ended.

RESTARTS are automatic ones since the last start by hand or deployment; WINDOW
says how many of those that the pool allows in an interval are used up.`,
		Example:           "  superctl status\n  superctl status mailers 'web*'\n  superctl status -w @web\n  superctl status --json | jq .pools[].healthy",
		ValidArgsFunction: a.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				return a.watchStatus(cmd.Context(), args)
			}
			return a.showStatus(cmd.Context(), args, a.out)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on, showing every change")
	return cmd
}

// showStatus prints the status once.
func (a *app) showStatus(ctx context.Context, args []string, w io.Writer) error {
	st, raw, err := a.status(ctx)
	if err != nil {
		return err
	}
	var targets []target
	if len(args) == 0 {
		targets, err = a.choose(ctx, st, nil, true)
	} else {
		targets, err = a.choose(ctx, st, args, false)
	}
	if err != nil {
		return err
	}
	if a.json {
		return printStatusJSON(w, raw, targets, len(args) == 0)
	}
	a.notes(&st.Superd)
	if len(targets) == 0 {
		a.note("no pools (superd %s, pid %d, configuration %s)", st.Superd.Version, st.Superd.PID, st.Superd.Config)
		return nil
	}
	poolTable(targets).write(w, a.width, a.colours())
	workers := workerTable(targets, time.Now())
	if len(workers.rows) > 0 {
		fmt.Fprintln(w)
		workers.write(w, a.width, a.colours())
	}
	return nil
}

// printStatusJSON prints superd's answer, without the pools that were not asked for.
func printStatusJSON(w io.Writer, raw []byte, targets []target, whole bool) error {
	if whole {
		_, err := fmt.Fprintln(w, string(bytes.TrimSpace(raw)))
		return err
	}
	var st struct {
		Superd json.RawMessage   `json:"superd"`
		Pools  []json.RawMessage `json:"pools"`
		Jobs   json.RawMessage   `json:"jobs"`
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("cannot read the status: %w", err)
	}
	kept := []json.RawMessage{}
	for _, p := range st.Pools {
		var named struct{ Name string }
		if err := json.Unmarshal(p, &named); err != nil {
			return fmt.Errorf("cannot read the status: %w", err)
		}
		for _, t := range targets {
			if t.pool.Name == named.Name {
				kept = append(kept, p)
			}
		}
	}
	st.Pools = kept
	return json.NewEncoder(w).Encode(st)
}

// notes says what is out of the ordinary with superd itself.
func (a *app) notes(s *rpc.Superd) {
	for _, d := range s.Degraded {
		a.note("superd is degraded: %s", clean(d))
	}
	if s.ConfigPending {
		a.note("the configuration on disk is not what is in force; superctl apply reads it")
	}
	if s.Stopping {
		a.note("superd is being shut down")
	}
	if s.KeeperPID == 0 {
		a.note("superd has no keeper at the moment")
	}
}

func poolTable(targets []target) *table {
	t := &table{columns: []column{
		{name: "POOL"}, {name: "DESIRED"}, {name: "RUNNING", right: true}, {name: "HEALTHY", right: true},
		{name: "REVISION", right: true, drop: 2}, {name: "UNDER WAY", drop: 1},
	}}
	for _, target := range targets {
		p := target.pool
		of := "/" + strconv.Itoa(p.Count)
		t.add(cell{p.Name, plain}, cell{p.Desired, plain},
			cell{strconv.Itoa(p.Running) + of, poolColour(p, p.Running)},
			cell{strconv.Itoa(p.Healthy) + of, poolColour(p, p.Healthy)},
			cell{number(p.Revision), plain}, cell{underWay(p), plain})
	}
	return t
}

func poolColour(p *rpc.Pool, n int) string {
	switch {
	case p.Desired != "running":
		return plain
	case n >= p.Count:
		return green
	}
	return yellow
}

// underWay is what is being done with a pool.
func underWay(p *rpc.Pool) string {
	var parts []string
	if d := p.Deployment; d != nil {
		parts = append(parts, fmt.Sprintf("%s %s to revision %s: %d/%d", d.Reason, d.State, number(d.To), d.Done, d.Total))
	}
	if len(p.WaitsFor) > 0 {
		parts = append(parts, "waits for "+strings.Join(p.WaitsFor, ", "))
	}
	if p.Removed {
		parts = append(parts, "being removed")
	}
	return strings.Join(parts, "; ")
}

func workerTable(targets []target, now time.Time) *table {
	t := &table{columns: []column{
		{name: "WORKER"}, {name: "STATE"}, {name: "PID", right: true}, {name: "UPTIME", right: true, drop: 1},
		{name: "RESTARTS", right: true, drop: 3}, {name: "WINDOW", right: true, drop: 4},
		{name: "MEMORY", right: true, drop: 6}, {name: "CPU", right: true, drop: 7},
		{name: "REV", right: true, drop: 5}, {name: "WORK", drop: 3}, {name: "NEXT", drop: 2}, {name: "LAST EXIT", drop: 2},
	}}
	for _, target := range targets {
		for i := range target.pool.Workers {
			if w := &target.pool.Workers[i]; target.concerns(w.Index) {
				t.add(workerRow(w, now)...)
			}
		}
	}
	return t
}

func workerRow(w *rpc.Worker, now time.Time) []cell {
	uptime, memory, cpu := "-", "-", "-"
	if !w.StartedAt.IsZero() {
		uptime = span(w.Uptime.Duration())
	}
	if w.MemoryBytes != nil {
		memory = size(*w.MemoryBytes)
	}
	if w.CPU != nil {
		cpu = fmt.Sprintf("%.0f%%", 100**w.CPU)
	}
	state := cell{w.State, stateColour(w.State)}
	if w.State == "running" && !w.Healthy {
		state.colour = yellow
	}
	revision := cell{number(w.Revision), plain}
	if w.Outdated {
		revision.colour = yellow
	}
	return []cell{
		{w.Name, plain}, state, {number(w.PID), plain}, {uptime, plain},
		{strconv.Itoa(w.Restarts), plain}, {fmt.Sprintf("%d/%d", w.Window.Used, w.Window.Attempts), plain},
		{memory, plain}, {cpu, plain}, revision, {work(w), plain}, {nextStep(w, now), plain}, {exitText(w.LastExit, now), plain},
	}
}

// work is what a worker says it is doing, where that can be told.
func work(w *rpc.Worker) string {
	switch {
	case w.StatusText != "" || w.Busy == nil:
		return clean(string(w.StatusText))
	case *w.Busy:
		return "busy"
	}
	return "idle"
}

// nextStep is what comes next for a worker by itself.
func nextStep(w *rpc.Worker, now time.Time) string {
	in := func(t rpc.Time) string { return " in " + span(max(0, t.Sub(now))) }
	switch {
	case w.Stopping != nil && w.Stopping.Next != "":
		return string(w.Stopping.Next) + in(w.Stopping.Deadline)
	case !w.NextStartAt.IsZero():
		return "start" + in(w.NextStartAt)
	}
	return ""
}

// refresh is how often a watched status is drawn anew though nothing happened,
// on a terminal, where the ages shown would stand still.
const refresh = 2 * time.Second

// watchStatus shows the status again whenever something happens.
func (a *app) watchStatus(ctx context.Context, args []string) error {
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	st, _, err := a.status(ctx)
	if err != nil {
		return err
	}
	news := a.listen(ctx, st.Superd.Seq, nil)
	for first := true; ; first = false {
		var screen bytes.Buffer
		if err := a.showStatus(ctx, args, &screen); err != nil {
			return endOfWatch(err)
		}
		switch {
		case a.tty && !a.json:
			screen = *bytes.NewBufferString("\x1b[H\x1b[2J" + screen.String())
		case !first && !a.json:
			fmt.Fprintln(a.out)
		}
		if _, err := a.out.Write(screen.Bytes()); err != nil {
			return endOfWatch(err)
		}
		tick := time.Duration(0)
		if a.tty && !a.json {
			tick = refresh
		}
		if err := news.wait(ctx, tick); err != nil {
			return endOfWatch(err)
		}
	}
}

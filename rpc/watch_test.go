package rpc

import (
	"strings"
	"testing"
	"time"
)

// scene is a pool as it changes, worker by worker: "state op run" each.
func scene(workers ...string) *Pool {
	p := &Pool{Name: "p", Desired: "running", Count: len(workers)}
	for i, text := range workers {
		w := Worker{Name: "p/" + string(rune('0'+i)), Index: i, Desired: "running"}
		for j, part := range strings.Fields(text) {
			switch j {
			case 0:
				w.State = part
			case 1:
				w.Operation = Text(part)
			case 2:
				w.RunID = Text(part)
				w.PID = 1
			case 3: // how a run ended
				run, how, _ := strings.Cut(part, "=")
				w.LastExit = &Exit{RunID: Text(run), Success: how == "ok", Reason: how}
			}
		}
		w.Ready = w.State == "running"
		if w.State == "stopped" || w.State == "stopping" {
			w.Desired = "stopped"
		}
		p.Workers = append(p.Workers, w)
	}
	return p
}

func TestWatch(t *testing.T) {
	again := func(p *Pool) *Pool { p.Workers[0].Desired = "running"; return p }
	counted := func(n int, p *Pool) *Pool { p.Count = n; return p }
	for _, test := range []struct {
		name  string
		ask   Ask
		looks []*Pool // the first is in the reply; between looks pass 600 ms
		done  bool
		says  string
	}{
		{"start comes up and stays", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1"), scene("running op r1"), scene("running op r1"), scene("running op r1")}, true, ""},
		{"start is not done before a second", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1"), scene("running op r1"), scene("running op r1")}, false, ""},
		{"start crashes within the second", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1"), scene("running op r1"), scene("backoff op" + " - r1=boom")}, true, "p/0 did not come up: boom"},
		{"start crashes between two looks", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1"), scene("running op r2 r1=boom")}, true, "boom"},
		{"start after an old failure", Ask{Verb: "start"},
			[]*Pool{scene("starting op r2 r1=boom"), scene("running op r2 r1=boom"), scene("running op r2 r1=boom"), scene("running op r2 r1=boom")}, true, ""},
		{"start during a stop", Ask{Verb: "start"},
			[]*Pool{again(scene("stopping op r1")), again(scene("stopping op r1")), scene("starting op r2 r1=killed"), scene("running op r2 r1=killed"), scene("running op r2 r1=killed"), scene("running op r2 r1=killed")}, true, ""},
		{"start ends with success", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1"), scene("completed op")}, true, ""},
		{"start is stopped by another", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1"), scene("stopping op2 r1")}, true, "taken over by op2"},
		{"start is not yet shown in the reply", Ask{Verb: "start"},
			[]*Pool{scene("stopped old"), scene("stopped old"), scene("starting op r1")}, false, ""},
		{"start of what runs already", Ask{Verb: "start"},
			[]*Pool{scene("running old r1"), scene("running old r1"), scene("running old r1"), scene("running old r1")}, true, ""},
		{"start waits for all of them", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1", "starting op r2"), scene("running op r1", "starting op r2"), scene("running op r1", "starting op r2"), scene("running op r1", "starting op r2")}, false, ""},
		{"start of one worker leaves the others alone", Ask{Verb: "start", Workers: []int{0}},
			[]*Pool{scene("starting op r1", "failed x"), scene("running op r1", "failed x"), scene("running op r1", "failed x"), scene("running op r1", "failed x")}, true, ""},
		{"start, and the worker is scaled away", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1", "starting op r2"), scene("running op r1")}, false, ""},
		{"start, and the pool is removed", Ask{Verb: "start"},
			[]*Pool{scene("starting op r1"), nil}, true, "gone"},
		{"stop", Ask{Verb: "stop"},
			[]*Pool{scene("stopping op r1"), scene("stopping op r1"), scene("stopped op")}, true, ""},
		{"stop waits for what is left", Ask{Verb: "stop"},
			[]*Pool{scene("stopping op r1"), scene("stopping op")}, false, ""},
		{"stop of what is stopped", Ask{Verb: "stop"}, []*Pool{scene("stopped x"), scene("stopped x")}, true, ""},
		{"stop is superseded by a start", Ask{Verb: "stop"},
			[]*Pool{scene("stopping op r1"), again(scene("stopping op2 r1"))}, true, "taken over by op2"},
		{"stop is hurried by another", Ask{Verb: "stop"},
			[]*Pool{scene("stopping op r1"), scene("stopping op2 r1"), scene("stopped op2")}, true, ""},
		{"stop, and the pool is removed", Ask{Verb: "stop"}, []*Pool{scene("stopping op r1"), nil}, true, ""},
		{"restart of a worker", Ask{Verb: "restart", Workers: []int{0}},
			[]*Pool{again(scene("stopping op r1")), scene("starting op r2 r1=killed"), scene("running op r2 r1=killed"), scene("running op r2 r1=killed"), scene("running op r2 r1=killed")}, true, ""},
		{"restart not yet shown", Ask{Verb: "restart", Workers: []int{0}},
			[]*Pool{scene("running old r1"), scene("running old r1"), scene("running old r1"), scene("running old r1")}, false, ""},
		{"scale up", Ask{Verb: "scale", Count: 2, From: 1},
			[]*Pool{scene("failed op", "starting op r2"), scene("failed op", "running op r2"), scene("failed op", "running op r2"), scene("failed op", "running op r2")}, true, ""},
		{"scale up and the new one fails", Ask{Verb: "scale", Count: 2, From: 1},
			[]*Pool{scene("running op r1", "starting op r2"), scene("running op r1", "backoff op - r2=boom")}, true, "p/1 did not come up"},
		{"scale down", Ask{Verb: "scale", Count: 1, From: 2},
			[]*Pool{counted(1, scene("running op r1", "stopping op r2")), scene("running op r1")}, true, ""},
		{"scale down waits", Ask{Verb: "scale", Count: 1, From: 2},
			[]*Pool{counted(1, scene("running op r1", "stopping op r2")), counted(1, scene("running op r1", "stopping op r2"))}, false, ""},
		{"scale to nothing", Ask{Verb: "scale", Count: 0, From: 1},
			[]*Pool{counted(0, scene("stopping op r1")), scene()}, true, ""},
		{"scale is changed by another", Ask{Verb: "scale", Count: 2, From: 1},
			[]*Pool{scene("running op r1", "starting op r2"), scene("running op r1", "starting op r2"), scene("running op r1", "running op r2", "starting op2 r3")}, true, "changed to 3"},
		{"scale of a stopped pool", Ask{Verb: "scale", Count: 2, From: 1},
			[]*Pool{scene("stopped op", "stopped op"), scene("stopped op", "stopped op")}, true, ""},
		{"scale not yet shown", Ask{Verb: "scale", Count: 2, From: 1},
			[]*Pool{scene("running old r1"), scene("running old r1")}, false, ""},
	} {
		w := NewWatch(test.ask, &CommandReply{Operation: "op", Pool: *test.looks[0]})
		now := time.Unix(0, 0)
		var out Outcome
		for _, p := range test.looks {
			out = w.Look(p, now)
			now = now.Add(600 * time.Millisecond)
		}
		said := strings.Join(out.Problems, "; ")
		if out.Done != test.done || (test.says == "") != (said == "") && !strings.Contains(test.name, "scaled away") || !strings.Contains(said, test.says) {
			t.Errorf("%s: done %v, %q; want %v, %q", test.name, out.Done, said, test.done, test.says)
		}
	}
}

// TestWatchSaysWhenToLookAgain: nothing happens when a worker stays up.
func TestWatchSaysWhenToLookAgain(t *testing.T) {
	w := NewWatch(Ask{Verb: "start"}, &CommandReply{Operation: "op", Pool: *scene("starting op r1")})
	now := time.Unix(0, 0)
	if out := w.Look(scene("starting op r1"), now); out.Again != 0 {
		t.Errorf("%+v", out)
	}
	if out := w.Look(scene("running op r1"), now); out.Again != time.Second || out.Done {
		t.Errorf("%+v", out)
	}
	if out := w.Look(scene("running op r1"), now.Add(time.Second)); !out.Done {
		t.Errorf("%+v", out)
	}
	// What has been up for longer is believed at once.
	p := scene("running op r1")
	p.Workers[0].Uptime = 60
	if out := NewWatch(Ask{Verb: "start"}, &CommandReply{Operation: "op", Pool: *p}).Look(p, now); !out.Done {
		t.Errorf("%+v", out)
	}
}

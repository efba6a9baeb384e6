package supervisor

import (
	"testing"
	"time"

	"github.com/superd/superd/supervisor/core"
)

func TestHistoryNumbersNeverGoBack(t *testing.T) {
	var reserved uint64
	reserve := func(limit uint64) { reserved = limit }
	h := newHistory(0, reserve)
	for range 2500 {
		if e := h.add(time.Time{}, core.Notice{Type: "x"}); e.Seq > reserved {
			t.Fatalf("event %d was told before more than %d was reserved", e.Seq, reserved)
		}
	}
	// superd dies here: what it had in memory is gone, what it reserved is not.
	last := h.seq()
	h = newHistory(reserved, reserve)
	if e := h.add(time.Time{}, core.Notice{Type: "x"}); e.Seq <= last {
		t.Errorf("event %d after a crash, and %d was told before it", e.Seq, last)
	}
}

// TestHistoryTellsOfItsOwnTrouble: that a number cannot be kept is an event like
// any other, and comes while another one is being added.
func TestHistoryTellsOfItsOwnTrouble(t *testing.T) {
	var h *history
	told := 0
	h = newHistory(0, func(uint64) {
		told++
		h.add(time.Time{}, core.Notice{Type: "superd.degraded"})
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2500 {
			h.add(time.Time{}, core.Notice{Type: "x"})
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for itself")
	}
	events, _, _ := h.after(0, 5000)
	if told == 0 || len(events) != 2500+told {
		t.Fatalf("%d events, and %d times it was told that no number could be kept", len(events), told)
	}
	for i, e := range events {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has the number %d", i+1, e.Seq)
		}
	}
}

func TestHistoryForgetsTheOldest(t *testing.T) {
	h := newHistory(0, func(uint64) {})
	h.size = 10
	more := make(<-chan struct{})
	if _, oldest, m := h.after(0, 100); oldest != 0 {
		t.Errorf("an empty history has an oldest event, %d", oldest)
	} else {
		more = m
	}
	for range 25 {
		h.add(time.Time{}, core.Notice{})
	}
	select {
	case <-more:
	default:
		t.Error("whoever waits for more was not told")
	}
	for _, tc := range []struct {
		after       uint64
		limit       int
		first, last uint64 // 0: none
	}{
		{0, 100, 16, 25}, {15, 100, 16, 25}, {16, 100, 17, 25}, {20, 3, 21, 23}, {25, 100, 0, 0}, {99, 100, 0, 0},
	} {
		events, oldest, _ := h.after(tc.after, tc.limit)
		if oldest != 16 {
			t.Fatalf("the oldest is %d, not 16", oldest)
		}
		var first, last uint64
		if len(events) > 0 {
			first, last = events[0].Seq, events[len(events)-1].Seq
		}
		if first != tc.first || last != tc.last {
			t.Errorf("after %d, at most %d: %d to %d; want %d to %d", tc.after, tc.limit, first, last, tc.first, tc.last)
		}
	}
	h.resize(1000)
	h.add(time.Time{}, core.Notice{})
	events, oldest, _ := h.after(0, 100)
	if oldest != 16 || len(events) != 11 || events[10].Seq != 26 {
		t.Errorf("after it grew: oldest %d, %d events", oldest, len(events))
	}
	for i, e := range events {
		if e.Seq != 16+uint64(i) {
			t.Errorf("event %d stands at %d", e.Seq, i)
		}
	}
}

package rpc

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestEventDecoder(t *testing.T) {
	d := NewEventDecoder(strings.NewReader("{\"seq\":1,\"type\":\"a\",\"pool\":null,\"pid\":null}\n\n\r\n{\"seq\":2,\"type\":\"b\",\"new\":1}\r\n"))
	for want := uint64(1); want <= 2; want++ {
		if ev, err := d.Next(); err != nil || ev.Seq != want {
			t.Errorf("%+v %v", ev, err)
		}
	}
	if _, err := d.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	for _, bad := range []string{"x\n", "{}\n", "[]\n", `{"type":1}` + "\n", `{"type":"` + strings.Repeat("x", MaxEventLine) + "\"}\n"} {
		if _, err := NewEventDecoder(strings.NewReader(bad)).Next(); !errors.Is(err, errBadEvent) {
			t.Errorf("%.20s: %v", bad, err)
		}
	}
	if _, err := NewEventDecoder(strings.NewReader(`{"seq":1,"type":"a"}`)).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	long := `{"seq":1,"type":"a","message":"` + strings.Repeat("x", 100<<10) + "\"}\n"
	if ev, err := NewEventDecoder(strings.NewReader(long)).Next(); err != nil || len(ev.Message) != 100<<10 {
		t.Error(err)
	}
}

// FuzzEventDecoder: whatever comes, it comes to an end, and keeps to its bound.
func FuzzEventDecoder(f *testing.F) {
	f.Add("{\"seq\":1,\"type\":\"a\"}\n")
	f.Add("{\"seq\":1,\"time\":\"2026-01-02T03:04:05Z\",\"type\":\"a\",\"data\":{\"a\":[1,null]}}\n\n{")
	f.Add("\r\n\x00\n")
	f.Fuzz(func(t *testing.T, s string) {
		d := NewEventDecoder(strings.NewReader(s))
		for range len(s) + 1 {
			ev, err := d.Next()
			if err != nil {
				return
			}
			if ev.Type == "" {
				t.Error("an event without type")
			}
		}
		t.Error("no end")
	})
}

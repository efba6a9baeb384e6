package pack

import (
	"math"
	"slices"
	"testing"
)

func TestValuesComeBack(t *testing.T) {
	var w Writer
	uints := []uint64{0, 1, 127, 128, 1 << 32, math.MaxUint64}
	ints := []int64{0, 1, -1, 63, -64, 64, math.MaxInt64, math.MinInt64}
	lists := [][]string{nil, {""}, {"a", "", "b\x00c"}}
	for _, u := range uints {
		w.Uint(u)
	}
	for _, i := range ints {
		w.Int(i)
	}
	for _, l := range lists {
		w.Strings(l)
	}
	w.Bool(true)
	w.Bool(false)
	r := NewReader(string(w.Buf))
	for _, u := range uints {
		if got := r.Uint(); got != u {
			t.Errorf("%d came back as %d", u, got)
		}
	}
	for _, i := range ints {
		if got := r.Int(); got != i {
			t.Errorf("%d came back as %d", i, got)
		}
	}
	for _, l := range lists {
		if got := r.Strings(); !slices.Equal(got, l) {
			t.Errorf("%q came back as %q", l, got)
		}
	}
	if !r.Bool() || r.Bool() || r.End() != nil {
		t.Errorf("the end is %v", r.End())
	}
}

func TestWhatMakesNoSenseIsAnError(t *testing.T) {
	for name, read := range map[string]func(r *Reader){
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02": func(r *Reader) { r.Uint() },
		"\x80":                 func(r *Reader) { r.Uint() },
		"\xff\xff\xff\xff\x7f": func(r *Reader) { r.Uint32() },
		"\x02":                 func(r *Reader) { r.Bool() },
		"\x05abc":              func(r *Reader) { _ = r.String() },
		"\x7fabc":              func(r *Reader) { r.Strings() },
		"":                     func(r *Reader) { r.Byte() },
	} {
		r := NewReader(name)
		read(r)
		if r.Err() == nil {
			t.Errorf("%q was read", name)
		}
		if r.Uint() != 0 || r.String() != "" || r.Strings() != nil {
			t.Errorf("%q gives values after an error", name)
		}
	}
	r := NewReader("\x01\x02")
	r.Byte()
	if r.Err() != nil || r.End() == nil {
		t.Error("what is left over is no error")
	}
}

package rpc

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"
	"time"
)

// Generate makes times for testing/quick, which cannot look into time.Time.
func (Time) Generate(r *rand.Rand, _ int) reflect.Value {
	if r.Intn(3) == 0 {
		return reflect.ValueOf(Time{})
	}
	return reflect.ValueOf(At(time.Unix(r.Int63n(4e9), r.Int63n(1e9)).In(time.FixedZone("x", 3600))))
}

// TestAppendIsJSON compares the hand-written encoding with reflection's: a field
// added to a type and forgotten here is found by it.
func TestAppendIsJSON(t *testing.T) {
	same := func(s Status) bool {
		want, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		got := s.AppendJSON(nil)
		if string(got) != string(want) {
			t.Logf("got  %s\nwant %s", got, want)
		}
		return string(got) == string(want)
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 100}); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "plain", "<a&b>", "quote\"d", "back\\slash", "new\nline", "\x7f", "\xff", "é", "\u2028"} {
		s := Status{Pools: []Pool{{Name: text, Workers: []Worker{{RunID: Text(text), LastExit: &Exit{Reason: text}}}}}}
		if !same(s) {
			t.Errorf("%q", text)
		}
	}
}

package supervisor

import "testing"

// TestSameWorld: pids mean something only in the namespace that they are of, whatever
// its number.
func TestSameWorld(t *testing.T) {
	was := hostRecord{BootID: "a", PIDNamespace: 4026532179, NamespaceStart: 700, Seq: 5}
	for _, c := range []struct {
		what string
		is   hostRecord
		want bool
	}{
		{"the same", hostRecord{BootID: "a", PIDNamespace: 4026532179, NamespaceStart: 700}, true},
		{"another boot", hostRecord{BootID: "b", PIDNamespace: 4026532179, NamespaceStart: 700}, false},
		{"another namespace", hostRecord{BootID: "a", PIDNamespace: 4026532180, NamespaceStart: 700}, false},
		{"one that was given the number of the first", hostRecord{BootID: "a", PIDNamespace: 4026532179, NamespaceStart: 900}, false},
		{"/proc does not tell", hostRecord{BootID: "a", PIDNamespace: 4026532179}, true},
	} {
		if got := was.sameWorld(c.is); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	if (hostRecord{}).sameWorld(was) {
		t.Error("where nothing is recorded")
	}
}

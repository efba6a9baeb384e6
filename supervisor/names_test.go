package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/superd/superd/config"
)

func TestRoleNames(t *testing.T) {
	cfg := &config.Config{Superd: config.Superd{Operators: []string{"deploy", "@ops", "1000", "@7"}, Viewers: []string{"deploy", "-x", "@", ""}},
		Pools: map[string]*config.Pool{
			"b": {Operators: []string{"bob"}, Viewers: []string{"@ops", "@watch"}},
			"a": {Operators: []string{"ann"}},
		}}
	if got := fmt.Sprint(roleNames(cfg)); got != "map[group:[ops watch] passwd:[deploy ann bob]]" {
		t.Error(got)
	}
}

func TestLacking(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	long := strings.Repeat("m,", 1<<20) // a group with very many members
	if err := os.WriteFile(path, []byte("root:x:0:0::/:\nbig:x:5:"+long+"\n\ngarbage\nbob:x:1:1::/:"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := lacking(path, []string{"bob", "ann", "root", "garbage", "big"})
	if err != nil || !slices.Equal(got, []string{"ann", "garbage"}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := lacking(path+"x", nil); err == nil {
		t.Error("there is no such file")
	}
}

// TestTakeNames: what getent found counts, a name that nobody has is said, and
// one that could not be asked for stays what it was.
func TestTakeNames(t *testing.T) {
	s := &Supervisor{}
	before := map[string]uint32{"old": 5, "@old": 6, "gone": 7}
	s.known.Store(&before)
	known := map[string]uint32{}
	out := []byte("ann:*:6020:100:Ann:/home/ann:/bin/sh\nother:*:1:1::/:\nshort:x\nwrong:x:y:1::/:\n")
	warnings := s.takeNames(known, "passwd", []string{"ann", "gone", "wrong"}, out, nil)
	if !maps.Equal(known, map[string]uint32{"ann": 6020}) || len(warnings) != 2 || !strings.Contains(warnings[0], `no user "gone"`) {
		t.Errorf("%v %q", known, warnings)
	}
	warnings = s.takeNames(known, "group", []string{"old", "new"}, nil, errors.New("the server hangs"))
	if !maps.Equal(known, map[string]uint32{"ann": 6020, "@old": 6}) || len(warnings) != 1 || !strings.Contains(warnings[0], "groups old, new: the server hangs") {
		t.Errorf("%v %q", known, warnings)
	}
}

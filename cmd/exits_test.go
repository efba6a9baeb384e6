package cmd_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// exitsOf are the exits in a pool's or a worker's history, by run. One that is there
// twice is a failure.
func exitsOf(ts *testscript.TestScript, pool string) map[string]string {
	stdout, stderr, code := superctl(ts, "exits", "--json", "-n", "1000", pool)
	if code != 0 {
		ts.Fatalf("superctl exits %s: %s", pool, stderr)
	}
	var list struct {
		Exits      []json.RawMessage
		Incomplete *string
	}
	ts.Check(json.Unmarshal([]byte(stdout), &list))
	if list.Incomplete != nil {
		ts.Fatalf("the exits of %s are incomplete: %s", pool, *list.Incomplete)
	}
	byRun := map[string]string{}
	for _, raw := range list.Exits {
		var x struct {
			Run string `json:"run_id"`
		}
		ts.Check(json.Unmarshal(raw, &x))
		if byRun[x.Run] != "" {
			ts.Fatalf("run %s has ended twice:\n%s\n%s", x.Run, byRun[x.Run], raw)
		}
		byRun[x.Run] = string(raw)
	}
	return byRun
}

// exits N POOL waits until a pool's history has that many exits, each of another run.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var got map[string]string
	defer func() {
		if len(got) != want {
			ts.Logf("%d exits: %v", len(got), got)
		}
	}()
	eventually(ts, fmt.Sprintf("%d exits of %s", want, args[1]), func() bool {
		got = exitsOf(ts, args[1])
		return len(got) == want
	})
}

// once RUN REGEXP POOL waits until a run's exit is in history, and wants it to match.
func once(ts *testscript.TestScript, neg bool, args []string) {
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	var exit string
	eventually(ts, "an exit of "+args[0], func() bool {
		exit = exitsOf(ts, args[2])[args[0]]
		return exit != ""
	})
	if !re.MatchString(exit) {
		ts.Fatalf("the exit of %s does not match %s:\n%s", args[0], args[1], exit)
	}
}

package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fromPM2 loads the ecosystem of docs/from-pm2.md and runs what became of it.
func fromPM2(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skipf("%v: sudo apt-get install -y nodejs", err)
	}
	const place = "/srv/notifier"
	c := carriedOver(t, "from-pm2.md", "js")

	file := filepath.Join(tempDir(t), "ecosystem.config.js")
	write(t, file, c.original)
	out, err := exec.Command("node", "-p", "JSON.stringify(require(process.argv[1]))", file).CombinedOutput()
	var ecosystem struct {
		Apps []struct {
			Name, Script, Args, CWD string
			Instances               int
			Env                     map[string]string
			KillTimeout             int `json:"kill_timeout"`
			MaxRestarts             int `json:"max_restarts"`
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &ecosystem)
	}
	if err != nil || len(ecosystem.Apps) != 1 {
		t.Fatalf("the ecosystem: %v\n%s", err, out)
	}
	app := ecosystem.Apps[0]

	w := newWorkshop(t, "worker.js", filepath.Base(app.Script))
	s := startSuperd(t, c, app.Name, app.CWD, w)
	deal{
		slots: app.Instances,
		said: map[string]string{
			"queue": app.Env["QUEUE"], "node": app.Env["NODE_ENV"], "uid": fmt.Sprint(os.Geteuid()),
			"args": strings.ReplaceAll(app.Args, " ", ","),
		},
		signal: "INT", longer: 11, done: -1,
		hopeless: "failed", attempts: app.MaxRestarts, since: true,
	}.keeps(t, s, w)
	if app.CWD != place || app.KillTimeout != 15000 {
		t.Errorf("the ecosystem is no longer what this test is about: %+v", app)
	}

	if !w.has("child signal INT") {
		t.Error("the signal did not reach the child")
	}
	for n := range app.Instances {
		text, err := os.ReadFile(strings.TrimSuffix(s.log(n), ".log") + ".err.log")
		if err != nil || !strings.Contains(string(text), "said in trouble by") {
			t.Errorf("worker %d's errors are not in a file of their own: %v", n, err)
		}
	}
}

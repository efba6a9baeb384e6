// Package systemd_test holds that superd and the units for it do under a real
// systemd what docs/operations.md says.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// units are the files that make install puts in place.
var units = []string{"superd.service", "superd.socket"}

// TestUnits: systemd knows every setting in the units and finds what they name.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skipf("%v: sudo apt-get install -y systemd", err)
	}
	dir := t.TempDir()
	var files []string
	for _, name := range units {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// The programs are not installed here; any that can be executed will do.
		moved := strings.NewReplacer("/usr/local/bin/superd ", "/bin/true ", "/usr/local/bin/superctl ", "/bin/true ").Replace(string(text))
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], []byte(moved), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "superd.") { // it also finds fault with other units
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUnitsPromise: what workers need to outlive superd is in the unit.
func TestUnitsPromise(t *testing.T) {
	text, err := os.ReadFile("superd.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, want := range []string{
		"Type=notify", "KillMode=process", "Restart=on-failure", "StartLimitIntervalSec=0", "RuntimeDirectoryPreserve=yes",
		"RestartPreventExitStatus=2 10", "TasksMax=infinity", "OOMPolicy=continue", "Delegate=yes",
		"ExecStopPost=/usr/local/bin/superd leftovers",
	} {
		found := false
		for _, line := range lines {
			found = found || line == want
		}
		if !found {
			t.Errorf("superd.service has no %s", want)
		}
	}
}

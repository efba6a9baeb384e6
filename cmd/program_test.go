package cmd_test

import (
	"bytes"
	"fmt"
	"os/exec"
)

// putProgram puts an executable file in place, all of a sudden. Another process
// writes it: what this one has open, a child that another test has just forked has
// open too, and a program that is open for writing cannot be executed (ETXTBSY).
func putProgram(path string, program []byte) error {
	cmd := exec.Command("sh", "-c", `cat >"$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0"`, path)
	cmd.Stdin = bytes.NewReader(program)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot put %s in place: %w\n%s", path, err, out)
	}
	return nil
}

package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// mounts tells whether files can be mounted for one process alone. Users and
// groups of a script live in such a process's /etc: the machine has none of them.
func mounts() bool {
	return exec.Command("unshare", "-m", "--propagation", "private", "mount", "--bind", "/etc/passwd", "/etc/passwd").Run() == nil
}

// users PASSWD GROUP [GETENT] adds lines to /etc/passwd and /etc/group, as the
// superd sees them that is started next, and has it find another getent, in which
// @WORK@ is the script's folder.
func users(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	mount := ""
	for i, path := range []string{"/etc/passwd", "/etc/group"} {
		data, err := os.ReadFile(path)
		ts.Check(err)
		own := filepath.Join(h.dir, filepath.Base(path))
		ts.Check(os.WriteFile(own, []byte(string(data)+ts.ReadFile(args[i])), 0o644))
		mount += fmt.Sprintf("mount --bind '%s' %s && ", own, path)
	}
	if len(args) > 2 {
		getent, err := exec.LookPath("getent")
		ts.Check(err)
		own := filepath.Join(h.dir, "getent")
		text := strings.ReplaceAll(ts.ReadFile(args[2]), "@WORK@", ts.Getenv("WORK"))
		ts.Check(putProgram(own, []byte(text)))
		mount += fmt.Sprintf("mount --bind '%s' '%s' && ", own, getent)
	}
	h.wrap = []string{"unshare", "-m", "--propagation", "private", "sh", "-c", mount + `exec "$@"`, "sh"}
}

// runas USER has superd be started by an ordinary user, whose its folders are.
func runas(ts *testscript.TestScript, neg bool, args []string) {
	h := hostOf(ts)
	uid, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.Chown(h.dir, uid, uid))
	h.wrap = []string{"setpriv", "--reuid=" + args[0], "--regid=" + args[0], "--clear-groups", "--"}
}

// as USER CODE ARGS... runs superctl as a user, with the groups that the user has
// where superd lives, and wants that exit code. Whoever has no line there is
// given as UID:GID or UID:GID:GROUP,GROUP.
func as(ts *testscript.TestScript, neg bool, args []string) {
	cmd := asUser(ts, args[0], args[2:]...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		ts.Fatalf("superctl: %v", err)
	}
	fmt.Fprint(ts.Stdout(), out.String())
	fmt.Fprint(ts.Stderr(), errs.String())
	if code := cmd.ProcessState.ExitCode(); fmt.Sprint(code) != args[1] {
		ts.Fatalf("superctl %s as %s: exit code %d, not %s\n%s%s", strings.Join(args[2:], " "), args[0], code, args[1], out.String(), errs.String())
	}
}

// follow FILE USER ARGS... runs superctl as a user in the background, its output
// in a file. It is ended with the script.
func follow(ts *testscript.TestScript, neg bool, args []string) {
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer out.Close()
	cmd := asUser(ts, args[1], args[2:]...)
	cmd.Stdout, cmd.Stderr = out, out
	ts.Check(cmd.Start())
	file := out.Name()
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait()
		if f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0); err == nil {
			fmt.Fprintf(f, "ended with %d\n", cmd.ProcessState.ExitCode())
			f.Close()
		}
	}()
	ts.Defer(func() { cmd.Process.Kill(); <-done })
}

// asUser is superctl as somebody, within superd's own view of users.
func asUser(ts *testscript.TestScript, who string, args ...string) *exec.Cmd {
	line := []string{"nsenter", "-m", "-t", strconv.Itoa(hostOf(ts).process.Pid), "--"}
	if id := strings.Split(who, ":"); len(id) > 1 {
		groups := "--clear-groups"
		if len(id) > 2 {
			groups = "--groups=" + id[2]
		}
		line = append(line, "setpriv", "--reuid="+id[0], "--regid="+id[1], groups, "--")
	} else {
		line = append(line, "sh", "-c", `user=$1; shift; exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- "$@"`, "sh", who)
	}
	line = append(append(line, filepath.Join(bin, "superctl")), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "SUPERD_SOCKET="+ts.Getenv("SUPERD_SOCKET"), "NO_COLOR=1")
	return cmd
}

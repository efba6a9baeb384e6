package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var deploy = Account{Name: "deploy", UID: 1000, GID: 1000, Home: "/home/deploy", Shell: "/bin/bash"}

func TestRender(t *testing.T) {
	p := load(t, `
[pool.mailers]
command = ["bin/${pool}", "-p", "${9000+index}", "${HOME}", "${PORT}", "$$HOME $X", "${GREETING}", "${release}", "${FROM_FILE}"]
directory = "/srv/current"
env_file = "/etc/app.env"
[pool.mailers.env]
PORT = "${9000+2*index+alt}"
URL = "http://localhost:${PORT}/${SUPERD_WORKER}"
PATH = "/opt/bin:${PATH}"
FROM_FILE = "mine over ${FROM_FILE}"
LANG = "C"
GREETING = "${URL}!"
WHERE = "${PWD} ${SUPERD_RELEASE}"
`).Pools["mailers"]
	cmd, err := p.Render(RunContext{
		Index: 3, Alt: 1, Release: "/srv/releases/42", RunID: "r1", Deployment: "d1", Revision: 7,
		Base: []string{"PATH=/usr/bin", "LANG=de", "LC_ALL=de", "SECRET=x", "HOME=/root", "TZ=UTC", "=odd", "odd",
			"NOTIFY_SOCKET=/run/n", "SUPERD_POOL=evil", "LISTEN_FDS=3"},
		FileEnv: map[string]string{"FROM_FILE": "file", "SHELL": "/bin/zsh", "SUPERD_INDEX": "evil"},
		Account: deploy,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Command{
		Dir:  "/srv/releases/42",
		Argv: []string{"bin/mailers", "-p", "9003", "/home/deploy", "9007", "$HOME $X", "http://localhost:9007/mailers/3!", "/srv/releases/42", "mine over file"},
		Env: []string{
			"FROM_FILE=mine over file", "GREETING=http://localhost:9007/mailers/3!", "HOME=/home/deploy", "LANG=C", "LC_ALL=de", "LOGNAME=deploy",
			"PATH=/opt/bin:/usr/bin", "PORT=9007", "PWD=/srv/releases/42", "SHELL=/bin/zsh",
			"SUPERD_DEPLOYMENT=d1", "SUPERD_INDEX=3", "SUPERD_POOL=mailers", "SUPERD_RELEASE=/srv/releases/42", "SUPERD_REVISION=7", "SUPERD_WORKER=mailers/3",
			"TZ=UTC", "URL=http://localhost:9007/mailers/3", "USER=deploy", "WHERE=/srv/releases/42 /srv/releases/42", "SUPERD_RUN_ID=r1",
		},
	}
	if !reflect.DeepEqual(cmd, want) {
		t.Errorf("rendered\n%q\nwant\n%q", cmd, want)
	}
	if cmd.Getenv("PATH") != "/opt/bin:/usr/bin" || cmd.Getenv("PAT") != "" {
		t.Errorf("PATH is %q", cmd.Getenv("PATH"))
	}
}

func TestNeverPassed(t *testing.T) {
	p := load(t, "[pool.a]\ncommand = \"x\"\ninherit_env = [\"*\", \"NOTIFY_SOCKET\"]\n").Pools["a"]
	cmd, err := p.Render(RunContext{Account: Account{UID: 1}, Release: "/", Base: []string{
		"KEPT=1", "NOTIFY_SOCKET=x", "WATCHDOG_USEC=x", "WATCHDOG_PID=x", "LISTEN_FDS=x", "LISTEN_PID=x", "LISTEN_FDNAMES=x",
		"JOURNAL_STREAM=x", "INVOCATION_ID=x", "CREDENTIALS_DIRECTORY=x", "SUPERD_SOCKET=x", "SUPERD_RUN_ID=old"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range cmd.Env {
		if strings.HasSuffix(kv, "=x") || strings.HasSuffix(kv, "=old") {
			t.Errorf("%s was passed on", kv)
		}
	}
	if cmd.Getenv("KEPT") != "1" || cmd.Getenv("PATH") != "/usr/local/bin:/usr/bin:/bin" {
		t.Errorf("environment %q", cmd.Env)
	}
}

func TestDirectories(t *testing.T) {
	for _, tc := range []struct {
		directory, fixed, dir string
	}{
		{"/srv/${pool}", "/srv/a", "/srv/a"},
		{"/srv/$$x${40+2}", "/srv/$x42", "/srv/$x42"},
		{"/srv/${index}", "", "/srv/3"},
		{"${HOME}/${alt}", "", "/home/deploy/0"},
		{"${HOME}", "", "/home/deploy"},
	} {
		p := load(t, "[pool.a]\ncommand = [\"x\", \"${release}\", \"${PWD}\"]\ndirectory = '"+tc.directory+"'\n").Pools["a"]
		if dir, fixed := p.FixedDirectory(); dir != tc.fixed || fixed != (tc.fixed != "") {
			t.Errorf("%s: fixed %q, %v", tc.directory, dir, fixed)
		}
		cmd, err := p.Render(RunContext{Index: 3, Account: deploy})
		if err != nil || cmd.Dir != tc.dir || cmd.Argv[1] != tc.dir || cmd.Argv[2] != tc.dir || cmd.Getenv("SUPERD_RELEASE") != tc.dir {
			t.Errorf("%s: %+v, %v", tc.directory, cmd, err)
		}
	}
}

func TestRenderErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`command = ["x", "${LANG}"]`, "command: ${LANG} is not set in the environment of this worker"},
		{"command = \"x\"\nenv_file = \"/e\"\nenv = { A = \"secret${NOPE}\" }", "env.A: ${NOPE} is not set in the environment of this worker"},
		{"command = \"x\"\ndirectory = \"/x/${TZ}\"", "directory: ${TZ} is not set in the environment of this worker"},
		{"command = \"x\"\nenv = { A = \"aaaaaaaa${B}${B}${B}${B}${B}${B}${B}${B}${B}\", B = \"${C}${C}${C}${C}${C}${C}${C}${C}${C}${C}${C}${C}${C}\", C = \"${D}${D}${D}${D}${D}${D}${D}${D}${D}${D}${D}${D}${D}\", D = \"${E}${E}${E}${E}${E}${E}${E}${E}${E}${E}${E}${E}\", E = \"0123456789\" }",
			"env.A: it becomes longer than 131072 bytes"},
	} {
		p := load(t, "[pool.a]\n"+tc.text).Pools["a"]
		if _, err := p.Render(RunContext{Account: deploy}); err == nil || err.Error() != tc.want {
			t.Errorf("%v; want %s", err, tc.want)
		}
	}
	// What Load refuses does not hang or crash what was stored otherwise.
	p := &Pool{Command: []string{"${A}"}, Env: map[string]string{"A": "${B}", "B": "${A}"}}
	if _, err := p.Render(RunContext{}); err == nil || err.Error() != "command: ${A} refers to itself by way of A, B" {
		t.Errorf("a circle: %v", err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"bin/prog": "", "bin/plain": "", "other/prog": "", "local": ""})
	for _, name := range []string{"bin/prog", "other/prog", "local"} {
		must(t, os.Chmod(filepath.Join(dir, name), 0o755))
	}
	bin, other := filepath.Join(dir, "bin"), filepath.Join(dir, "other")
	for _, tc := range []struct{ argv0, path, want, err string }{
		{"prog", bin + ":" + other, "DIR/bin/prog", ""},
		{"prog", "/nowhere:" + other + ":" + bin, "DIR/other/prog", ""},
		{"prog", "other", "DIR/other/prog", ""},
		{"bin/prog", "", "DIR/bin/prog", ""},
		{"./local", "", "DIR/./local", ""},
		{other + "/prog", "", "DIR/other/prog", ""},
		{"local", bin, "", "local: no such program in PATH; looked in DIR/bin"},
		{"plain", "/nowhere:" + bin, "", "plain: no such program in PATH; looked in /nowhere, DIR/bin (is not executable)"},
		{"bin", dir, "", "bin: no such program in PATH; looked in DIR (is a directory)"},
		{"prog", "", "", "prog: no such program, since PATH is empty"},
		{"bin/none", bin, "", "DIR/bin/none: no such file or directory"},
		{"bin/plain", bin, "", "DIR/bin/plain: is not executable"},
		{"bin/", bin, "", "DIR/bin/: is a directory"},
		{"", bin, "", "the program's name is empty"},
	} {
		got, err := LookPath(tc.argv0, dir, tc.path)
		msg := ""
		if err != nil {
			msg = err.Error()
		}
		got, msg = strings.ReplaceAll(got, dir, "DIR"), strings.ReplaceAll(msg, dir, "DIR")
		if got != tc.want || msg != tc.err {
			t.Errorf("LookPath(%q, %q) = %q, %q; want %q, %q", tc.argv0, tc.path, got, msg, tc.want, tc.err)
		}
	}
}

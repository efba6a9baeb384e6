package examples_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fromSupervisord runs the configuration of docs/from-supervisord.md by
// supervisord and, carried over, by superd: both keep the same deal.
func fromSupervisord(t *testing.T) {
	const place = "/srv/thumbs"
	c := carriedOver(t, "from-supervisord.md", "ini")
	d := deal{
		slots:  3,
		said:   map[string]string{"queue": "thumbs", "args": "--queue,thumbs", "uid": uid(t)},
		signal: "QUIT", longer: 11, done: 2,
		hopeless: "failed", attempts: 5, since: true,
	}

	superd := func(t *testing.T) {
		w := newWorkshop(t, "worker.sh", "bin/worker")
		d.keeps(t, startSuperd(t, c, "thumbs", place, w), w)
	}
	original := func(t *testing.T) {
		peer(t, "supervisord", "supervisor")
		w := newWorkshop(t, "worker.sh", "bin/worker")
		d.keeps(t, startSupervisord(t, strings.ReplaceAll(asUser(c.original), place, w.dir), w.dir), w)
	}
	move := func(t *testing.T) {
		peer(t, "supervisord", "supervisor")
		w := newWorkshop(t, "worker.sh", "bin/worker")
		s := startSupervisord(t, strings.ReplaceAll(asUser(c.original), place, w.dir), w.dir)
		eventually(t, "all are up", func() bool { return s.state(0) == "running" && len(w.alive()) == d.slots })
		worker := w.give("work 2")
		s.ctl("signal", "QUIT", "thumbs:*")
		eventually(t, "all are done, and none comes back", func() bool {
			return s.state(0) == "completed" && s.state(1) == "completed" && s.state(2) == "completed"
		})
		if !w.has(fmt.Sprint("left ", worker)) || len(w.starts()) != d.slots {
			t.Errorf("the job was not finished, or somebody was started again")
		}
	}
	together(t, named{"superd", superd}, named{"supervisord", original}, named{"move", move})
}

// supervisord is one with a folder of its own.
type supervisord struct {
	t    *testing.T
	conf string
	dir  string // of the programs
	http http.Client
}

// startSupervisord runs one with that program file, as Debian's main file would
// include it.
func startSupervisord(t *testing.T, program, dir string) *supervisord {
	t.Helper()
	s := &supervisord{t: t, conf: filepath.Join(tempDir(t), "supervisord.conf"), dir: dir}
	home := filepath.Dir(s.conf)
	write(t, filepath.Join(home, "program.conf"), program)
	write(t, s.conf, fmt.Sprintf(`[unix_http_server]
file=%[1]s/s.sock
[supervisord]
logfile=%[1]s/supervisord.log
pidfile=%[1]s/supervisord.pid
childlogdir=%[1]s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%[1]s/s.sock
[include]
files=program.conf
`, home))
	cmd := exec.Command("supervisord", "-n", "-c", s.conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("supervisord does not end")
			cmd.Process.Kill()
			<-ended
		}
	})
	s.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(home, "s.sock"))
	}}
	t.Cleanup(s.http.CloseIdleConnections)
	eventually(t, "supervisord answers", func() bool { return s.state(0) != "none" })
	return s
}

func (s *supervisord) ctl(args ...string) string {
	out, _ := exec.Command("supervisorctl", append([]string{"-c", s.conf}, args...)...).CombinedOutput()
	return string(out)
}

func (s *supervisord) start()           { go s.ctl("start", "thumbs:*") } // it waits until startsecs have passed
func (s *supervisord) stop()            { s.ctl("stop", "thumbs:*") }
func (s *supervisord) log(n int) string { return fmt.Sprintf("%s/log/thumbs_%02d.log", s.dir, n) }

// state asks by XML-RPC: supervisorctl takes too long to be asked again and again.
func (s *supervisord) state(n int) string {
	const call = `<?xml version="1.0"?><methodCall><methodName>supervisor.getProcessInfo</methodName>` +
		`<params><param><value><string>thumbs:thumbs_%02d</string></value></param></params></methodCall>`
	res, err := s.http.Post("http://supervisord/RPC2", "text/xml", strings.NewReader(fmt.Sprintf(call, n)))
	if err != nil {
		return "none"
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	name := stateName.FindSubmatch(answer)
	if name == nil {
		return "none"
	}
	switch string(name[1]) {
	case "EXITED":
		return "completed"
	case "FATAL":
		return "failed"
	default:
		return strings.ToLower(string(name[1]))
	}
}

var stateName = regexp.MustCompile(`<name>statename</name>\s*<value><string>(\w+)</string>`)

package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// completionConfig has two pools that begin alike, a group of both, and another.
const completionConfig = `
[pool.mailers]
command = "sleep 1000"
count = 2
groups = ["work"]
[pool.maps]
command = "sleep 1000"
autostart = false
groups = ["work"]
[pool.web]
command = "sleep 1000"
`

// bashCompletion is what bash's completions need beside bash.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// shells are started as a user's, but for the user's own files.
var shells = []struct {
	name  string
	args  []string
	setup string // typed first; @ is the folder of the installed completions
}{
	{"bash", []string{"--norc", "--noprofile", "-i"}, "PS1=; . " + bashCompletion + "; . @/superctl"},
	{"zsh", []string{"-f", "-i"}, "PS1=; setopt no_prompt_cr no_beep; fpath=(@ $fpath); autoload -U compinit; compinit -u -D"},
	{"fish", []string{"--no-config", "-i"}, "function fish_prompt; end; set -g fish_complete_path @; source @/superctl.fish"},
}

// typed is what a user types before the tab, and the words that are there then.
var typed = []struct{ line, words string }{
	{"superctl restart mai", "superctl restart mailers"},
	{"superctl restart ma", "superctl restart ma"}, // mailers or maps
	{"superctl restart maps mai", "superctl restart maps mailers"},
	{"superctl stop w", "superctl stop web"},
	{"superctl stop web/", "superctl stop web/0"},
	{"superctl stop @w", "superctl stop @work"},
	{"superctl stop --no-wait @", "superctl stop --no-wait @work"},
	{"superctl scale mai", "superctl scale mailers="},
	{"superctl scale mailers=", "superctl scale mailers="},
	{"superctl signal USR1 we", "superctl signal USR1 web"},
	{"superctl signal WIN", "superctl signal WINCH"},
	{"superctl compl", "superctl completion"},
	{"superctl status --wat", "superctl status --watch"},
	{"superctl apply ", "superctl apply"}, // not a file
}

// typedAlone is the same without superd: what superctl knows by itself.
var typedAlone = []struct{ line, words string }{
	{"superctl restart mai", "superctl restart mai"},
	{"superctl restart ", "superctl restart"},
	{"superctl scale ", "superctl scale"},
	{"superctl stop @", "superctl stop @"},
	{"superctl status --wat", "superctl status --watch"},
	{"superctl compl", "superctl completion"},
}

// TestCompletion presses the tab key in real shells on a terminal, with the
// completions that are installed.
func TestCompletion(t *testing.T) {
	socket := serve(t, completionConfig)
	installed, err := filepath.Abs("../contrib/completions")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"superctl", "_superctl", "superctl.fish"} {
		if _, err := os.ReadFile(filepath.Join(installed, name)); err != nil { // read, so that a change of it counts
			t.Fatal(err)
		}
	}
	for _, s := range shells {
		t.Run(s.name, func(t *testing.T) {
			path, err := exec.LookPath(s.name)
			if err != nil {
				t.Skipf("%s is not installed (sudo apt-get install -y %[1]s)", s.name)
			}
			if _, err := os.Stat(bashCompletion); s.name == "bash" && err != nil {
				t.Skip("bash-completion is not installed (sudo apt-get install -y bash-completion)")
			}
			setup := strings.ReplaceAll(s.setup, "@", installed)
			sh := newShell(t, socket, path, s.args, setup)
			for _, c := range typed {
				words := sh.complete(c.line)
				for range 10 { // a shell does not wait long for a superd that is busy
					if words == c.words {
						break
					}
					words = sh.complete(c.line)
				}
				if words != c.words {
					t.Errorf("%q and tab: %q, want %q", c.line, words, c.words)
				}
			}
			sh = newShell(t, filepath.Join(t.TempDir(), "none"), path, s.args, setup)
			for _, c := range typedAlone {
				if words := sh.complete(c.line); words != c.words {
					t.Errorf("without superd: %q and tab: %q, want %q", c.line, words, c.words)
				}
			}
			if said := sh.all(); strings.Contains(said, "cannot") || strings.Contains(said, "waiting") {
				t.Errorf("without superd it was not silent: %q", said)
			}
		})
	}
}

// serve starts a superd until the end of the test, and gives its socket.
func serve(t *testing.T, config string) (socket string) {
	t.Helper()
	h := &host{dir: t.TempDir()}
	file := filepath.Join(h.dir, "superd.toml")
	if err := os.WriteFile(file, []byte(h.superdTable()+config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "superd"), "-c", file)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("superd: %v\n%s", err, said.String())
		}
	})
	status := exec.Command(filepath.Join(bin, "superctl"), "-s", h.socket(), "--timeout", "30s", "status")
	if out, err := status.CombinedOutput(); err != nil {
		t.Fatalf("superd does not answer: %s\n%s", out, said.String())
	}
	return h.socket()
}

// shell is an interactive shell at the other end of a terminal.
type shell struct {
	t    *testing.T
	tty  *os.File
	n    int // lines completed
	mu   sync.Mutex
	said []byte
	read int // of said
}

// newShell starts a shell in an empty folder, for one file, which a completion
// that knows no better would offer.
func newShell(t *testing.T, socket, path string, args []string, setup string) *shell {
	t.Helper()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "some-file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	master, slave := openTerminal(t)
	cmd := exec.Command(path, args...)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + home, "TERM=dumb", "LC_ALL=C.UTF-8", "SUPERD_SOCKET=" + socket}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	sh := &shell{t: t, tty: master}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sh.listen()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		<-ended
		master.Close()
	})
	sh.send(setup + "; echo RE''ADY\n")
	sh.until("READY")
	return sh
}

// openTerminal makes a terminal that is wide enough for every line.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 250})
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// listen collects what the shell says, until it is gone.
func (s *shell) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := s.tty.Read(buf)
		s.mu.Lock()
		s.said = append(s.said, buf[:n]...)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *shell) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.said)
}

func (s *shell) send(keys string) {
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for something in what the shell has said since the last call.
func (s *shell) until(re string) []string {
	s.t.Helper()
	want := regexp.MustCompile(re)
	for late := time.Now().Add(2 * patience); ; time.Sleep(5 * time.Millisecond) {
		said := s.all()
		if at := want.FindStringSubmatchIndex(said[s.read:]); at != nil {
			found := want.FindStringSubmatch(said[s.read:])
			s.read += at[1]
			return found
		}
		if time.Now().After(late) {
			s.t.Fatalf("the shell never said %s but %q", re, said[s.read:])
		}
	}
}

// complete types a line and a tab, and gives the words that the line has then:
// ^A goes to the line's begin, where a command is put before it.
func (s *shell) complete(line string) string {
	s.t.Helper()
	s.n++
	s.send(fmt.Sprintf("%s\t\x01printf '%%s ' begin%d: \x05 :end%[2]d\n", line, s.n))
	return strings.TrimSpace(s.until(fmt.Sprintf(`begin%d: ([a-zA-Z0-9@/=._ -]*):end%[1]d `, s.n))[1])
}

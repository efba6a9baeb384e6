package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"golang.org/x/sys/unix"
)

// When the runtime folder was deleted, the keeper listens on a socket that has no
// name any more. superd then finds it in /proc and asks it, by a signal, to bind
// another one: the only way to reach a process that cannot be called. It is also
// how one that does not answer is found and ended.

// PIDName is the file in the runtime folder that has the current keeper's pid.
const PIDName = pidName

// bindSignal asks a keeper to make its socket again if it is gone. An older
// keeper passes over it in silence.
const bindSignal = syscall.SIGUSR1

// firstBindSignal is what asks the first process of a container for that: there USR1
// is for superd. Nobody else sends this one, nor does the kernel.
const firstBindSignal = syscall.SIGSTKFLT

// bindAgain makes the socket again unless it is where it was, or where superd has
// moved it. What has the name of the current keeper is another keeper's, and when
// nothing has it, it is this one's.
func (k *keeper) bindAgain() {
	name, old := socketName, k.named()
	switch {
	case old == socketName:
		return
	case inode(filepath.Join(k.dir, socketName)) == 0:
	case old != "":
		return
	default:
		name = socketOf(k.pid)
	}
	path, done, err := shortPath(k.dir, name)
	if err != nil {
		return // superd has not made the folder, and asks again when it has
	}
	defer done()
	fd, err := bind(path)
	if err != nil {
		return
	}
	l := &listener{fd}
	if k.watch(fd, unix.EPOLLIN|unix.EPOLLET, l) != nil {
		unix.Close(fd)
		return
	}
	if old != "" {
		os.Remove(filepath.Join(k.dir, old))
	}
	k.accept(k.listener) // who has called before
	k.drop(&k.listener.fd)
	k.listener, k.mine = l, inode(filepath.Join(k.dir, name))
}

// named is the name that the keeper's socket has in its folder; empty: none.
func (k *keeper) named() string {
	for _, name := range []string{socketName, socketOf(k.pid)} {
		if k.mine != 0 && inode(filepath.Join(k.dir, name)) == k.mine {
			return name
		}
	}
	return ""
}

// rebindPatience is how long a keeper may take to make its socket: it needs less
// than a millisecond, unless the host is very busy or it is stopped.
const rebindPatience = 5 * time.Second

// process is a keeper as another process sees it, pinned.
type process struct{ pid, pidfd int }

func (p process) close() { unix.Close(p.pidfd) }

// bindAgain has the keeper make its socket in dir again, and waits until it is
// there. Whatever bears the name goes first.
func (p process) bindAgain(dir string) error {
	path := filepath.Join(dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	sig := bindSignal
	if p.pid == 1 {
		sig = firstBindSignal
	}
	if err := proc.SendSignal(p.pidfd, sig); err != nil {
		return err
	}
	for until := time.Now().Add(rebindPatience); time.Now().Before(until); {
		if conn, err := connect(dir, socketName); err == nil { // its name is there a moment before it listens
			conn.Close()
			return nil
		}
		if proc.Ended(p.pidfd) {
			return errors.New("it has ended")
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("it did not make its socket within %s", rebindPatience)
}

// kill ends the keeper, even one that is stopped, and waits until it has ended.
func (p process) kill() error {
	if p.pid == 1 {
		return errors.New("it is the first process of the container, and nothing in there can end it")
	}
	if err := proc.SendSignal(p.pidfd, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return err
	}
	poll := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for until := time.Now().Add(rebindPatience); time.Now().Before(until); {
		if n, err := unix.Poll(poll, 100); n > 0 || err != nil && err != unix.EINTR {
			return err
		}
	}
	return fmt.Errorf("it survives SIGKILL (state %s)", proc.Describe(p.pid).State)
}

// living finds a keeper of dir in /proc that is none of those beside it. It is a
// process of our own user and pid namespace, for which dir is the same folder as for
// us, with the arguments that start gives it, and the owner of a socket that listens
// in dir. All of that is asked for: whoever is found may be killed.
func living(dir string, beside []int) (process, bool) {
	pids, err := proc.PIDs()
	if err != nil {
		return process{}, false
	}
	found := make(map[int]bool)
	for _, pid := range pids {
		found[pid] = isKeeper(pid, dir)
	}
	for pid, is := range found {
		// A child that has not executed its program yet looks the same. Those of the
		// first process, whose arguments are superd's, do not.
		if st, err := proc.ReadStat(pid); !is || err != nil || found[st.PPID] && st.PPID != 1 || slices.Contains(beside, pid) {
			continue
		}
		if p, err := pinKeeper(pid, dir); err == nil {
			return p, true
		}
	}
	return process{}, false
}

// Living is the pid of a keeper of dir that lives, whether or not it can be called, or
// the folder is still there; 0: there is none.
func Living(dir string) int {
	p, ok := living(dir, nil)
	if !ok {
		return 0
	}
	p.close()
	return p.pid
}

// pinKeeper opens a keeper's process.
func pinKeeper(pid int, dir string) (process, error) {
	fd, err := proc.OpenPIDFD(pid)
	if err != nil {
		return process{}, err
	}
	// It is looked at after it was pinned, and lives then: so it is the pinned one.
	if !isKeeper(pid, dir) || proc.Ended(fd) {
		unix.Close(fd)
		return process{}, unix.ESRCH
	}
	return process{pid, fd}, nil
}

func isKeeper(pid int, dir string) bool {
	root := "/proc/" + strconv.Itoa(pid)
	line, err := os.ReadFile(root + "/cmdline")
	if err != nil {
		return false
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	named := len(args) >= 4 && args[1] == "keep" && args[2] == "--dir" && args[3] == dir
	if !named && !(pid == 1 && isFirst()) {
		return false
	}
	uid, err := proc.Owner(pid)
	if err != nil || int(uid) != os.Geteuid() {
		return false
	}
	parent := filepath.Dir(dir)
	return sameFile(root+"/ns/pid", "/proc/self/ns/pid") && sameFile(root+"/root"+parent, parent) && listens(root, dir)
}

func sameFile(a, b string) bool {
	fa, err := os.Stat(a)
	if err != nil {
		return false
	}
	fb, err := os.Stat(b)
	return err == nil && os.SameFile(fa, fb)
}

// listens tells whether a process has a socket open that was bound in dir as a
// keeper's and listens, whether or not its name is still there.
func listens(root, dir string) bool {
	if len(filepath.Join(dir, socketName)) >= 108 {
		return true // it was bound by another name, see shortPath
	}
	inodes, err := listeners(root, dir)
	if err != nil {
		return false
	}
	fds, err := os.ReadDir(root + "/fd")
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if name, err := os.Readlink(root + "/fd/" + fd.Name()); err == nil && slices.Contains(inodes, name) {
			return true
		}
	}
	return false
}

// listeners are the sockets that were bound in dir as keepers' and listen, in the
// form that /proc/PID/fd has them in.
func listeners(root, dir string) ([]string, error) {
	table, err := os.ReadFile(root + "/net/unix")
	if err != nil {
		return nil, err
	}
	var inodes []string
	folder := []byte(" " + filepath.Clean(dir) + "/")
	for line := range bytes.Lines(table) {
		// Num RefCount Protocol Flags Type St Inode Path; 00010000 is __SO_ACCEPTCON.
		line = bytes.TrimSuffix(line, []byte{'\n'})
		i := bytes.LastIndex(line, folder)
		if i < 0 {
			continue
		}
		name := string(line[i+len(folder):])
		if f := bytes.Fields(line); len(f) >= 8 && string(f[3]) == "00010000" && (name == socketName || formerPID(name) != 0) {
			inodes = append(inodes, "socket:["+string(f[6])+"]")
		}
	}
	return inodes, nil
}

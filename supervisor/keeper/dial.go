package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/superd/superd/supervisor/proc"
	"github.com/superd/superd/supervisor/proc/pack"
	"golang.org/x/sys/unix"
)

// Options are how Dial starts a keeper, and what is told meanwhile.
type Options struct {
	Exe string       // the program that is `superd keep`; empty: the one that runs
	Log func(string) // for what is worth a line; nil: nowhere
	// Timeout bounds the greeting of a keeper; 0: ten seconds.
	Timeout time.Duration
	// Beside are the pids of keepers of the same folder that are known, and not meant.
	Beside []int
}

func (o Options) complete() Options {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Exe == "" {
		o.Exe = "/proc/self/exe"
	}
	if o.Timeout == 0 {
		o.Timeout = greetPatience
	}
	return o
}

// Dial connects to the keeper of dir, the runtime folder, or starts one; started
// tells which. The caller holds superd's lock: nobody else starts one meanwhile.
// One that lives and whose socket is gone is asked to make it again. One that does
// not answer is killed, and another started: its runs live on as orphans.
func Dial(dir string, opts Options) (c *Client, started bool, err error) {
	opts = opts.complete()
	c, err = callKeeper(dir, socketName, opts)
	if nobody(err) {
		c, err = regain(dir, opts)
	}
	if nobody(err) {
		started = true
		c, err = startAndReach(dir, opts)
	}
	if err != nil {
		verb := "reach"
		if started {
			verb = "start"
		}
		return nil, started, fmt.Errorf("cannot %s the keeper of %s: %w", verb, dir, err)
	}
	c.follow()
	return c, started, nil
}

// callKeeper connects to the keeper whose socket has a name in dir. One that does not
// answer is killed: then, as when there was none, the error is that of [nobody].
func callKeeper(dir, name string, opts Options) (*Client, error) {
	until := time.Now().Add(opts.Timeout)
	c, err := reach(dir, name, opts)
	for (errors.Is(err, errHungUp) || errors.Is(err, unix.EAGAIN)) && time.Now().Before(until) {
		// A keeper that is being killed closes one socket after the other, and its
		// listener last: calls are still taken that nobody answers. EAGAIN means
		// that more are calling than its queue takes.
		time.Sleep(time.Millisecond)
		c, err = reach(dir, name, opts)
	}
	if errors.Is(err, errSilent) {
		err = endSilent(dir, name, opts, err)
	}
	if err != nil {
		return nil, err
	}
	c.child = ourChild(c.pid)
	return c, nil
}

// follow lets a client that was greeted take what comes.
func (c *Client) follow() {
	go c.read()
	go c.pump()
}

// regain calls a keeper that lives and cannot be called by name. The error is
// ErrNotExist when there is none, any more.
func regain(dir string, opts Options) (*Client, error) {
	p, ok := living(dir, opts.Beside)
	if !ok {
		return nil, os.ErrNotExist
	}
	defer p.close()
	err := p.bindAgain(dir)
	if err == nil {
		opts.Log(fmt.Sprintf("the socket of the keeper, pid %d, was gone (it has made it again)", p.pid))
		var c *Client
		if c, err = reach(dir, socketName, opts); err == nil {
			c.child = ourChild(c.pid)
			return c, nil
		}
	}
	if errors.Is(err, errRefused) {
		return nil, err
	}
	if proc.Ended(p.pidfd) {
		return nil, os.ErrNotExist
	}
	return nil, replace(p, opts, err)
}

// endSilent ends the keeper that was called by a name and does not answer.
func endSilent(dir, name string, opts Options, why error) error {
	var p process
	var ok bool
	if pid := formerPID(name); pid != 0 {
		pinned, err := pinKeeper(pid, dir)
		p, ok = pinned, err == nil
	} else {
		p, ok = living(dir, opts.Beside)
	}
	if !ok {
		return why
	}
	defer p.close()
	return replace(p, opts, why)
}

// replace ends a keeper that is of no use any more, so that another one can be
// started: the error is ErrNotExist then.
func replace(p process, opts Options, why error) error {
	opts.Log(fmt.Sprintf("the keeper, pid %d, cannot be reached: %v (it is killed, and another one started)", p.pid, why))
	if err := p.kill(); err != nil {
		return fmt.Errorf("%w; and it cannot be ended: %w", why, err)
	}
	return os.ErrNotExist
}

// errHungUp: somebody took the call, and ended it without a word.
var errHungUp = errors.New("it hung up")

// errRefused: it has answered, and wants nothing to do with us. It is sound, and the
// business of another superd.
var errRefused = errors.New("it refuses")

// errSilent: the call was taken by a backlog, and nobody answers.
var errSilent = errors.New("it did not answer")

// reach calls the keeper that is there.
func reach(dir, name string, opts Options) (*Client, error) {
	conn, err := connect(dir, name)
	if err != nil {
		return nil, err
	}
	c := newClient(conn, opts.Log)
	c.dir, c.name = dir, name
	if err := c.greet(opts.Timeout); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// starts is how many keepers are started in a row when each dies before its first word.
const starts = 5

// startAndReach starts a keeper, and another one should somebody kill it at once.
func startAndReach(dir string, opts Options) (c *Client, err error) {
	for range starts {
		if c, err = startOne(dir, opts); !errors.Is(err, errHungUp) && !nobody(err) {
			break // it is there, or would fail again; one that was killed at once would not
		}
	}
	return c, err
}

// startOne starts a keeper. One that does not answer is killed: it has no runs.
func startOne(dir string, opts Options) (*Client, error) {
	pidfd, err := start(dir, opts)
	if err != nil {
		return nil, err
	}
	c, err := reach(dir, socketName, opts)
	if err != nil {
		unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		failed := newClient(nil, opts.Log)
		failed.child = pidfd
		failed.reap()
		return nil, fmt.Errorf("%w%s", err, lastWords(dir, traceName))
	}
	c.child = pidfd
	c.WritePID()
	return c, nil
}

// greet says hello and checks who answers.
func (c *Client) greet(timeout time.Duration) error {
	if err := checkServer(c.conn); err != nil {
		return err
	}
	c.conn.SetDeadline(time.Now().Add(timeout))
	defer c.conn.SetDeadline(time.Time{})
	c.begin(c.word, 1)
	ourHello().pack(&c.out)
	if err := c.put(context.Background(), c.out.Buf, nil); err != nil {
		return fmt.Errorf("%w: %w", errHungUp, err)
	}
	buf := make([]byte, maxPacket)
	n, _, _, _, err := c.conn.ReadMsgUnix(buf, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w within %s", errSilent, timeout)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errHungUp, err)
	}
	r := pack.NewReader(string(buf[:n]))
	k := kind(r.Byte())
	r.Uint()
	switch k {
	case ansHello:
		c.version, c.pid = int(r.Uint32()), int(r.Uint32())
		return r.Err()
	case ansRefused:
		code, text := r.Uint(), r.String()
		return fmt.Errorf("%w: %w", errRefused, refusal(code, text))
	}
	return fmt.Errorf("its first packet is of kind %d and no hello", k)
}

// checkServer refuses a socket that another user has put there.
func checkServer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err == nil {
		err = failed
	}
	if err == nil && peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		err = fmt.Errorf("its socket belongs to user %d", peer.Uid)
	}
	return err
}

func connect(dir, name string) (*net.UnixConn, error) {
	path, done, err := shortPath(dir, name)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
}

// shortPath is the path of a socket in dir that fits a socket address, whatever
// dir's length (unix(7): 108 bytes).
func shortPath(dir, name string) (path string, done func(), err error) {
	path = filepath.Join(dir, name)
	if len(path) < 108 {
		return path, func() {}, nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), func() { unix.Close(fd) }, nil
}

// listen makes the keeper's socket in dir, instead of one that nobody listens on.
func listen(dir string) (int, error) {
	path, done, err := shortPath(dir, socketName)
	if err != nil {
		return -1, err
	}
	defer done()
	if conn, err := connect(dir, socketName); err == nil {
		conn.Close()
		return -1, errors.New("a keeper is there already")
	}
	return bind(path)
}

// bind makes a listening socket at path, whatever is there.
func bind(path string) (int, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	// The file gets the mode of the socket: it is never there with another one.
	err = os.NewSyscallError("fchmod", unix.Fchmod(fd, 0o600))
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, 128))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// start starts a keeper. It finds its socket made and listening, so that nobody
// has to wait for that. Its standard error is a file of its own: superd's may be
// a pipe that fills up or breaks, and would be kept open for whoever reads it.
func start(dir string, opts Options) (pidfd int, err error) {
	fd, err := listen(dir)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if words := lastWords(dir, traceName); words != "" {
		opts.Log("the last keeper has died" + words)
	}
	trace, err := os.OpenFile(filepath.Join(dir, traceName), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, err
	}
	defer trace.Close()
	s, err := proc.NewStarter()
	if err != nil {
		return -1, err
	}
	defer s.Close()
	p, err := s.Direct(&proc.Spec{
		Path: opts.Exe, Args: []string{"superd", "keep", "--dir", dir, listenerFlag, "3"},
		Dir: "/", Umask: s.Umask(),
	}, proc.Files{Stderr: int(trace.Fd()), Extra: fd})
	if err != nil {
		return -1, err
	}
	return p.PIDFD, nil
}

// lastWords is the beginning of what a keeper left when it died.
func lastWords(dir, trace string) string {
	data, err := os.ReadFile(filepath.Join(dir, trace))
	if err != nil || len(data) == 0 {
		return ""
	}
	return ": " + clip(string(data))
}

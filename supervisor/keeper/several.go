package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/superd/superd/supervisor/aim"
	"golang.org/x/sys/unix"
)

// A keeper cannot be replaced while its runs live: it is their parent. So a superd
// that speaks a newer version than its keeper starts another one beside it, which
// gets all that is new, and has the old one end with its last run. There may be any
// number of such former keepers: a run may outlast several upgrades.
//
// The socket of the current keeper is keeper.sock, that of a former one
// keeper-PID.sock: it is moved there before the next one is started. Names are where
// keepers are found, and nothing more. Which of them is the current one is what they
// speak, so it does not matter at which instant superd dies, and whoever comes next
// gives them the names that they should have.

// The names of a former keeper's socket and trace.
const (
	formerPrefix = "keeper-"
	socketSuffix = ".sock"
	traceSuffix  = ".err"
)

func socketOf(pid int) string { return formerPrefix + strconv.Itoa(pid) + socketSuffix }
func traceOf(pid int) string  { return formerPrefix + strconv.Itoa(pid) + traceSuffix }

// formerPID is whose socket has such a name; 0: it is no former keeper's.
func formerPID(name string) int {
	digits, ok := strings.CutPrefix(name, formerPrefix)
	digits, ok2 := strings.CutSuffix(digits, socketSuffix)
	pid, err := strconv.Atoi(digits)
	if !ok || !ok2 || err != nil || pid <= 0 || name != socketOf(pid) {
		return 0
	}
	return pid
}

// formerNames are the sockets of former keepers in dir.
func formerNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for keepers: %w", err)
	}
	var names []string
	for _, e := range entries {
		if formerPID(e.Name()) != 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Exists tells whether something in dir has the name of a keeper's socket. A keeper
// that has ended as it should has taken it away.
func Exists(dir string) bool {
	names, _ := formerNames(dir)
	_, err := os.Lstat(filepath.Join(dir, socketName))
	return err == nil || len(names) > 0
}

// DialAll connects to all keepers of dir, or starts one if there is none; started
// tells which. The first is the current one: it has the newest version. Each is
// dealt with as Dial does.
func DialAll(dir string, opts Options) (all []*Client, started bool, err error) {
	opts = opts.complete()
	defer func() {
		if err != nil {
			hangUp(all)
			all = nil
		}
	}()
	if all, err = callFormer(dir, opts); err != nil {
		return all, false, fmt.Errorf("cannot reach the keepers of %s: %w", dir, err)
	}
	opts.Beside = pids(all)
	c, err := callKeeper(dir, socketName, opts)
	switch {
	case err == nil:
		all = append(all, c)
	case !nobody(err):
		return all, false, fmt.Errorf("cannot reach the keeper of %s: %w", dir, err)
	}
	if all, err = callNameless(dir, opts, all); err != nil {
		return all, false, fmt.Errorf("cannot reach the keepers of %s: %w", dir, err)
	}
	if started = len(all) == 0; started {
		if c, err = startAndReach(dir, opts); err != nil {
			return nil, true, fmt.Errorf("cannot start the keeper of %s: %w", dir, err)
		}
		all = append(all, c)
	}
	if err = settle(all); err != nil {
		return all, started, fmt.Errorf("cannot name the keepers of %s: %w", dir, err)
	}
	for _, c := range all {
		c.follow()
	}
	return all, started, nil
}

func pids(all []*Client) []int {
	var list []int
	for _, c := range all {
		list = append(list, c.pid)
	}
	return list
}

// hangUp closes connections.
func hangUp(all []*Client) {
	for _, c := range all {
		c.Close()
	}
}

// callFormer connects to the keepers whose sockets were moved aside, and takes away
// the names of those that live no more.
func callFormer(dir string, opts Options) (all []*Client, err error) {
	names, err := formerNames(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		c, err := callKeeper(dir, name, opts)
		switch {
		case nobody(err):
			if words := lastWords(dir, traceOf(formerPID(name))); words != "" {
				opts.Log(fmt.Sprintf("the former keeper, pid %d, has died%s", formerPID(name), words))
			}
			forgetFormer(dir, formerPID(name))
		case err != nil:
			return all, fmt.Errorf("keeper of pid %d: %w", formerPID(name), err)
		default:
			all = append(all, c)
		}
	}
	return all, nil
}

// forgetFormer takes away the names of a keeper that has ended.
func forgetFormer(dir string, pid int) {
	os.Remove(filepath.Join(dir, socketOf(pid)))
	os.Remove(filepath.Join(dir, traceOf(pid)))
}

// callNameless connects to the keepers whose socket has lost its name, besides those
// that were reached. Only when the kernel has more of their sockets than were reached,
// or none was, all of /proc is looked through.
func callNameless(dir string, opts Options, all []*Client) ([]*Client, error) {
	sockets, err := listeners("/proc/self", dir)
	if err == nil && len(sockets) <= len(all) && len(all) > 0 {
		return all, nil
	}
	for {
		opts.Beside = pids(all)
		p, ok := living(dir, opts.Beside)
		if !ok {
			return all, nil
		}
		p.close()
		// A keeper makes its socket under the current one's name: that one's is moved
		// aside for so long.
		for _, c := range all {
			if err := c.rename(socketOf(c.pid)); err != nil {
				return all, err
			}
		}
		c, err := regain(dir, opts)
		if nobody(err) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
}

// Socket is the path of the keeper's socket.
func (c *Client) Socket() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return filepath.Join(c.dir, c.name)
}

// rename gives the keeper's socket another name.
func (c *Client) rename(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.name == name {
		return nil
	}
	err := os.Rename(filepath.Join(c.dir, c.name), filepath.Join(c.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // one that has no name will be found without
		return err
	}
	c.name = name
	return nil
}

// settle puts the current keeper first, and gives all sockets their names.
func settle(all []*Client) error {
	slices.SortStableFunc(all, func(a, b *Client) int {
		if a.version != b.version {
			return b.version - a.version
		}
		return len(a.name) - len(b.name) // the one that was the current one stays it
	})
	for _, c := range all[1:] {
		if err := c.rename(socketOf(c.pid)); err != nil {
			return err
		}
	}
	if err := all[0].rename(socketName); err != nil {
		return err
	}
	all[0].WritePID()
	return nil
}

// Outdated tells that the keeper speaks an older version than is spoken here.
func (c *Client) Outdated() bool { return c.version < Version }

// Succeed starts another keeper beside c, to be the current one in its place. If
// that fails, c is it as before. The caller is the one of DialAll.
func (c *Client) Succeed(opts Options) (*Client, error) {
	opts = opts.complete()
	cannot := func(err error) error {
		return fmt.Errorf("cannot start a keeper of version %d beside the one of version %d, pid %d: %w", Version, c.version, c.pid, err)
	}
	if err := c.rename(socketOf(c.pid)); err != nil {
		return nil, cannot(err)
	}
	// What it may have to say when it dies is not to be mistaken for the other's.
	trace, former := filepath.Join(c.dir, traceName), filepath.Join(c.dir, traceOf(c.pid))
	os.Rename(trace, former)
	aim.At("succeed.moved")
	next, err := startAndReach(c.dir, opts)
	if err != nil {
		os.Rename(former, trace)
		return nil, errors.Join(cannot(err), c.rename(socketName))
	}
	next.follow()
	return next, nil
}

// Forget takes away what a former keeper has left in the runtime folder when it has
// ended or died, and tells its last words, if it had any.
func (c *Client) Forget() (words string) {
	if filepath.Base(c.Socket()) == socketName {
		return ""
	}
	words = lastWords(c.dir, traceOf(c.pid))
	forgetFormer(c.dir, c.pid)
	return words
}

// nobody tells that there is no keeper to be called.
func nobody(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
}

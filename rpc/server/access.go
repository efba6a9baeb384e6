package server

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// role is what somebody may do; each includes those before it.
type role int

const (
	nothing  role = iota
	viewer        // status, events
	operator      // start, stop, restart, scale, signal; sees environment values
	admin         // apply, shutdown
)

func (r role) String() string {
	return [...]string{"nothing", "viewer", "operator", "admin"}[r]
}

// access is what one peer may do, by the configuration of one snapshot.
type access struct {
	peer   *peer
	all    role // for everything
	lookup Lookup
	own    uint32 // superd's uid
	snap   *supervisor.Snapshot
}

// accessOf judges a peer. root and superd's own user are admins.
func (s *Server) accessOf(p *peer, snap *supervisor.Snapshot) *access {
	a := &access{peer: p, lookup: s.opts.Lookup, own: s.opts.UID, snap: snap}
	if p == nil {
		return a
	}
	if s.isAdmin(p) {
		a.all = admin
		return a
	}
	a.all = a.granted(snap.Info.Operators, snap.Info.Viewers)
	return a
}

func (s *Server) isAdmin(p *peer) bool { return p.uid == 0 || p.uid == s.opts.UID }

// granted is the role that a pair of lists gives.
func (a *access) granted(operators, viewers []string) role {
	switch {
	case a.listed(operators):
		return operator
	case a.listed(viewers):
		return viewer
	}
	return nothing
}

// listed tells whether the peer is in a list of user names and "@group"s.
// Numbers are taken too, where no such name exists.
func (a *access) listed(list []string) bool {
	for _, entry := range list {
		if group, ok := strings.CutPrefix(entry, "@"); ok {
			if gid, ok := a.resolve(entry, group, a.lookup.GID); ok && a.peer.inGroup(gid) {
				return true
			}
		} else if uid, ok := a.resolve(entry, entry, a.lookup.UID); ok && uid == a.peer.uid {
			return true
		}
	}
	return false
}

// resolve finds the number of a list's entry: in the files, among what the
// supervisor learned from name services, or because it is one.
func (a *access) resolve(entry, name string, lookup func(string) (uint32, bool)) (uint32, bool) {
	n, ok := lookup(name)
	if !ok {
		n, ok = a.snap.Info.Accounts[entry]
	}
	if !ok {
		v, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			return 0, false
		}
		n = uint32(v)
	}
	return n, n != nobody || !inNamespace()
}

// pool is the role for one pool. A pool that does not exist is like any other
// to those who have no role for everything.
func (a *access) pool(p *core.Pool) role {
	if p == nil || a.peer == nil || a.all >= operator || p.Config == nil {
		return a.all
	}
	return max(a.all, a.granted(p.Config.Operators, p.Config.Viewers))
}

// any tells whether the peer has any role at all.
func (a *access) any() bool {
	if a.all > nothing {
		return true
	}
	for _, p := range a.snap.Pools {
		if a.pool(p) > nothing {
			return true
		}
	}
	return false
}

// who names the peer for an error.
func (a *access) who() string {
	if a.peer == nil {
		return "a peer without credentials"
	}
	if name := a.name(a.peer.uid); name != "" {
		return fmt.Sprintf("user %s (uid %d)", name, a.peer.uid)
	}
	return fmt.Sprintf("uid %d", a.peer.uid)
}

// name is a user's, empty if nobody knows it.
func (a *access) name(uid uint32) string {
	if name := a.lookup.User(uid); name != "" {
		return name
	}
	first := ""
	for entry, n := range a.snap.Info.Accounts {
		if n == uid && !strings.HasPrefix(entry, "@") && (first == "" || entry < first) {
			first = entry
		}
	}
	return first
}

// forbid is the answer to whoever lacks a role. It says the same of a pool
// whether that exists or not.
func (a *access) forbid(need role, what, pool string) *rpc.Error {
	msg := fmt.Sprintf("cannot %s: %s has not the role %s", what, a.who(), need)
	if pool != "" {
		msg += " for " + strconv.Quote(pool)
	}
	granter := "root"
	if a.own != 0 {
		granter = fmt.Sprintf("root or uid %d, which superd runs as,", a.own)
		if name := a.name(a.own); name != "" {
			granter = fmt.Sprintf("root or %s, which superd runs as,", name)
		}
	}
	if need == admin {
		return rpc.Errorf(rpc.KindForbidden, "%s; only root and the user that superd runs as have it: ask them, or use sudo", msg)
	}
	where := "[superd]"
	if pool != "" {
		where = "[pool." + pool + "] or [superd]"
	}
	return rpc.Errorf(rpc.KindForbidden, "%s; %s can grant it: %ss = [%q] in %s of the configuration, then superctl apply",
		msg, granter, need, a.entry(), where)
}

// entry is what to write into a list to let the peer in.
func (a *access) entry() string {
	if a.peer == nil || a.peer.uid == nobody && inNamespace() {
		return "USER"
	}
	if name := a.name(a.peer.uid); name != "" {
		return name
	}
	return strconv.FormatUint(uint64(a.peer.uid), 10)
}

package server

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a connection, as the kernel recorded it
// when the connection was made (SO_PEERCRED and SO_PEERGROUPS, socket(7) and unix(7)).
type peer struct {
	pid    int
	uid    uint32
	gid    uint32
	groups []uint32 // supplementary
}

// by names the peer for events.
func (p *peer) by() string { return fmt.Sprintf("uid %d", p.uid) }

// inGroup tells whether gid is the peer's primary group or a supplementary one.
func (p *peer) inGroup(gid uint32) bool {
	if p.gid == gid {
		return true
	}
	for _, g := range p.groups {
		if g == gid {
			return true
		}
	}
	return false
}

// peerOf asks the kernel who is at the other end of c.
func peerOf(c *net.UnixConn) (*peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var p *peer
	var perr error
	if err := raw.Control(func(fd uintptr) { p, perr = peerOfFD(int(fd)) }); err != nil {
		return nil, err
	}
	return p, perr
}

func peerOfFD(fd int) (*peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("cannot tell who connects: %w", err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return nil, fmt.Errorf("cannot tell the groups of who connects: %w", err)
	}
	return &peer{pid: int(cred.Pid), uid: cred.Uid, gid: cred.Gid, groups: groups}, nil
}

// peerGroups reads the peer's supplementary groups; there are at most 65536
// (NGROUPS_MAX). A kernel before 4.13 does not know the option: no groups then.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		case errno == unix.ENOPROTOOPT:
			return nil, nil
		default:
			return nil, errno
		}
	}
}

type peerKey struct{}

// withPeer is the server's ConnContext: each request finds its peer in its context.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if lc, ok := c.(*limitedConn); ok {
		return context.WithValue(context.WithValue(ctx, peerKey{}, lc.peer), connKey{}, lc)
	}
	return ctx
}

// peerFrom is nil for a connection whose peer nobody could tell.
func peerFrom(ctx context.Context) *peer {
	p, _ := ctx.Value(peerKey{}).(*peer)
	return p
}

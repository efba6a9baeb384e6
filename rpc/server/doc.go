// Package server answers the control socket: it finds out who asks, whether they
// may, what they want, hands it to the supervisor, and writes what comes back.
//
// It decides nothing about workers, starts no process, and nothing that a peer
// does (many connections, large bodies, slow reading) makes the supervisor wait.
//
// Start reading at routes.go: every path with its method, the role it takes and
// its handler on a line. peer.go says who asks, access.go what they may, wire.go
// turns the supervisor's snapshot into the wire's types, limit.go bounds the
// connections.
package server

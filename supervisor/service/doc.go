// Package service is the service manager that superd runs under, as superd sees it:
// what it has given (sockets, a watchdog) and what it wants to hear (sd_notify(3)).
// It must never wait for it: a service manager that does not listen holds up nothing
// of superd's.
//
// Start reading at service.go.
package service

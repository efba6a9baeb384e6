package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/superd/superd/rpc"
)

// What is no request at all never reaches a handler: net/http answers it itself,
// in plain text and by one write. These answers are turned into what every other
// error looks like, on their way out.

// plain is what follows the status line of net/http's own answers, and of no
// answer of ours.
var plain = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// Write passes bytes on, but for the answers that net/http makes up.
func (c *limitedConn) Write(b []byte) (int, error) {
	if !c.answering.Load() {
		if answer := ownAnswer(b); answer != nil {
			if _, err := c.UnixConn.Write(answer); err != nil {
				return 0, err
			}
			return len(b), nil
		}
	}
	return c.UnixConn.Write(b)
}

// ownAnswer is what is to be said instead of an answer of net/http's; nil for
// anything else.
func ownAnswer(b []byte) []byte {
	rest, ok := bytes.CutPrefix(b, []byte("HTTP/1.1 "))
	if !ok {
		return nil
	}
	line, _, ok := bytes.Cut(rest, plain)
	if !ok || len(line) < 3 || bytes.ContainsAny(line, "\r\n") {
		return nil
	}
	status, err := strconv.Atoi(string(line[:3]))
	if err != nil || http.StatusText(status) == "" {
		return nil
	}
	if status == http.StatusRequestHeaderFieldsTooLarge {
		return rawAnswer(status, rpc.Errorf(rpc.KindTooLarge, "cannot read the request: its header is larger than %d bytes", maxHeader))
	}
	return rawAnswer(status, rpc.Errorf(rpc.KindInvalid, "cannot read the request: %s", clip(string(line[3:]))))
}

// noteState is the server's ConnState: between two requests nobody answers.
func noteState(c net.Conn, state http.ConnState) {
	if lc, ok := c.(*limitedConn); ok && state == http.StateIdle {
		lc.answering.Store(false)
	}
}

type connKey struct{}

// answers notes that a handler writes from here on: what it sends is sent as it is.
func answers(ctx context.Context) {
	if lc, ok := ctx.Value(connKey{}).(*limitedConn); ok {
		lc.answering.Store(true)
	}
}

// rawAnswer is a whole HTTP answer that is an error, after which is hung up.
func rawAnswer(status int, e *rpc.Error) []byte {
	body, err := json.Marshal(rpc.ErrorReply{Error: e})
	if err != nil {
		panic(err) // strings alone
	}
	retry := ""
	if e.Kind == rpc.KindTooMany {
		retry = "Retry-After: 1\r\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s",
		status, http.StatusText(status), len(body), retry, body)
}

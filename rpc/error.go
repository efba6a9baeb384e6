package rpc

import "fmt"

// Kind is the sort of an error. The set is closed; the HTTP status and
// superctl's exit code follow from the kind.
type Kind string

// The kinds of errors.
const (
	KindInvalid       Kind = "invalid"            // the request makes no sense
	KindNotFound      Kind = "not_found"          // no such pool, worker or deployment
	KindNotSupported  Kind = "not_supported"      // this superd has no such route
	KindMethod        Kind = "method_not_allowed" // the path exists, not with this method
	KindForbidden     Kind = "forbidden"          // the caller lacks a role
	KindConflict      Kind = "conflict"           // something under way forbids it
	KindConfigInvalid Kind = "config_invalid"     // the configuration was refused as a whole
	KindTooLarge      Kind = "too_large"          // the request's body
	KindTooMany       Kind = "too_many_requests"  // connections of this user, or in all
	KindStopping      Kind = "stopping"           // superd is being shut down
	KindTimeout       Kind = "timeout"            // not done in the time given
	KindInternal      Kind = "internal"           // superd's own fault
	// KindUnreachable never comes over the wire: it is the client's word for a
	// superd that does not answer.
	KindUnreachable Kind = "unreachable"
)

// The exit codes of superctl.
const (
	ExitDone        = 0 // done
	ExitFailed      = 1 // it failed, was superseded, a worker did not come up
	ExitUsage       = 2 // usage or configuration error
	ExitUnreachable = 3 // superd cannot be reached
	ExitForbidden   = 4 // not permitted
	ExitNotFound    = 5 // no such pool, worker or job
	ExitTimeout     = 6 // still going when the time ran out
)

// kinds is the table from which everything about a kind is taken.
var kinds = map[Kind]struct{ status, exit int }{
	KindInvalid:       {400, ExitUsage},
	KindNotFound:      {404, ExitNotFound},
	KindNotSupported:  {404, ExitFailed},
	KindMethod:        {405, ExitUsage},
	KindForbidden:     {403, ExitForbidden},
	KindConflict:      {409, ExitFailed},
	KindConfigInvalid: {422, ExitUsage},
	KindTooLarge:      {413, ExitUsage},
	KindTooMany:       {429, ExitUnreachable},
	KindStopping:      {503, ExitFailed},
	KindTimeout:       {504, ExitTimeout},
	KindInternal:      {500, ExitFailed},
	KindUnreachable:   {502, ExitUnreachable},
}

// Kinds lists all kinds, in no order.
func Kinds() []Kind {
	all := make([]Kind, 0, len(kinds))
	for k := range kinds {
		all = append(all, k)
	}
	return all
}

// Status is the HTTP status that goes with the kind, 500 for an unknown one.
func (k Kind) Status() int {
	if e, ok := kinds[k]; ok {
		return e.status
	}
	return 500
}

// Exit is superctl's exit code for the kind, 1 for an unknown one.
func (k Kind) Exit() int {
	if e, ok := kinds[k]; ok {
		return e.exit
	}
	return ExitFailed
}

// Error is what superd says against a request, or the client about superd.
type Error struct {
	Kind    Kind   `json:"code"`
	Message string `json:"message"`
	// Problems are the single errors of a refused configuration.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one error of a configuration. Message says what was found and what
// is allowed; the message of the Error has them all, one on a line.
type Problem struct {
	File    string `json:"file"`
	Line    Number `json:"line"` // null: the file as a whole
	Col     Number `json:"col"`
	Key     Text   `json:"key"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an error of a kind.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// ErrorReply is the body of every answer that is an error.
type ErrorReply struct {
	Error *Error `json:"error"`
}

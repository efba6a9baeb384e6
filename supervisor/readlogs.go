package supervisor

import (
	"context"

	"github.com/superd/superd/supervisor/logs"
)

// LogQuery says which lines of a log are wanted, LogLine is one of them.
type (
	LogQuery = logs.Query
	LogLine  = logs.Line
)

// MaxLogLine is the most that a LogLine's Text can hold, in bytes.
const MaxLogLine = logs.MaxLine

// What Logs may answer.
var (
	ErrNoLog = logs.ErrNoLog // nothing was ever written there, or it was removed
	ErrNoRun = logs.ErrNoRun // no log that is left has a line of the run
)

// Logs implements API. It goes past the loop: reading waits for disks and for
// whoever takes the lines, and nobody waits for it.
func (s *Supervisor) Logs(ctx context.Context, q LogQuery, emit func([]LogLine) error) error {
	return s.logs.Read(ctx, q, emit)
}

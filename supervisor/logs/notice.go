package logs

import "time"

// NoticeKind tells the notices apart. Those with a dot are event types.
type NoticeKind string

// The kinds of notices.
const (
	// Dropped: lines are lost because they cannot be written. Bytes and Lines
	// are zero when it begins (Err says why) and the sum when it is over.
	Dropped NoticeKind = "log.dropped"
	// Rotated: File was moved aside. Err: it could not be, and goes on growing.
	Rotated NoticeKind = "log.rotated"
	// Stalled: a write of this log has been in flight for more than a second, or,
	// with on_full = "block", cannot be done (Err says why). When it goes on a
	// second notice with the same kind has For, the time that it took.
	Stalled NoticeKind = "log.stalled"
	// Drained: the run's last byte is where it belongs, its FIFOs are gone and
	// what the keeper holds for it may go. Comes once for each run after Ended.
	// Bytes: what was moved in all.
	Drained NoticeKind = "drained"
)

// Notice is something that happened to a log. Fields that a kind does not
// mention are zero.
type Notice struct {
	Kind         NoticeKind
	Run          string // empty when it concerns a whole file
	Pool, Worker string
	File         string // absolute path of the log file
	Bytes, Lines int64
	For          time.Duration
	Err          error
}

// Stats counts what became of one run's output.
type Stats struct {
	Bytes   int64 // moved to the target
	Dropped int64 // lost because the target could not take them
	Pipe    int   // size in bytes of the smallest FIFO; 0: target none
}

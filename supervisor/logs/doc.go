// Package logs moves what workers print to where it belongs, and keeps it there
// when superd is killed at any instant.
//
// Each run writes into a FIFO of its own (two, if stderr is kept apart). One
// goroutine per log device reads the FIFOs of the pools whose folders are on that
// device: it links a batch into a pipe of its own by tee, splices it to the end of
// the file, notes the position in a mapped page of runtime_dir, and only then takes
// the batch out of the FIFO. So a disk that hangs holds nothing that a worker
// needs, and the next superd knows from the note whether a batch is in the file
// already, and from a pipe that the keeper holds whether it has left the FIFO. While
// a disk hangs, its workers' lines wait in their FIFOs; one whose FIFO is full waits
// too, but can be stopped and killed as ever. Nothing is copied through superd's memory but where lines must be seen:
// at a rotation, and when two runs write to one file in turn.
//
// What it must never do: block its caller on a disk; signal or wait for processes;
// decide anything about workers; follow a symbolic link below LogDir; touch a FIFO
// with a call that could wait for a disk.
//
// # What lies on the disk
//
//	LogDir/POOL/INDEX.log         stdout, and stderr if merged
//	LogDir/POOL/INDEX.err.log     stderr if separate
//	LogDir/POOL/INDEX.log.1       rotated files; 1 is the newest, up to keep
//	LogDir/POOL/INDEX.log.1.gz    the same, compressed
//	LogDir/POOL/INDEX.log[.N].idx what run wrote which bytes when: see index.go
//
// A file holds the workers' bytes as they were written. superd adds only a newline
// where one run's unfinished line would run into another's, and a line
// "superd: N bytes dropped here, …" where the disk was full; the index marks both
// as superd's own (stream 's').
//
//	RuntimeDir/fifos/RUN.out, RUN.err
//	RuntimeDir/notes/NNN          position notes: see note.go
//
// # Reading back
//
// Read (read.go) gives lines by worker, time, run or pattern, and goes on with what
// is written. It has its own descriptors, takes no lock that a writer holds and runs
// in its caller's goroutine, so a slow reader or a slow disk delays only itself. It
// takes logs for what they are: somebody may cut, remove or damage any of it.
// chain.go and part.go find the files of a log, which move while it looks;
// segment.go asks the index; scan.go cuts lines out of blocks; merge.go goes
// forward through all logs by time and tail.go back; follow.go waits for more.
//
// Start reading at Manager (manager.go), then device.go (the loop), batch.go and
// source.go (tee and splice), recover.go (after a kill), turns.go, full.go, rotate.go.
package logs

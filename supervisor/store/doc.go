// Package store puts what superd must still know after its own death into two
// places.
//
// The runtime folder (a tmpfs) holds records that are written before the deed
// that depends on them: before a process is spawned, before a signal is sent.
// Such a write must neither fail in the middle for want of space nor leave
// something that is neither old nor new. So the room is allocated beforehand
// ([Dir.Table]), each record has two copies that take turns, and each copy has a
// sequence number and a checksum: whatever instant superd dies at, one of the two
// is whole. Nothing is synced, since nothing there is meant to outlive a reboot.
//
// The state folder (a disk) holds what outlives a reboot ([State], a bbolt file).
// Disks are slow, full, read-only or broken, and none of that may delay a restart
// of a worker: everything is kept in memory too, a goroutine of its own writes
// behind, and what cannot be read is set aside and said so.
//
// Beside these values, which are held in memory, the state has histories, which are
// not: they are appended to in batches, and read when somebody asks. What waits for
// the disk lies in a journal in the runtime folder ([Dir.Journal]) meanwhile.
//
// The package knows bytes and names, not what they mean: encoding a worker, and
// deciding what follows from a lost record, are its callers' affair. It must
// never delete what it could not read, and never make a caller wait for a disk
// except in [State.Flush], [State.Close] and [State.History], where that is asked for.
//
// Start reading in copy.go (the form of one copy), then table.go; the other half
// begins in state.go, and history.go goes on from there.
package store

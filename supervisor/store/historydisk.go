package store

import (
	"encoding/binary"
	"errors"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// historyBucket has a bucket for each history. Its keys are a number that grows (8
// bytes, big endian) and the entry's ID, its values begin with a CRC-32C as those of
// valuesBucket do. A superd that knows no histories passes over it, and what it
// writes beside it does no harm: stateVersion is the same.
var historyBucket = []byte("history")

const numberSize = 8

func historyKey(number uint64, id string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, number), id...)
}

// putHistories writes what is queued for histories.
func putHistories(tx *bolt.Tx, queues map[string]*queue) error {
	if len(queues) == 0 {
		return nil
	}
	all, err := tx.CreateBucketIfNotExists(historyBucket)
	if err != nil {
		return err
	}
	for name, q := range queues {
		if q.drop {
			if err := all.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
				return err
			}
		}
		if len(q.entries) == 0 {
			continue
		}
		b, err := all.CreateBucketIfNotExists([]byte(name))
		if err == nil {
			err = putHistory(b, name, q.entries)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func putHistory(b *bolt.Bucket, name string, entries []Entry) error {
	b.FillPercent = 0.9 // keys only grow
	var there map[string]bool
	for _, e := range entries {
		if e.Perhaps {
			if there == nil {
				there = historyIDs(b)
			}
			if there[e.ID] {
				continue
			}
			there[e.ID] = true
		}
		number, err := b.NextSequence()
		if err != nil {
			return err
		}
		key := historyKey(number, e.ID)
		if err := b.Put(key, encodeValue(stateKey{name, string(key)}, e.Data)); err != nil {
			return err
		}
	}
	return trimHistory(b)
}

func historyIDs(b *bolt.Bucket) map[string]bool {
	ids := map[string]bool{}
	c := b.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		if len(key) > numberSize {
			ids[string(key[numberSize:])] = true
		}
	}
	return ids
}

// trimHistory deletes the oldest. Numbers have no gaps, so nobody has to count.
func trimHistory(b *bolt.Bucket) error {
	last := b.Sequence()
	if last < maxHistory {
		return nil
	}
	var old [][]byte
	c := b.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		if len(key) >= numberSize && binary.BigEndian.Uint64(key) > last-maxHistory {
			break
		}
		old = append(old, append([]byte(nil), key...))
	}
	for _, key := range old {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// history reads a history, oldest first, and counts what is damaged in it. A file
// that cannot be written is read all the same.
func (d *disk) history(name string) (data [][]byte, damaged int, err error) {
	if d.db == nil {
		if err := d.openBolt(true); err != nil {
			return nil, 0, err
		}
		defer d.close()
	}
	err = guard(func() error {
		return d.db.View(func(tx *bolt.Tx) error {
			b := bucketOf(tx, name)
			if b == nil {
				return nil
			}
			return b.ForEach(func(key, stored []byte) error {
				if value, ok := decodeValue([]byte(name), key, stored); ok {
					data = append(data, value)
				} else {
					damaged++
				}
				return nil
			})
		})
	})
	if err != nil {
		d.abandon()
	}
	return data, damaged, err
}

func bucketOf(tx *bolt.Tx, name string) *bolt.Bucket {
	if all := tx.Bucket(historyBucket); all != nil {
		return all.Bucket([]byte(name))
	}
	return nil
}

// carryOver copies the histories out of a file that somebody has removed or replaced
// while it was open: nobody else has them. Where that file is damaged by now, they
// begin anew.
func (d *disk) carryOver() error {
	if d.former == nil {
		return nil
	}
	names, err := d.formerHistories()
	for _, name := range names {
		if err != nil {
			break
		}
		var entries map[string][]byte
		var last uint64
		if entries, last, err = d.formerHistory(name); err != nil {
			break
		}
		if err := d.db.Update(func(tx *bolt.Tx) error { return restoreHistory(tx, name, entries, last) }); err != nil {
			return err // of the new file: tried again
		}
	}
	if err != nil {
		d.notes = append(d.notes, "the histories in "+d.path()+" begin anew: the file that was removed cannot be read any more: "+err.Error())
	}
	d.forgetFormer()
	return nil
}

func (d *disk) formerHistories() (names []string, err error) {
	err = guard(func() error {
		return d.former.View(func(tx *bolt.Tx) error {
			all := tx.Bucket(historyBucket)
			if all == nil {
				return nil
			}
			return all.ForEachBucket(func(name []byte) error {
				names = append(names, string(name))
				return nil
			})
		})
	})
	return names, err
}

func (d *disk) formerHistory(name string) (entries map[string][]byte, last uint64, err error) {
	entries = map[string][]byte{}
	err = guard(func() error {
		return d.former.View(func(tx *bolt.Tx) error {
			b := bucketOf(tx, name)
			last = b.Sequence()
			return b.ForEach(func(key, stored []byte) error {
				entries[string(key)] = append([]byte(nil), stored...)
				return nil
			})
		})
	})
	return entries, last, err
}

// restoreHistory writes a history in place of what the file may have.
func restoreHistory(tx *bolt.Tx, name string, entries map[string][]byte, last uint64) error {
	all, err := tx.CreateBucketIfNotExists(historyBucket)
	if err != nil {
		return err
	}
	if err := all.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
		return err
	}
	b, err := all.CreateBucket([]byte(name))
	if err != nil {
		return err
	}
	for key, stored := range entries {
		if err := b.Put([]byte(key), stored); err != nil {
			return err
		}
	}
	return b.SetSequence(last)
}

// forgetFormer closes the removed file, or what is left of it after a fault.
func (d *disk) forgetFormer() {
	if d.former == nil {
		return
	}
	if err := guard(d.former.Close); err != nil {
		d.formerFile.Close()
	}
	d.former, d.formerFile = nil, nil
}

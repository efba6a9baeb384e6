package supervisor

import (
	"bytes"
	"math/rand/v2"
	"os"

	"github.com/superd/superd/supervisor/core"
)

// tear does an action that concerns the disk only in part: superd dies in the
// middle of a write. It tells whether the pool's own record had been in runtime_dir
// before.
func (d *simDisk) tear(a core.Action, r *rand.Rand) (there bool) {
	var pool string
	switch a := a.(type) {
	case core.SavePool:
		pool = a.Pool.Name
	case core.SaveWorker:
		pool = a.Pool.Name
	case core.DropWorkers:
		pool = a.Pool.Name
	case core.DropPool:
		pool = a.Name
	}
	record, table, journal := d.dir+"/records/"+poolPrefix+pool+".record", d.dir+"/records/"+pool+".table", d.dir+"/records/"+exitsJournal+".journal"
	before, beforeTable, beforeJournal := readFile(record), readFile(table), readFile(journal)
	durable, known := d.values.Get(poolBucket, pool)
	d.save(a)
	switch a := a.(type) {
	case core.SaveExit:
		tearFile(journal, beforeJournal, r)
		delete(d.values.owed, a.Run.ID)
	case core.DropPool:
		if before != nil {
			must(os.WriteFile(record, before, 0o600)) // the table goes first
		}
	case core.SavePool:
		tearFile(record, before, r)
		switch { // state_dir comes after it
		case before != nil && known:
			d.values.Put(poolBucket, pool, durable)
		case before != nil:
			d.values.Delete(poolBucket, pool)
		}
	default:
		tearFile(table, beforeTable, r)
	}
	return before != nil
}

// readFile is what is in a file; nil: there is none.
func readFile(path string) []byte {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	must(err)
	return data
}

// tearFile undoes the end of the last write of a file: from some byte on it is as it
// was, or neither old nor new.
func tearFile(path string, before []byte, r *rand.Rand) {
	after := readFile(path)
	if len(before) != len(after) { // a new file, which has not got its name yet
		must(os.WriteFile(path+".new", after[:r.IntN(len(after))], 0o600))
		if before == nil {
			must(os.Remove(path))
			return
		}
		must(os.WriteFile(path, before, 0o600))
		return
	}
	first, last := -1, -1
	for i := range after {
		if after[i] != before[i] {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return
	}
	torn := bytes.Clone(after)
	cut := first + r.IntN(last-first+1)
	copy(torn[cut:], before[cut:])
	if r.IntN(2) == 0 {
		for i := cut; i <= last && i < cut+1+r.IntN(200); i++ {
			torn[i] = byte(r.IntN(256))
		}
		if bytes.Equal(torn[first:last+1], after[first:last+1]) {
			torn[last] ^= 1
		}
	}
	must(os.WriteFile(path, torn, 0o600))
}

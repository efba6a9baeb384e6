package supervisor

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/superd/superd/supervisor/core"
)

// storedWorker is a worker's record, and what is in it.
type storedWorker struct {
	slot   int
	data   []byte
	worker *core.Worker
	err    error
}

// decodeWorkers decodes records, on as many processors as there are: it is the
// most that a start with many workers has to reckon.
func decodeWorkers(pool string, stored []storedWorker) {
	var all sync.WaitGroup
	for part := range slices.Chunk(stored, max(len(stored)/runtime.GOMAXPROCS(0)+1, fewWorkers)) {
		all.Go(func() {
			for i := range part {
				part[i].decode(pool)
			}
		})
	}
	all.Wait()
}

// fewWorkers are decoded sooner than a goroutine is started for them.
const fewWorkers = 32

func (s *storedWorker) decode(pool string) {
	if s.err != nil {
		return
	}
	w := &core.Worker{}
	if err := json.Unmarshal(s.data, w); err != nil || w.Index != s.slot {
		s.err = fmt.Errorf("cannot read the record of %s/%d: %v", pool, s.slot, err)
		return
	}
	s.worker = w
}

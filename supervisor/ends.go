package supervisor

import (
	"os"
	"strings"

	"github.com/superd/superd/supervisor/keeper"
)

// ends are the reading ends of FIFOs that the keeper held when superd started, by
// their names. They are fetched together: a thousand runs must not have superd wait
// a thousand times.
type ends map[string]keeper.Fetched

// fetchEnds fetches those that are held under FIFOs' names.
func (s *Supervisor) fetchEnds(held []string) ends {
	var names []string
	for _, name := range held {
		if strings.HasSuffix(name, ".out") || strings.HasSuffix(name, ".err") {
			names = append(names, name)
		}
	}
	ends := make(ends, len(names))
	for i, f := range s.keepers.FetchAll(names) {
		ends[names[i]] = f
	}
	return ends
}

// take gives one, which is the caller's to close from now on.
func (e ends) take(name string) (*os.File, error) {
	f, ok := e[name]
	if !ok {
		return nil, keeper.ErrNotHeld
	}
	delete(e, name)
	return f.File, f.Err
}

// close closes those that nobody took.
func (e ends) close() {
	for _, f := range e {
		if f.File != nil {
			f.File.Close()
		}
	}
}

//go:build aim

package aim

import (
	"os"
	"path/filepath"
	"sync"
)

// At kills this process if the point is armed and its turn has come. Points that
// are not in the table, and a missing table, are nothing.
func At(point string) {
	if t := own(); t != nil {
		if e := t.find(point); e != nil {
			e.pass()
		}
	}
}

// own is the table beside this program; nil: there is none.
var own = sync.OnceValue(func() *Table {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	t, err := Open(filepath.Join(filepath.Dir(exe), TableName))
	if err != nil {
		return nil
	}
	return t
})

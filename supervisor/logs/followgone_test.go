package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFollowFolderRemoved: somebody removes the folder of a pool that is followed.
// superd makes it anew, and following goes on there.
func TestFollowFolderRemoved(t *testing.T) {
	l := newLab(t, nil)
	p := l.prepare("run1", spec("a", 0))
	f := l.follow(t, Query{Folder: "a", Lines: -1})
	write(t, p.Stdout, "one\n")
	f.wants("one")
	must(t, os.RemoveAll(filepath.Join(l.log(), "a")))
	for i := range 20 { // superd writes to what is gone until it looks
		write(t, p.Stdout, fmt.Sprintf("meanwhile %d\n", i))
		select {
		case err := <-f.ended:
			f.ended <- err
			t.Fatalf("following ended: %v", err)
		case <-time.After(followTime):
		}
	}
	eventually(t, 30*time.Second, func() bool {
		write(t, p.Stdout, "there again\n")
		all := f.got()
		return all[len(all)-1] == "there again"
	}, "nothing came from the new folder")
	l.end("run1", p)
}

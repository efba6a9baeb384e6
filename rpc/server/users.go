package server

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// nobody is the overflow uid and gid (/proc/sys/kernel/overflowuid). In a user
// namespace whoever has no number there looks like this, so there it stands for
// no name.
const nobody = 65534

// inNamespace tells whether some numbers of the host have none here: the map of
// the first user namespace has them all (user_namespaces(7)).
var inNamespace = sync.OnceValue(func() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(string(data)), " ") != "0 0 4294967295"
})

// Lookup turns names of operators and viewers into numbers, and back. It must
// answer at once: it is asked within requests. Safe for concurrent use.
type Lookup interface {
	UID(user string) (uid uint32, ok bool)
	GID(group string) (gid uint32, ok bool)
	User(uid uint32) string // empty if nobody knows
}

// files looks names up in passwd(5) and group(5), which are read again when
// they have changed. Network databases are not asked: they may take for ever.
type files struct {
	users, groups nameFile
}

// NewFileLookup reads the two files, /etc/passwd and /etc/group in real life.
func NewFileLookup(passwd, group string) Lookup {
	return &files{users: nameFile{path: passwd}, groups: nameFile{path: group}}
}

func (f *files) UID(user string) (uint32, bool)  { return f.users.number(user) }
func (f *files) GID(group string) (uint32, bool) { return f.groups.number(group) }
func (f *files) User(uid uint32) string          { return f.users.name(uid) }

// nameFile is one file of lines "name:password:number:...".
type nameFile struct {
	path string

	mu      sync.Mutex
	looked  time.Time // when the file's age was last checked
	changed time.Time
	size    int64
	numbers map[string]uint32
	names   map[uint32]string
}

// maxNameFile bounds what is read of a name file, in bytes.
const maxNameFile = 16 << 20

func (f *nameFile) number(name string) (uint32, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	n, ok := f.numbers[name]
	return n, ok
}

func (f *nameFile) name(n uint32) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return f.names[n]
}

// refresh reads the file again if it has changed, looking at most once a second.
// What cannot be read leaves the names as they were.
func (f *nameFile) refresh() {
	if time.Since(f.looked) < time.Second {
		return
	}
	f.looked = time.Now()
	st, err := os.Stat(f.path)
	if err != nil || (st.ModTime().Equal(f.changed) && st.Size() == f.size) {
		return
	}
	file, err := os.Open(f.path)
	if err != nil {
		return
	}
	defer file.Close()
	f.numbers, f.names = readNames(io.LimitReader(file, maxNameFile))
	f.changed, f.size = st.ModTime(), st.Size()
}

// readNames takes the first line of a name or number, as getpwnam(3) does.
func readNames(r io.Reader) (map[string]uint32, map[uint32]string) {
	numbers, names := map[string]uint32{}, map[uint32]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		part := strings.SplitN(lines.Text(), ":", 4)
		if len(part) < 4 || part[0] == "" {
			continue
		}
		n, err := strconv.ParseUint(part[2], 10, 32)
		if err != nil {
			continue
		}
		if _, ok := numbers[part[0]]; !ok {
			numbers[part[0]] = uint32(n)
		}
		if _, ok := names[uint32(n)]; !ok {
			names[uint32(n)] = part[0]
		}
	}
	return numbers, names
}

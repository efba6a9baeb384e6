package supervisor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/superd/superd/config"
)

// The databases of names, and the files that are asked before any name service.
var nameFiles = map[string]string{"passwd": "/etc/passwd", "group": "/etc/group"}

// roleNames are the users and, without their "@", the groups that a
// configuration gives roles to. Numbers need no lookup.
func roleNames(cfg *config.Config) map[string][]string {
	names := map[string][]string{}
	add := func(list []string) {
		for _, entry := range list {
			database := "passwd"
			name, group := strings.CutPrefix(entry, "@")
			if group {
				database = "group"
			}
			_, err := strconv.ParseUint(name, 10, 32)
			// A name that begins with a dash would be an option of getent.
			if err != nil && name != "" && !strings.HasPrefix(name, "-") && !slices.Contains(names[database], name) {
				names[database] = append(names[database], name)
			}
		}
	}
	add(cfg.Operators)
	add(cfg.Viewers)
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		add(cfg.Pools[name].Operators)
		add(cfg.Pools[name].Viewers)
	}
	return names
}

// learnNames asks the host's name services for those names of cfg's operators
// and viewers that /etc/passwd and /etc/group lack. It is done when a
// configuration is taken on, never when somebody asks for something: a directory
// server may take for ever. The result is for Info.Accounts; a name that could
// not be asked for keeps the number that was known before.
func (s *Supervisor) learnNames(ctx context.Context, cfg *config.Config) (known map[string]uint32, warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, getentPatience)
	defer cancel()
	known = map[string]uint32{}
	var mu sync.Mutex
	var both sync.WaitGroup
	for database, names := range roleNames(cfg) {
		missing, err := lacking(nameFiles[database], names)
		if err != nil || len(missing) == 0 {
			continue // a file that cannot be read gives nobody a role
		}
		both.Go(func() {
			out, err := s.getent(ctx, append([]string{database}, missing...)...)
			mu.Lock()
			defer mu.Unlock()
			warnings = append(warnings, s.takeNames(known, database, missing, out, err)...)
		})
	}
	both.Wait()
	slices.Sort(warnings)
	return known, warnings
}

// takeNames puts what getent printed for names into known, and says which names
// nobody has.
func (s *Supervisor) takeNames(known map[string]uint32, database string, names []string, out []byte, err error) (warnings []string) {
	mark, what := "", "user"
	if database == "group" {
		mark, what = "@", "group"
	}
	before := s.known.Load()
	found := readEntries(string(out))
	for _, name := range names {
		number, ok := found[name]
		if !ok && err != nil && before != nil {
			number, ok = (*before)[mark+name]
		}
		if ok {
			known[mark+name] = number
		} else if err == nil {
			warnings = append(warnings, fmt.Sprintf("operators or viewers: there is no %s %q (whom it is meant for has no role by it)", what, name))
		}
	}
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("operators or viewers: cannot look up the %ss %s: %v (what was known of them holds until the next apply)",
			what, strings.Join(names, ", "), err))
	}
	return warnings
}

// readEntries takes names and numbers out of lines as in passwd(5) and group(5).
func readEntries(text string) map[string]uint32 {
	found := map[string]uint32{}
	for line := range strings.Lines(text) {
		part := strings.SplitN(line, ":", 4)
		if len(part) < 4 {
			continue
		}
		if n, err := strconv.ParseUint(part[2], 10, 32); err == nil {
			found[part[0]] = uint32(n)
		}
	}
	return found
}

// lacking are those of names that no line of a file begins with.
func lacking(file string, names []string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	missing := slices.Clone(names)
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadString('\n')
		if name, _, ok := strings.Cut(line, ":"); ok {
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
		}
		if err == io.EOF {
			return missing, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// learnFirstNames does for the configuration that superd was started with what
// Apply does for later ones. It waits for a helper, so the loop has to run.
func (s *Supervisor) learnFirstNames() {
	s.applying.Lock()
	defer s.applying.Unlock()
	cfg := s.config.Load()
	known, warnings := s.learnNames(context.Background(), cfg)
	for _, w := range warnings {
		s.log.Warn(w)
	}
	if len(known) == 0 {
		return
	}
	_ = s.ask(context.Background(), func() { // unless superd ends
		s.known.Store(&known)
		s.show.info = true
	})
}

package config

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Account is whom a run runs as.
type Account struct {
	Name     string // USER and LOGNAME; the number if it has no name
	UID, GID int
	Groups   []int // supplementary groups, GID among them; sorted
	Home     string
	Shell    string
	// Self means superd's own account: there is nothing to change.
	Self bool

	groupName string
}

// Getent asks the system's user databases: its arguments are those of
// getent(1), the answer what that prints.
type Getent func(ctx context.Context, args ...string) ([]byte, error)

// accountFiles are where accounts are looked up first (passwd(5), group(5)).
type accountFiles struct{ passwd, group string }

var systemFiles = accountFiles{passwd: "/etc/passwd", group: "/etc/group"}

// LookupAccount finds a user and a group by name or number, as a pool names
// them: empty means superd's own user, and the user's primary group. What
// /etc/passwd and /etc/group do not have is asked of getent, which may be nil.
// It reads files and may wait for getent, so it is not for the loop.
func LookupAccount(ctx context.Context, user, group string, getent Getent) (*Account, error) {
	l := &accountLookup{ctx: ctx, files: systemFiles, getent: getent}
	return l.account(user, group)
}

// lookupAccount is LookupAccount in files alone.
func lookupAccount(files accountFiles, user, group string) (*Account, error) {
	l := &accountLookup{ctx: context.Background(), files: files}
	return l.account(user, group)
}

type accountLookup struct {
	ctx    context.Context
	files  accountFiles
	getent Getent
}

func (l *accountLookup) account(user, group string) (*Account, error) {
	own := user == "" && group == ""
	var acct *Account
	var asked bool
	var err error
	if user == "" {
		acct, err = l.self()
	} else {
		acct, asked, err = l.user(user)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find user %s: %w", quote(user), err)
	}
	if group != "" {
		if acct.GID, acct.groupName, err = l.groupID(group); err != nil {
			return nil, fmt.Errorf("cannot find group %s: %w", quote(group), err)
		}
	} else if acct.GID < 0 {
		return nil, fmt.Errorf("cannot find user %s: it is in no user database, and so has no primary group; a group must be given with it", quote(user))
	}
	if own {
		acct.Self = true
		acct.Groups, err = os.Getgroups()
		slices.Sort(acct.Groups)
		return acct, err
	}
	acct.Groups, err = l.groups(acct, asked)
	if err != nil {
		return nil, fmt.Errorf("cannot find the groups of user %s: %w", quote(acct.Name), err)
	}
	acct.Self = acct.UID == os.Geteuid() && acct.GID == os.Getegid() && acct.UID != 0
	return acct, nil
}

// self is superd's own user, whatever the databases say of it.
func (l *accountLookup) self() (*Account, error) {
	uid, gid := os.Geteuid(), os.Getegid()
	fields, err := l.inFile(l.files.passwd, 7, func(f []string) bool { return f[2] == itoa(uid) })
	acct := &Account{Name: itoa(uid), UID: uid, Home: "/", Shell: "/bin/sh"}
	if err == nil && fields != nil {
		acct.take(fields)
	}
	acct.GID = gid
	if f, err := l.inFile(l.files.group, 4, func(f []string) bool { return f[2] == itoa(gid) }); err == nil && f != nil {
		acct.groupName = f[0]
	}
	return acct, nil
}

// take fills in what a line of passwd(5) says.
func (a *Account) take(fields []string) {
	a.Name, a.Home, a.Shell = fields[0], fields[5], fields[6]
	if a.Home == "" {
		a.Home = "/"
	}
	if a.Shell == "" {
		a.Shell = "/bin/sh" // passwd(5)
	}
}

// user finds a user by name, then by number; asked tells that getent knew it.
// The GID is -1 for a number that no database knows.
func (l *accountLookup) user(user string) (acct *Account, asked bool, err error) {
	fields, asked, err := l.entry("passwd", l.files.passwd, 7, user)
	if err != nil {
		return nil, false, err
	}
	if fields == nil {
		uid, ok := accountID(user)
		if !ok {
			return nil, false, l.notFound(l.files.passwd)
		}
		return &Account{Name: user, UID: uid, GID: -1, Home: "/", Shell: "/bin/sh"}, false, nil
	}
	uid, ok1 := accountID(fields[2])
	gid, ok2 := accountID(fields[3])
	if !ok1 || !ok2 {
		return nil, false, errors.New("its entry has no valid numbers")
	}
	acct = &Account{UID: uid, GID: gid}
	acct.take(fields)
	return acct, asked, nil
}

func (l *accountLookup) groupID(group string) (int, string, error) {
	fields, _, err := l.entry("group", l.files.group, 4, group)
	if err != nil {
		return 0, "", err
	}
	if fields == nil {
		gid, ok := accountID(group)
		if !ok {
			return 0, "", l.notFound(l.files.group)
		}
		return gid, "", nil
	}
	gid, ok := accountID(fields[2])
	if !ok {
		return 0, "", errors.New("its entry has no valid number")
	}
	return gid, fields[0], nil
}

// groups are the group that was chosen and all that list the user.
func (l *accountLookup) groups(acct *Account, asked bool) ([]int, error) {
	groups := []int{acct.GID}
	if asked {
		out, err := l.getent(l.ctx, "initgroups", acct.Name)
		if err != nil {
			return nil, fmt.Errorf("getent initgroups: %w", err)
		}
		words := strings.Fields(string(out))
		for _, w := range words[min(1, len(words)):] {
			if gid, ok := accountID(w); ok {
				groups = append(groups, gid)
			}
		}
	} else {
		_, err := l.inFile(l.files.group, 4, func(f []string) bool {
			if gid, ok := accountID(f[2]); ok && slices.Contains(strings.Split(f[3], ","), acct.Name) {
				groups = append(groups, gid)
			}
			return false
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}

// entry finds a line by name, then by number, in a file and then by getent; it
// is nil if there is none.
func (l *accountLookup) entry(database, file string, fields int, key string) (f []string, asked bool, err error) {
	for _, column := range []int{0, 2} {
		if column == 2 {
			if _, ok := accountID(key); !ok {
				break
			}
		}
		f, err = l.inFile(file, fields, func(f []string) bool { return f[column] == key })
		if f != nil || err != nil {
			return f, false, err
		}
	}
	if l.getent == nil {
		return nil, false, nil
	}
	out, err := l.getent(l.ctx, database, key)
	if _, number := accountID(key); err != nil && number {
		return nil, false, nil // a number needs no entry
	}
	if err != nil {
		return nil, false, fmt.Errorf("not in %s, and getent %s: %w", file, database, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if f = strings.Split(line, ":"); len(f) < fields {
		return nil, false, nil
	}
	return f, true, nil
}

func (l *accountLookup) notFound(file string) error {
	if l.getent == nil {
		return fmt.Errorf("not in %s", file)
	}
	return fmt.Errorf("neither in %s nor known to getent", file)
}

// inFile gives the fields of the first line that match accepts. A missing file
// has no lines.
func (l *accountLookup) inFile(file string, fields int, match func([]string) bool) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a group may have very many members
	for lines.Scan() {
		if got := strings.Split(lines.Text(), ":"); len(got) >= fields && match(got) {
			return got, nil
		}
	}
	return nil, lines.Err()
}

// accountID reads a uid or gid; -1 (4294967295) means "no change" to the kernel
// and is none.
func accountID(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}

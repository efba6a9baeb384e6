package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxEnvFile is how large an env file may be.
const maxEnvFile = 1 << 20

// ReadEnvFiles reads a pool's env files in order; a later one wins. See ReadEnvFile.
func ReadEnvFiles(files []EnvFile, acct *Account) (map[string]string, error) {
	env := make(map[string]string)
	for _, f := range files {
		one, err := ReadEnvFile(f, acct)
		if err != nil {
			return nil, err
		}
		for name, v := range one {
			env[name] = v
		}
	}
	return env, nil
}

// ReadEnvFile reads KEY=VALUE lines with the rights of the account: superd as
// root must not be made to read for a worker what the worker itself may not. Only what
// the account may not read is read as root, and then only by a path on which
// nobody else can change anything. The file is a regular one of at most 1 MiB.
// An optional file may be missing. An error names the line, never its text.
//
// It may block with a dead file server, so it is not for the loop.
func ReadEnvFile(f EnvFile, acct *Account) (map[string]string, error) {
	data, err := readAs(f.Path, acct)
	if errors.Is(err, fs.ErrNotExist) && f.Optional {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read env_file %s: %s", f.Path, reason(plainError(err), f.Path))
	}
	env, err := parseEnvFile(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read env_file %s%w", f.Path, err)
	}
	return env, nil
}

func readAs(path string, acct *Account) ([]byte, error) {
	if os.Geteuid() != 0 || acct == nil || acct.UID == 0 {
		return readPlain(path)
	}
	data, err := withRights(acct, func() ([]byte, error) { return readPlain(path) })
	if !errors.Is(err, fs.ErrPermission) {
		return data, err
	}
	file, trusted := trust{uid: 0, noLinks: true}.open(path)
	if trusted != nil {
		return nil, fmt.Errorf("uid %d may not read it (%w), and it is not root's alone: %v", acct.UID, plainError(err), trusted)
	}
	defer file.Close()
	return readSmall(file)
}

// readPlain opens without waiting for anybody, so that a FIFO or a device is
// refused instead of waited for.
func readPlain(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readSmall(file)
}

func readSmall(file *os.File) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("it is no regular file")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxEnvFile+1))
	if err != nil {
		return nil, plainError(err)
	}
	if len(data) > maxEnvFile {
		return nil, errors.New("it is larger than 1M")
	}
	return data, nil
}

// withRights calls read on a thread of its own that has the account's rights on
// files. These are a thread's own business in Linux (credentials(7)), where libc
// and Go's syscall package change all threads together. The thread is never used again.
func withRights(acct *Account, read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	var work func(done chan<- result)
	work = func(done chan<- result) {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread cannot end and must not be spoilt: while
			// this goroutine holds it, the next one runs elsewhere.
			inner := make(chan result, 1)
			go work(inner)
			done <- <-inner
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the thread ends with the goroutine.
		if err := takeRights(acct); err != nil {
			done <- result{err: fmt.Errorf("cannot take the rights of uid %d: %w", acct.UID, err)}
			return
		}
		data, err := read()
		done <- result{data, err}
	}
	done := make(chan result, 1)
	go work(done)
	r := <-done
	return r.data, r.err
}

// dumpableMu keeps two threads from putting back each other's mark.
var dumpableMu sync.Mutex

// takeRights changes this thread's groups and file system ids, for which x/sys
// makes the bare calls. Each change also
// marks the process as one that must not be dumped or traced (prctl(2)), which
// is put back: it is not what is wanted here.
func takeRights(acct *Account) error {
	dumpableMu.Lock()
	defer dumpableMu.Unlock()
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err == nil && dumpable == 1 {
		defer unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
	if err := unix.Setgroups(acct.Groups); err != nil {
		return err
	}
	// setfsuid(2) answers with the previous id, so only asking again tells.
	for _, set := range []struct {
		call func(int) (int, error)
		id   int
	}{{unix.SetfsgidRetGid, acct.GID}, {unix.SetfsuidRetUid, acct.UID}} {
		set.call(set.id)
		if now, _ := set.call(-1); now != set.id {
			return unix.EPERM
		}
	}
	return nil
}

// parseEnvFile reads lines of KEY=VALUE. Blank lines and those that begin with
// # say nothing; "export " may stand in front. A value in single quotes is taken
// as it is; in double quotes \n, \t, \", \\, \$ and \` are known; without
// quotes it ends with the line, less the blanks around it. Nothing is substituted.
func parseEnvFile(data []byte) (map[string]string, error) {
	env := make(map[string]string)
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for i, raw := range bytes.Split(data, []byte("\n")) {
		line := strings.TrimSpace(string(raw))
		if line == "" || line[0] == '#' {
			continue
		}
		fail := func(what string) error { return fmt.Errorf(":%d: %s", i+1, what) }
		if strings.Contains(line, "\x00") {
			return nil, fail("it has a NUL character")
		}
		if rest, ok := strings.CutPrefix(line, "export"); ok && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
			line = strings.TrimLeft(rest, " \t")
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimRight(name, " \t")
		if !ok || name == "" || strings.ContainsAny(name, " \t'\"") {
			return nil, fail("it is not KEY=VALUE")
		}
		value, err := unquoteEnv(strings.TrimLeft(value, " \t"))
		if err != nil {
			return nil, fail(err.Error())
		}
		env[name] = value
	}
	return env, nil
}

func unquoteEnv(s string) (string, error) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return s, nil
	}
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			if rest := strings.TrimSpace(s[i+1:]); rest != "" && rest[0] != '#' {
				return "", errors.New("something follows the closing quote")
			}
			return b.String(), nil
		case c == '\\' && quote == '"' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$', '`':
				b.WriteByte(s[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quote is not closed")
}

package config

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

// FuzzLoad: no text makes Load panic or hang, each error has a place, and what
// is accepted can be shown, compared, stored and rendered.
func FuzzLoad(f *testing.F) {
	data, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range strings.Split(string(data), "=== ")[1:] {
		var src strings.Builder
		for _, line := range strings.SplitAfter(block, "\n")[1:] {
			if !strings.HasPrefix(line, "! ") {
				src.WriteString(line)
			}
		}
		f.Add([]byte(src.String()))
	}
	f.Add([]byte(Starter()))
	f.Add([]byte("\ufeff[superd]\r\ninclude = [\"/etc/passwd\"]\r\n"))
	f.Add([]byte("a = \"\\U0010FFFF\\uD800\""))
	f.Add([]byte("[[pool]]\n[pool.a]\n[[pool.a]]\n"))
	f.Add([]byte("pool.a = 1\npool.a.b = 2\n[pool.a]\n"))
	f.Add([]byte("[defaults]\nenv = []\nafter = 5\nforward = 3\n[pool.a]\nenv = 3\nafter = 1\ncommand = 2\n[pool.b]\ncommand = [3]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := LoadBytes("f", data, Options{self: rootUser, CgroupAvailable: func() error { return nil }})
		if err != nil {
			checkProblems(t, err)
			return
		}
		for _, p := range c.Pools {
			checkPool(t, p)
		}
	})
}

func checkProblems(t *testing.T, err error) {
	var list *Errors
	if !errors.As(err, &list) || len(list.List) == 0 {
		t.Fatalf("the error is %T: %v", err, err)
	}
	for _, p := range list.List {
		if p.File == "" || p.Line < 1 || p.Col < 1 || p.Message == "" || strings.Contains(p.String(), "\n") {
			t.Errorf("no place, or more than one line: %q", p)
		}
	}
}

func checkPool(t *testing.T, p *Pool) {
	p.Describe()
	if c := Diff(p, p); len(c.Keys) > 0 {
		t.Errorf("differs from itself: %+v", c)
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Pool
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(&back, p) {
		t.Errorf("came back from storage as\n%+v; want\n%+v (%v)", back, *p, err)
	}
	u := p.Update
	if u.MinHealthyTime > u.HealthyDeadline || u.HealthyDeadline > u.ProgressDeadline || p.Restart.MaxDelay < p.Restart.Delay || len(p.Stop) == 0 || len(p.Drain) == 0 {
		t.Errorf("out of order: %+v", p)
	}
	cmd, err := p.Render(RunContext{Index: 9999, Alt: 1, Account: Account{Name: "u"}, Base: []string{"LANG=C", "TZ=UTC", "LC_ALL=C"}})
	if err == nil && (len(cmd.Argv) != len(p.Command) || !strings.HasPrefix(cmd.Env[len(cmd.Env)-1], "SUPERD_RUN_ID=")) {
		t.Errorf("rendered %+v", cmd)
	}
}

func FuzzSplitCommand(f *testing.F) {
	for _, s := range []string{`a 'b c' "d\"e" f\ g`, `'`, `"\`, `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words, err := SplitCommand(s)
		if err != nil {
			return
		}
		// Quoted by the book, the words come back.
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		if back, err := SplitCommand(strings.Join(quoted, " ")); err != nil || !reflect.DeepEqual(back, words) {
			t.Errorf("%q became %q and then %q, %v", s, words, back, err)
		}
	})
}

func FuzzEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\n", "export B='x'", "A=\"\\", "=\n", "A='\n'"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := parseEnvFile(data)
		if err != nil && len(err.Error()) > 60 {
			t.Errorf("the error shows text: %v", err)
		}
		for name, v := range env {
			if name == "" || strings.ContainsAny(name, "=\x00\n") || strings.Contains(v, "\x00") {
				t.Errorf("%q = %q", name, v)
			}
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"${index}", "$${x}", "${9000+2*index}", "${", "$", "${HOME}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tpl, err := parseTemplate(s)
		if err != nil {
			return
		}
		sc := &scope{variable: func(string) (string, error) { return "", nil }, index: maxCount, alt: 1}
		if _, err := tpl.expand(sc); err != nil && len(s) < maxText {
			t.Errorf("%q: %v", s, err)
		}
	})
}

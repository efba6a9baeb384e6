package config

import (
	"fmt"
	"sort"
	"strings"
	"testing"
)

// TestLayout checks the places of keys and values in every form that TOML has.
// In the texts «K:name» marks where the key of a dotted path stands, and «V:name» its value.
func TestLayout(t *testing.T) {
	for _, tc := range []struct{ name, marked string }{
		{"plain", "«K:a»a = «V:a»1\n  «K:b»b=«V:b»\"x\" # comment = 3\n"},
		{"headers", "«K:t»«V:t»[t]\n«K:t.a»a = «V:t.a»1\n«K:t.u»«V:t.u»[ t . u ] # c\n\t«K:t.u.b»b = «V:t.u.b»true\n"},
		{"implied, then explicit", "«K:t.u»«V:t.u»[t.u]\n«K:t»«V:t»[t]\n«K:t.a»a = «V:t.a»1\n"},
		{"dotted keys", "«K:a»«V:a»a.«K:a.b»b = «V:a.b»1\na . «K:a.c»«V:a.c»\"c\".«K:a.c.d»'d' = «V:a.c.d»2\n"},
		{"quoted keys", "«K:a b»\"a b\" = «V:a b»1\n«K:é\"#=»\"\\u00e9\\\"#=\" = «V:é\"#=»2\n«K:x\\y»'x\\y' = «V:x\\y»3\n"},
		{"arrays", "«K:a»a = «V:a»[ «K:a.0»«V:a.0»1, # one, ]\n «K:a.1»«V:a.1»\"]\" ,\n «K:a.2»«V:a.2»[«K:a.2.0»«V:a.2.0»2,],]\n«K:b»b = «V:b»2\n"},
		{"inline tables", "«K:a»a = «V:a»{ «K:a.b»b = «V:a.b»1, «K:a.c»«V:a.c»c.«K:a.c.d»d = «V:a.c.d»{ «K:a.c.d.e»e=«V:a.c.d.e»'}' } }\n«K:b»b = «V:b»2\n"},
		{"inline tables over lines", "«K:a»a = «V:a»{ # TOML 1.1\n «K:a.b»b = «V:a.b»1,\n}\n«K:b»b = «V:b»2\n"},
		{"arrays of tables", "«K:t»«V:t»«K:t.0»«V:t.0»[[t]]\n«K:t.0.a»a = «V:t.0.a»1\n«K:t.0.u»«V:t.0.u»[t.u]\n«K:t.0.u.b»b = «V:t.0.u.b»1\n«K:t.1»«V:t.1»[[t]]\n«K:t.1.a»a = «V:t.1.a»2\n"},
		{"long strings", "«K:a»a = «V:a»\"\"\"\nb = 1 \\\"\"\" \"\"\n[c]\n\"\"\"\"\n«K:d»d = «V:d»'''\n[e]\\'''\n«K:f»f = «V:f»\"\"\n«K:g»g = «V:g»''\n"},
		{"bare values", "«K:a»a = «V:a»1979-05-27 07:32:00\n«K:b»b = «V:b»[«K:b.0»«V:b.0»+1e3,«K:b.1»«V:b.1»inf]\n"},
		{"ends of lines", "«K:a»a = «V:a»1\r\n\r\n«K:t»«V:t»[t]\r\n«K:t.b»b = «V:t.b»2"},
	} {
		want, src := takeMarks(tc.marked)
		if _, _, err := decode(src); err != nil {
			t.Fatalf("%s: the test's text is not TOML: %v", tc.name, err)
		}
		got := make(map[string]int)
		l := scanLayout(src)
		flatten(l.root, "", got)
		for _, st := range l.statements {
			if !st.complete {
				t.Errorf("%s: the statement at %d was not followed to its end", tc.name, st.start)
			}
		}
		for mark, at := range want {
			if got[mark] != at {
				t.Errorf("%s: %s is at %d; want %d", tc.name, mark, got[mark], at)
			}
		}
		var extra []string
		for mark := range got {
			if _, ok := want[mark]; !ok {
				extra = append(extra, mark)
			}
		}
		sort.Strings(extra)
		if len(extra) > 0 && tc.name != "arrays of tables" && tc.name != "implied, then explicit" {
			t.Errorf("%s: found places of %q too", tc.name, extra)
		}
	}
}

func takeMarks(marked string) (map[string]int, string) {
	marks := make(map[string]int)
	var src strings.Builder
	for marked != "" {
		plain, rest, found := strings.Cut(marked, "«")
		src.WriteString(plain)
		if !found {
			break
		}
		mark, after, _ := strings.Cut(rest, "»")
		marks[mark] = src.Len()
		marked = after
	}
	return marks, src.String()
}

func flatten(s *spot, path string, into map[string]int) {
	if path != "" {
		into["K:"+path], into["V:"+path] = s.key, s.val
		path += "."
	}
	for name, kid := range s.kids {
		flatten(kid, path+name, into)
	}
	for i, e := range s.elems {
		flatten(e, fmt.Sprintf("%s%d", path, i), into)
	}
}

// TestLayoutOfAnything feeds texts that are not TOML: the scanner must end and stay in bounds.
func TestLayoutOfAnything(t *testing.T) {
	for _, src := range []string{
		"[", "[[", "[a", "[[a]", "a", "a.", "a=", "a=[", "a={", "a=[1 2]", "a={b}", "a=\"", "a=\"\\", "a='''", "a=\"\"\"\\",
		"=", "]", "}", "#", "\x00", "a=\n[b]\n", "\"a\\", "a=[\n[b]\nc=1\n", "a . = 1", ".a=1", "\xff=\xfe",
	} {
		l := scanLayout(src)
		for _, st := range l.statements {
			if st.start < 0 || st.end > len(src) || st.start > st.end {
				t.Errorf("%q: a statement from %d to %d", src, st.start, st.end)
			}
		}
	}
}

package config

import (
	"reflect"
	"testing"
)

func TestSplitCommand(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want []string
		err  string
	}{
		{in: "", want: nil},
		{in: "  \t\n", want: nil},
		{in: "bin/rails db:migrate", want: []string{"bin/rails", "db:migrate"}},
		{in: `a  "b c"	'd e'`, want: []string{"a", "b c", "d e"}},
		{in: `a"b"'c'd`, want: []string{"abcd"}},
		{in: `'' ""`, want: []string{"", ""}},
		{in: `a\ b \"c\" \\`, want: []string{"a b", `"c"`, `\`}},
		{in: `"a\"b\\c\$d\` + "`" + `e\n"`, want: []string{`a"b\c$d` + "`" + `e\n`}},
		{in: `'a\"b'`, want: []string{`a\"b`}},
		{in: "a\\\nb \"c\\\nd\"", want: []string{"ab", "cd"}},
		{in: "sh -c 'echo $HOME; ls *.c | wc' # no comment", want: []string{"sh", "-c", "echo $HOME; ls *.c | wc", "#", "no", "comment"}},
		{in: `a 'b`, err: "a single quote is not closed"},
		{in: `a "b\"`, err: "a double quote is not closed"},
		{in: `a "b`, err: "a double quote is not closed"},
		{in: `a \`, err: "a backslash stands at the end"},
	} {
		got, err := SplitCommand(tc.in)
		if err == nil && tc.err != "" || err != nil && err.Error() != tc.err {
			t.Errorf("SplitCommand(%q): error %v; want %q", tc.in, err, tc.err)
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("SplitCommand(%q) = %q; want %q", tc.in, got, tc.want)
		}
	}
}

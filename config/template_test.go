package config

import (
	"errors"
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	sc := &scope{pool: "mailers", index: 3, alt: 1, release: "/srv/releases/42", variable: func(name string) (string, error) {
		if name == "HOME" {
			return "/home/deploy", nil
		}
		return "", errors.New("no " + name)
	}}
	for in, want := range map[string]string{
		"":                               "",
		"plain":                          "plain",
		"${pool}/${index}":               "mailers/3",
		"${9000+index}":                  "9003",
		"${ 9000 + 2 * index + alt }":    "9007",
		"${index*10+5}":                  "35",
		"${2*3*index}":                   "18",
		"${7}":                           "7",
		"${alt}${alt}":                   "11",
		"${release}/bin":                 "/srv/releases/42/bin",
		"${HOME}/x":                      "/home/deploy/x",
		"$$":                             "$",
		"$${HOME}":                       "${HOME}",
		"$$$${index}$":                   "$${index}$",
		"$HOME $1 $(x) $":                "$HOME $1 $(x) $",
		"a$$${index}":                    "a$3",
		"${":                             "${",
		"a${b":                           "a${b",
		"${A:-b}${i%.*}${#a[@]}${é}":     "${A:-b}${i%.*}${#a[@]}${é}",
		"${index}}":                      "3}",
		"${9223372036854775807}":         "9223372036854775807",
		"${0*9223372036854775807+alt}":   "1",
		"${9223372036854775807*0*index}": "0",
	} {
		got, err := expand(in, sc)
		if err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"${}", "${index-1}", "${index+}", "${+1}", "${PORT+index}", "${a b}",
		"${9223372036854775808}", "${9223372036854775807+alt}", "${index*index*index*index*index*99999999}"} {
		if _, err := parseTemplate(in); err == nil {
			t.Errorf("parseTemplate(%q) was accepted", in)
		}
	}
	if _, err := expand("${NOPE}", sc); err == nil || err.Error() != "no NOPE" {
		t.Errorf("a variable that is missing: %v", err)
	}
	if _, err := expand(strings.Repeat("x", maxText+1), sc); err == nil {
		t.Error("a text that the kernel would refuse was accepted")
	}
}

func TestMatchStars(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"LANG", "LANG", true}, {"LANG", "LANGUAGE", false}, {"LC_*", "LC_ALL", true}, {"LC_*", "LC_", true}, {"LC_*", "LC", false},
		{"*", "", true}, {"*", "X", true}, {"*_KEY", "API_KEY", true}, {"*_KEY", "API_KEYS", false},
		{"A*B*C", "AxBxC", true}, {"A*B*C", "ABC", true}, {"A*B*C", "AC", false}, {"A*A", "A", false}, {"A**B", "AB", true},
	} {
		if got := matchStars(tc.pattern, tc.s); got != tc.want {
			t.Errorf("matchStars(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

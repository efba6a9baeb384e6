package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestLookupAccount(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/bash\n# comment\nbroken:x\ndeploy:x:1000:1000:,,,:/home/deploy:/bin/zsh\nbare:x:1001:1001::: \n2000:x:1002:1002::/n:/n\nodd:x:none:1::/:/\n",
		"group":  "root:x:0:\nadm:x:4:root,deploy\ndeploy:x:1000:\nwww:x:33:deploy,bare\ndocker:x:999:deployer\n",
	})
	files := accountFiles{passwd: filepath.Join(dir, "passwd"), group: filepath.Join(dir, "group")}
	var asked []string
	getent := func(_ context.Context, args ...string) ([]byte, error) {
		asked = append(asked, strings.Join(args, " "))
		switch strings.Join(args, " ") {
		case "passwd ldap":
			return []byte("ldap:*:5000:5001:L:/home/ldap:/bin/sh\n"), nil
		case "passwd garbage":
			return []byte("garbage"), nil
		case "group ldapgroup":
			return []byte("ldapgroup:*:5002:a,b\n"), nil
		case "initgroups ldap":
			return []byte("ldap 5003 5001 5002\n"), nil
		}
		return nil, errors.New("exit code 2")
	}
	for _, tc := range []struct {
		user, group string
		want        *Account
		err         string
		asked       []string
	}{
		{user: "deploy", want: &Account{Name: "deploy", UID: 1000, GID: 1000, Groups: []int{4, 33, 1000}, Home: "/home/deploy", Shell: "/bin/zsh"}},
		{user: "1000", want: &Account{Name: "deploy", UID: 1000, GID: 1000, Groups: []int{4, 33, 1000}, Home: "/home/deploy", Shell: "/bin/zsh"}},
		{user: "deploy", group: "www", want: &Account{Name: "deploy", UID: 1000, GID: 33, Groups: []int{4, 33}, Home: "/home/deploy", Shell: "/bin/zsh", groupName: "www"}},
		{user: "bare", want: &Account{Name: "bare", UID: 1001, GID: 1001, Groups: []int{33, 1001}, Home: "/", Shell: " "}},
		{user: "2000", want: &Account{Name: "2000", UID: 1002, GID: 1002, Groups: []int{1002}, Home: "/n", Shell: "/n"}},
		{user: "7777", group: "8888", want: &Account{Name: "7777", UID: 7777, GID: 8888, Groups: []int{8888}, Home: "/", Shell: "/bin/sh"}, asked: []string{"passwd 7777", "group 8888"}},
		{user: "7777", err: `cannot find user "7777": it is in no user database, and so has no primary group; a group must be given with it`, asked: []string{"passwd 7777"}},
		{user: "ldap", want: &Account{Name: "ldap", UID: 5000, GID: 5001, Groups: []int{5001, 5002, 5003}, Home: "/home/ldap", Shell: "/bin/sh"}, asked: []string{"passwd ldap", "initgroups ldap"}},
		{user: "deploy", group: "ldapgroup", want: &Account{Name: "deploy", UID: 1000, GID: 5002, Groups: []int{4, 33, 5002}, Home: "/home/deploy", Shell: "/bin/zsh", groupName: "ldapgroup"}, asked: []string{"group ldapgroup"}},
		{user: "nobodyhere", err: `cannot find user "nobodyhere": not in DIR/passwd, and getent passwd: exit code 2`, asked: []string{"passwd nobodyhere"}},
		{user: "garbage", err: `cannot find user "garbage": neither in DIR/passwd nor known to getent`, asked: []string{"passwd garbage"}},
		{user: "deploy", group: "nogroup", err: `cannot find group "nogroup": not in DIR/group, and getent group: exit code 2`, asked: []string{"group nogroup"}},
		{user: "odd", err: `cannot find user "odd": its entry has no valid numbers`},
		{user: "4294967295", err: `cannot find user "4294967295": not in DIR/passwd, and getent passwd: exit code 2`, asked: []string{"passwd 4294967295"}},
	} {
		asked = nil
		l := &accountLookup{ctx: context.Background(), files: files, getent: getent}
		got, err := l.account(tc.user, tc.group)
		if msg := strings.ReplaceAll(errorText(err), dir, "DIR"); msg != tc.err || !reflect.DeepEqual(got, tc.want) || !reflect.DeepEqual(asked, tc.asked) {
			t.Errorf("%s, %s: %+v, %s, asked %q\nwant %+v, %s, %q", tc.user, tc.group, got, msg, asked, tc.want, tc.err, tc.asked)
		}
	}
	if _, err := lookupAccount(files, "ldap", ""); err == nil || !strings.HasPrefix(err.Error(), `cannot find user "ldap": not in `) {
		t.Errorf("without getent: %v", err)
	}
}

func TestOwnAccount(t *testing.T) {
	acct, err := LookupAccount(context.Background(), "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !acct.Self || acct.UID != os.Geteuid() || acct.GID != os.Getegid() || acct.Name == "" || acct.Home == "" || acct.Shell == "" {
		t.Errorf("%+v", acct)
	}
	// Without any database superd still knows who it is.
	acct, err = lookupAccount(accountFiles{"/nowhere", "/nowhere"}, "", "")
	if err != nil || acct.UID != os.Geteuid() || acct.Home != "/" {
		t.Errorf("%+v, %v", acct, err)
	}
}

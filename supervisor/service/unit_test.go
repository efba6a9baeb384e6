package service

import "testing"

func TestUnitOf(t *testing.T) {
	for _, c := range []struct {
		cgroup, name string
		user         bool
	}{
		{"0::/system.slice/superd.service\n", "superd.service", false},
		{"0::/system.slice/superd.service/.control\n", "superd.service", false},
		{"9:cpu:/\n1:name=systemd:/system.slice/system-superd.slice/superd@a.service\n0::/\n", "superd@a.service", false},
		{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/superd.service\n", "superd.service", true},
		{"0::/user.slice/user-0.slice/session-1.scope\n", "", false},
		{"9:cpu:/x.service\n0::/\n", "", false},
		{"", "", false},
	} {
		if name, user := unitOf(c.cgroup); name != c.name || user != c.user {
			t.Errorf("%q: %q %v", c.cgroup, name, user)
		}
	}
}

func TestStops(t *testing.T) {
	for jobs, want := range map[string]bool{
		"":                                       false,
		"No jobs running.\n":                     false,
		"412 superd.service stop running\n":      true,
		"  412 superd.service restart running\n": true,
		"412 superd.service start waiting\n":     false,
		"412 other.service stop running\n":       false,
		"1 a.mount stop waiting\n2 superd.service stop running\n": true,
		"2 superd.service\n": false,
	} {
		if got := Stops(jobs, "superd.service"); got != want {
			t.Errorf("%q: %v", jobs, got)
		}
	}
}

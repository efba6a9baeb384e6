package proc

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestCgroupDir(t *testing.T) {
	const hybrid = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
`
	for _, c := range []struct{ mounts, own, want string }{
		{hybrid, "9:name=systemd:/x\n0::/\n", "/sys/fs/cgroup/unified"},
		{hybrid, "9:name=systemd:/x\n0::/system.slice/superd.service\n", "/sys/fs/cgroup/unified/system.slice/superd.service"},
		{hybrid, "0::/system.slice/superd.service/.control\n", "/sys/fs/cgroup/unified/system.slice/superd.service"},
		{"5 4 0:3 /a /mnt/with\\040blank rw - cgroup2 none rw\n", "0::/a/b\n", "/mnt/with blank/b"},
		{"5 4 0:3 /a /mnt rw - cgroup2 none rw\n", "0::/ab\n", "error"},
		{"", "0::/\n", "error"},
		{hybrid, "1:cpu:/\n", "error"},
		{"- cgroup2\n\n - cgroup2 x y\n", "0::/\n", "error"},
	} {
		got, err := cgroupDir(c.mounts, c.own)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%q in %q: %s, %v; want %s", c.own, c.mounts, got, err, c.want)
		}
	}
}

func TestCgroup(t *testing.T) {
	root, err := CgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	parent := root + "/superd-proc-test"
	dir := parent + "/leaf"
	if err := MakeCgroup(dir); err != nil {
		t.Skip(err)
	}
	defer eventually(t, "it can be removed", func() bool { return RemoveCgroup(parent) == nil })
	if yes, err := Populated(dir); yes || err != nil {
		t.Errorf("a new one is populated: %v, %v", yes, err)
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	s, err := NewStarter()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := s.Direct(&Spec{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Umask: s.Umask()}, Files{Cgroup: fd})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p.PIDFD)
	if yes, err := Populated(parent); !yes || err != nil {
		t.Errorf("populated: %v, %v", yes, err)
	}
	if pids, err := CgroupPIDs(dir); err != nil || len(pids) != 1 || pids[0] != p.PID {
		t.Errorf("%v, %v; want %d", pids, err, p.PID)
	}
	if err := RemoveCgroup(dir); err == nil {
		t.Error("a cgroup with a process in it was removed")
	}
	if err := KillCgroup(dir); err != nil {
		t.Error(err)
	}
	eventually(t, "it is reaped", func() bool { _, ok, err := Reap(p.PIDFD); return ok || err != nil })
	eventually(t, "nobody is in it", func() bool { yes, err := Populated(dir); return !yes && err == nil })
	if err := KillCgroup("/no/such"); err == nil {
		t.Error("no cgroup was killed")
	}
	if yes, err := Populated("/no/such"); yes || err != nil {
		t.Errorf("no cgroup is populated: %v, %v", yes, err)
	}
}

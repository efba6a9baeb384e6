package cmd_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// vmPrograms are those of this machine that the tests' workers are made of; all
// others are busybox's.
var vmPrograms = []string{"bash", "cut", "cat", "date", "dash", "env", "nice", "nohup", "seq", "sleep", "true", "false", "prlimit", "setpriv", "unshare", "nsenter", "mount", "umount", "ps"}

// vmInit is the machine's first program. It goes through the tests, and says at the
// end that it came there.
const vmInit = `#!/bin/busybox sh
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/usr/bin:/bin HOME=/root TMPDIR=/tmp SUPERD_TEST_CLOCK=1
ln -sf dash /usr/bin/sh; ln -sf /usr/bin/dash /bin/sh; ln -sf /usr/bin/bash /bin/bash
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 tmp /tmp; mount -t tmpfs run /run; mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts; mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
ip link set lo up
echo "VM kernel $(uname -r)"
for job in /jobs/*; do
	. $job
	echo "VM result $(basename $job): $?"
done
echo "VM over"
poweroff -f
`

// vmGo stands for the go command, which the tests build the programs with.
const vmGo = `#!/bin/sh
while [ "$1" != -o ]; do shift; done
case $2 in
*/) mkdir -p $2; cp /usr/bin/superd /usr/bin/superctl $2 ;;
*) cp /usr/bin/superd $2 ;;
esac
`

// vmJobs are what is run there, and what of the package's tests.
var vmJobs = []struct{ name, dir, run, skip string }{
	{"cmd", "cmd", "TestScripts/(clock|orphan|keeper|cgroup)$", "^$"},
	{"proc", "supervisor/proc", ".", "^$"},
	// Left out: what wants Python or setsid(1), what is slow there (memory that is
	// given back, 200 ms for an answer), and TestAdopt, which wants an exit status to be
	// unknown: there nobody reaps the orphan, and a zombie's status can be read.
	{"keeper", "supervisor/keeper", ".", "OtherUsersAreHungUpOn|FleeingFamily|NothingGrows|HangingKeeper|TestAdopt$"},
	{"store", "supervisor/store", ".", "^$"},
	{"logs", "supervisor/logs", "Kill|Recover", "^$"},
}

// TestOlderKernel runs the tests of what hangs on the kernel on an older one, in a
// virtual machine without anything but them: Debian 12's 6.1 knows neither the exit
// status of an adopted process nor signals to a group by its leader's pidfd. There
// the wall clock may be moved, too. "make vm" provides what it needs.
func TestOlderKernel(t *testing.T) {
	kernel, busybox := os.Getenv("SUPERD_VM_KERNEL"), os.Getenv("SUPERD_VM_BUSYBOX")
	if kernel == "" || busybox == "" {
		t.Skip("no kernel for it is named in SUPERD_VM_KERNEL; make vm does that")
	}
	root := t.TempDir()
	m := machine{t, root}
	m.furnish(busybox)
	image := filepath.Join(t.TempDir(), "initrd")
	pack := exec.Command("sh", "-c", `cd "$0" && find . | "$1" cpio -o -H newc 2>/dev/null | gzip -1 >"$2"`, root, busybox, image)
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("timeout", "900", "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-m", "2048",
		"-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio",
		"-kernel", kernel, "-initrd", image, "-append", "console=ttyS0 quiet mitigations=off")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	results, over := map[string]string{}, false
	result := regexp.MustCompile(`^VM result (\w+): (\d+)`)
	for in := bufio.NewScanner(stdout); in.Scan(); {
		line := strings.TrimRight(in.Text(), "\r")
		t.Log(line)
		if is := result.FindStringSubmatch(line); is != nil {
			results[is[1]] = is[2]
		}
		over = over || line == "VM over"
	}
	if err := cmd.Wait(); err != nil || !over {
		t.Errorf("the machine did not come to its end: %v", err)
	}
	for _, job := range vmJobs {
		if results[job.name] != "0" {
			t.Errorf("the tests of %s fail there, with %q", job.dir, results[job.name])
		}
	}
}

// machine is the folder that becomes the machine's root.
type machine struct {
	t    *testing.T
	root string
}

func (m machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) copy(from, to string, mode os.FileMode) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(to, string(data), mode)
}

// furnish puts everything there that the jobs need.
func (m machine) furnish(busybox string) {
	m.t.Helper()
	m.write("init", vmInit, 0o755)
	m.write("usr/bin/go", vmGo, 0o755)
	m.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)
	m.write("etc/group", "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n", 0o644)
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "root"} {
		if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	m.copy(busybox, "bin/busybox", 0o755)
	for _, name := range []string{"superd", "superctl"} {
		m.copy(filepath.Join(bin, name), "usr/bin/"+name, 0o755)
	}
	for _, name := range vmPrograms {
		path, err := exec.LookPath(name)
		if err != nil {
			m.t.Fatal(err)
		}
		m.copy(path, "usr/bin/"+name, 0o755)
		m.libraries(path)
	}
	for _, job := range vmJobs {
		m.t.Logf("building the tests of %s", job.dir)
		build := exec.Command("go", "test", "-c", "-o", filepath.Join(m.root, job.name+".test"), ".")
		build.Dir = filepath.Join("..", job.dir)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			m.t.Fatalf("%v\n%s", err, out)
		}
		m.write(fmt.Sprintf("jobs/%s", job.name), fmt.Sprintf(
			"mkdir -p /src/%[2]s; cd /src/%[2]s\n/%[1]s.test -test.short -test.timeout 400s -test.parallel 1 -test.run '%[3]s' -test.skip '%[4]s' >/tmp/said 2>&1\nended=$?\n"+
				"[ $ended = 0 ] || grep -v '^[[:space:]]*[/(]\\|^goroutine\\|^created by' /tmp/said | tail -n 80\necho \"VM $(tail -n 1 /tmp/said), up for $(cat /proc/uptime)\"\n(exit $ended)\n",
			job.name, job.dir, job.run, job.skip), 0o644)
		data := filepath.Join("..", job.dir, "testdata")
		if _, err := os.Stat(data); err == nil {
			if err := os.CopyFS(filepath.Join(m.root, "src", job.dir, "testdata"), os.DirFS(data)); err != nil {
				m.t.Fatal(err)
			}
		}
	}
}

// libraries copies what a program is linked with.
func (m machine) libraries(program string) {
	m.t.Helper()
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return // it is static
	}
	for _, path := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
		if _, err := os.Stat(filepath.Join(m.root, path)); err != nil && !strings.HasSuffix(path, ":") {
			m.copy(path, path, 0o755)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// start measures how long it takes until all workers have started, by turns in a
// bare loop of vfork and exec and by superd. superd stays with its workers.
func (b *run) start() error {
	if err := b.begin(); err != nil {
		return err
	}
	var floor, superd time.Duration
	for round := range *rounds {
		f, err := b.startFloor()
		if err != nil {
			return err
		}
		if round > 0 {
			if err := b.stopPool(); err != nil {
				return err
			}
		}
		begin := time.Now()
		if err := b.post("bench", "start"); err != nil {
			return err
		}
		if err := b.await(*workers); err != nil {
			return err
		}
		s := time.Since(begin)
		if round == 0 || f < floor {
			floor = f
		}
		if round == 0 || s < superd {
			superd = s
		}
	}
	row("", "superd", "bare", "")
	row(fmt.Sprintf("start of %d workers", *workers), ms(superd), ms(floor),
		fmt.Sprintf("%.2f times (best of %d)", float64(superd)/float64(floor), *rounds))
	return nil
}

// startFloor is the same without a supervisor.
func (b *run) startFloor() (time.Duration, error) {
	cmd := exec.Command(filepath.Join(b.dir, "floor"), strconv.Itoa(*workers), filepath.Join(b.dir, "worker"), b.startFIFO())
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = b.await(*workers)
	took := time.Since(begin)
	in.Close()
	if waited := cmd.Wait(); err == nil {
		err = waited
	}
	return took, err
}

func (b *run) stopPool() error {
	if err := b.post("bench", "stop"); err != nil {
		return err
	}
	return b.until("all workers have ended", func() bool {
		running, _, err := b.running("bench")
		return err == nil && running == 0
	})
}

// calm is how long memory must not change to be measured: superd gives back what
// it does not need some seconds after it has come to rest.
const calm = 8 * time.Second

// rest waits until all is calm and measures memory: the proportional share of
// superd and of the keeper.
func (b *run) rest() error {
	err := b.until("all workers are healthy", func() bool {
		_, healthy, err := b.running("bench")
		return err == nil && healthy == *workers
	})
	if err != nil {
		return err
	}
	share, err := b.memory()
	for since, end := time.Now(), time.Now().Add(time.Minute); err == nil && time.Since(since) < calm && time.Now().Before(end); {
		time.Sleep(time.Second)
		var now [2]float64
		if now, err = b.memory(); math.Abs(now[0]+now[1]-share[0]-share[1]) > 0.2 {
			share, since = now, time.Now()
		}
	}
	if err != nil {
		return err
	}
	threads := 0
	for _, pid := range b.pids {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		threads += len(tasks)
	}
	row(fmt.Sprintf("memory (PSS) with %d idle workers", *workers), fmt.Sprintf("%.1f MB", share[0]+share[1]), "",
		fmt.Sprintf("superd %.1f, keeper %.1f; %d threads", share[0], share[1], threads))
	return nil
}

// memory is the PSS of superd and of the keeper in MB.
func (b *run) memory() (share [2]float64, err error) {
	for i, pid := range b.pids {
		kb, err := pss(pid)
		if err != nil {
			return share, err
		}
		share[i] = float64(kb) / 1024
	}
	return share, nil
}

// pss is a process's proportional set size in KiB: see proc_pid_smaps(5).
func pss(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no Pss in smaps_rollup of %d", pid)
	}
	return strconv.Atoi(string(m[1]))
}

// status measures the answer to GET /v1/status, each on a new connection, and the
// whole of superctl status.
func (b *run) status() error {
	var api, ctl []time.Duration
	for range 50 {
		begin := time.Now()
		if err := b.get("/v1/status", nil); err != nil {
			return err
		}
		api = append(api, time.Since(begin))
	}
	for range 10 {
		begin := time.Now()
		cmd := exec.Command(filepath.Join(b.bin, "superctl"), "-s", filepath.Join(b.dir, "run", "control.sock"), "status")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("superctl status: %w\n%s", err, out)
		}
		ctl = append(ctl, time.Since(begin))
	}
	row(fmt.Sprintf("GET /v1/status of %d workers", *workers), ms(median(api)), "", "median; slowest "+ms(slices.Max(api)))
	row(fmt.Sprintf("superctl status of %d workers", *workers), ms(median(ctl)), "", "median; slowest "+ms(slices.Max(ctl)))
	return nil
}

func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// idle counts the system calls of superd and the keeper while nothing happens.
// What comes before they are calm, strace's own disturbance above all, is left out.
func (b *run) idle() error {
	file := filepath.Join(b.dir, "strace")
	args := []string{"-f", "-q", "-ttt", "-o", file}
	for _, pid := range b.pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	cmd := exec.Command("strace", args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		row("system calls while idle", "?", "", err.Error())
		return nil
	}
	begin := time.Now().Add(calm)
	time.Sleep(calm + *idle)
	end := time.Now()
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	calls, err := callsBetween(file, begin, end)
	if err != nil {
		return fmt.Errorf("strace: %w: %s", err, complaint.Bytes())
	}
	var names []string
	total := 0
	for name, n := range calls {
		names = append(names, fmt.Sprintf("%s %d", name, n))
		total += n
	}
	slices.Sort(names)
	row(fmt.Sprintf("system calls in %v of idling", *idle), strconv.Itoa(total), "", strings.Join(names, ", "))
	return nil
}

// callsBetween counts by name the calls in strace's output that began in a time.
func callsBetween(file string, begin, end time.Time) (map[string]int, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	line := regexp.MustCompile(`^\d+\s+(\d+\.\d+) (\w+)\(`)
	calls := make(map[string]int)
	for in := bufio.NewScanner(f); in.Scan(); {
		m := line.FindStringSubmatch(in.Text())
		if m == nil {
			continue
		}
		at, _ := strconv.ParseFloat(m[1], 64)
		if at >= float64(begin.UnixNano())/1e9 && at < float64(end.UnixNano())/1e9 {
			calls[m[2]]++
		}
	}
	return calls, nil
}

// stop measures how long it takes until all workers are gone.
func (b *run) stop() error {
	begin := time.Now()
	if err := b.stopPool(); err != nil {
		return err
	}
	row(fmt.Sprintf("stop of %d workers", *workers), ms(time.Since(begin)), "", "")
	return nil
}

// logs measures how fast a worker's output gets into its file, beside a pipe
// into cat.
func (b *run) logs() error {
	lines := filepath.Join(b.dir, "lines")
	line := []byte(strings.Repeat("a line of log that is as long as most are ", 2) + "\n")
	if err := os.WriteFile(lines, bytes.Repeat(line, *megas<<20/len(line)), 0o600); err != nil {
		return err
	}
	st, err := os.Stat(lines)
	if err != nil {
		return err
	}
	begin := time.Now()
	if out, err := exec.Command("sh", "-c", `cat "$1" | cat >"$2"`, "sh", lines, filepath.Join(b.dir, "copy")).CombinedOutput(); err != nil {
		return fmt.Errorf("cat: %w\n%s", err, out)
	}
	floor := time.Since(begin)
	os.Remove(filepath.Join(b.dir, "copy"))
	begin = time.Now()
	if err := b.post("writer", "start"); err != nil {
		return err
	}
	err = b.until("the log is written", func() bool {
		log, err := os.Stat(filepath.Join(b.dir, "log", "writer", "0.log"))
		return err == nil && log.Size() >= st.Size()
	})
	took := time.Since(begin)
	rate := func(d time.Duration) string { return fmt.Sprintf("%.0f MB/s", float64(st.Size())/1e6/d.Seconds()) }
	row(fmt.Sprintf("log of %d MB", *megas), rate(took), rate(floor), "beside cat | cat >file")
	return err
}

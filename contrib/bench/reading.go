package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	chatters  = 100 // workers that print while they are followed
	chatRate  = 100 // lines a second each
	chatTime  = 10  // seconds
	readBar   = 50 * time.Millisecond
	readRound = 15 // how often a reading is measured; the median counts
)

// readPools are the pools whose logs are read: one log of twice lines, with a
// second in its middle, and many workers that print a little all the time.
func (b *run) readPools() string {
	return fmt.Sprintf(`
[pool.long]
command = ["sh", "-c", "cat %[1]s/lines; sleep 1; date -u +%%Y-%%m-%%dT%%H:%%M:%%S.%%NZ > %[1]s/middle; cat %[1]s/lines"]
restart = { on = "never" }
log = { max_size = "0" }

[pool.chatty]
command = ["%[1]s/chatter", "%[2]d", "%[3]d"]
count = %[4]d
restart = { on = "never" }
`, b.dir, chatRate*chatTime, chatRate, chatters)
}

// reading measures superctl logs: its latency in a long log, and what it costs
// superd to be followed.
func (b *run) reading() error {
	if err := b.long(); err != nil {
		return err
	}
	return b.followed()
}

// long measures how long it takes to find lines in a log of a gigabyte.
func (b *run) long() error {
	os.Remove(filepath.Join(b.dir, "log", "writer", "0.log")) // its room is needed
	if err := b.post("long", "start"); err != nil {
		return err
	}
	if err := b.finished("long", 1); err != nil {
		return err
	}
	log, err := os.Stat(filepath.Join(b.dir, "log", "long", "0.log"))
	if err != nil {
		return err
	}
	middle, err := os.ReadFile(filepath.Join(b.dir, "middle"))
	if err != nil {
		return err
	}
	at := strings.TrimSpace(string(middle))
	size := fmt.Sprintf(" of %.1f GB", float64(log.Size())/1e9)
	for _, m := range []struct {
		what string
		args []string
	}{
		{"superctl logs -n 100", []string{"-n", "100"}},
		{"  --since the middle -n 100", []string{"--since", at, "-n", "100"}},
		{"  --until the middle -n 100", []string{"--until", at, "-n", "100"}},
	} {
		var all []time.Duration
		for range readRound {
			begin := time.Now()
			out, err := b.superctl(append([]string{"logs", "long"}, m.args...)...).Output()
			if err != nil {
				return fmt.Errorf("superctl logs: %w", err)
			}
			if n := strings.Count(string(out), "\n"); n != 100 {
				return fmt.Errorf("superctl logs %s: %d lines", strings.Join(m.args, " "), n)
			}
			all = append(all, time.Since(begin))
		}
		row(m.what+size, ms(median(all)), ms(readBar), fmt.Sprintf("median of %d; slowest %s; beside the bar", readRound, ms(slices.Max(all))))
	}
	return b.everything(log.Size())
}

// everything measures how fast a whole log comes.
func (b *run) everything(size int64) error {
	begin := time.Now()
	cmd := b.superctl("logs", "long", "-n", "all")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, out)
	if waited := cmd.Wait(); err == nil {
		err = waited
	}
	if err == nil && n != size {
		err = fmt.Errorf("superctl logs -n all: %d bytes of %d", n, size)
	}
	took := time.Since(begin)
	row("superctl logs -n all", fmt.Sprintf("%.0f MB/s", float64(n)/1e6/took.Seconds()), "", ms(took))
	return err
}

// followed measures superd's processor time while many workers print, alone and
// with somebody who follows them all.
func (b *run) followed() error {
	alone, err := b.chat()
	if err != nil {
		return err
	}
	follower := b.superctl("logs", "-f", "chatty", "-n", "0")
	lines, err := follower.StdoutPipe()
	if err != nil {
		return err
	}
	if err := follower.Start(); err != nil {
		return err
	}
	count := make(chan int)
	go func() { count <- countLines(lines) }()
	time.Sleep(500 * time.Millisecond) // until it is there
	with, err := b.chat()
	if err == nil {
		time.Sleep(time.Second) // for the last of them
	}
	follower.Process.Signal(syscall.SIGINT)
	got := <-count
	if waited := follower.Wait(); err == nil {
		err = waited
	}
	if err != nil {
		return err
	}
	what := fmt.Sprintf("processor time, %d workers, %d lines/s each", chatters, chatRate)
	row(what, ms(alone), "", fmt.Sprintf("superd's, in %d s, not followed", chatTime))
	row("  followed by superctl logs -f", ms(with-alone), ms(alone),
		fmt.Sprintf("more than that, beside the writing: %.2f times; %d of %d lines", float64(with-alone)/float64(alone), got, chatters*chatRate*chatTime))
	return nil
}

func countLines(r io.Reader) int {
	n := 0
	for buf := make([]byte, 64<<10); ; {
		m, err := r.Read(buf)
		n += strings.Count(string(buf[:m]), "\n")
		if err != nil {
			return n
		}
	}
}

// chat has all the chatty workers print, and is superd's processor time over it.
func (b *run) chat() (time.Duration, error) {
	before, err := processorTime(b.pids[0])
	if err != nil {
		return 0, err
	}
	if err := b.post("chatty", "start"); err != nil {
		return 0, err
	}
	if err := b.finished("chatty", chatters); err != nil {
		return 0, err
	}
	after, err := processorTime(b.pids[0])
	return after - before, err
}

// finished waits until so many workers of a pool have completed.
func (b *run) finished(pool string, n int) error {
	var p struct {
		Workers []struct{ State string }
	}
	return b.until("all of "+pool+" have completed", func() bool {
		time.Sleep(200 * time.Millisecond) // asking costs processor time too
		if b.get("/v1/pools/"+pool, &p) != nil {
			return false
		}
		done := 0
		for _, w := range p.Workers {
			if w.State == "completed" {
				done++
			}
		}
		return done == n
	})
}

// processorTime is what a process has used in user and kernel mode: see
// proc_pid_stat(5). Ticks are of 10 ms on every Linux that Go runs on.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errors.New("cannot read /proc/PID/stat")
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	kernel, err := strconv.Atoi(fields[12])
	return time.Duration(user+kernel) * 10 * time.Millisecond, err
}

// superctl is a call of it, not yet begun.
func (b *run) superctl(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(b.bin, "superctl"), append([]string{"-s", filepath.Join(b.dir, "run", "control.sock")}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

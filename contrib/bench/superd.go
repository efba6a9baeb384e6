package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long anything may take until the benchmark gives up.
const patience = 2 * time.Minute

// run is one run of the benchmark.
type run struct {
	dir, bin string
	starts   *os.File // a FIFO, in which is a byte for each worker that has started
	superd   *exec.Cmd
	pids     []int // of superd and the keeper
}

func (b *run) startFIFO() string { return filepath.Join(b.dir, "starts") }

func (b *run) listen() error {
	if err := syscall.Mkfifo(b.startFIFO(), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(b.startFIFO(), os.O_RDWR|syscall.O_NONBLOCK, 0)
	b.starts = f
	return err
}

// await waits until so many workers have told that they have started.
func (b *run) await(n int) error {
	buf := make([]byte, 4096)
	b.starts.SetReadDeadline(time.Now().Add(patience))
	for started := 0; started < n; {
		m, err := b.starts.Read(buf)
		if err != nil {
			return fmt.Errorf("only %d of %d workers have started: %w", started, n, err)
		}
		started += m
	}
	return nil
}

// begin starts superd with a pool of workers that are not to be started yet.
func (b *run) begin() error {
	config := fmt.Sprintf(`
[superd]
runtime_dir = "%[1]s/run"
state_dir   = "%[1]s/state"
log_dir     = "%[1]s/log"

[defaults]
autostart = false

[pool.bench]
command = ["%[1]s/worker", "%[2]s"]
count = %[3]d
update = { min_healthy_time = "1s" }

[pool.writer]
command = ["cat", "%[1]s/lines"]
restart = { on = "never" }
log = { max_size = "0" }
`, b.dir, b.startFIFO(), *workers) + b.readPools()
	file := filepath.Join(b.dir, "superd.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(b.dir, "superd.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	b.superd = exec.Command(filepath.Join(b.bin, "superd"), "run", "-c", file)
	b.superd.Stdout, b.superd.Stderr = log, log
	if err := b.superd.Start(); err != nil {
		return err
	}
	var st struct {
		Superd struct {
			PID       int
			KeeperPID int `json:"keeper_pid"`
		}
	}
	err = b.until("superd answers", func() bool { return b.get("/v1/status", &st) == nil })
	b.pids = []int{st.Superd.PID, st.Superd.KeeperPID}
	return err
}

// end tells superd to end and waits for it.
func (b *run) end() error {
	if b.superd == nil {
		return nil
	}
	b.superd.Process.Signal(syscall.SIGTERM)
	err := b.superd.Wait()
	b.superd = nil
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(b.dir, "superd.log"))
		return fmt.Errorf("superd: %w\n%s", err, log)
	}
	return nil
}

func (b *run) client() *http.Client {
	socket := filepath.Join(b.dir, "run", "control.sock")
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
}

// get asks superd for something.
func (b *run) get(path string, into any) error {
	resp, err := b.client().Get("http://superd" + path)
	if err != nil {
		return err
	}
	return answer(resp, path, into)
}

// post tells superd to do something to a pool.
func (b *run) post(pool, verb string) error {
	path := "/v1/pools/" + pool + "/" + verb
	resp, err := b.client().Post("http://superd"+path, "application/json", strings.NewReader("{}"))
	if err != nil {
		return err
	}
	return answer(resp, path, nil)
}

func answer(resp *http.Response, path string, into any) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	case into == nil:
		return nil
	}
	return json.Unmarshal(body, into)
}

// running is how many workers of a pool have a process, and how many are healthy.
func (b *run) running(pool string) (running, healthy int, err error) {
	var p struct{ Running, Healthy int }
	err = b.get("/v1/pools/"+pool, &p)
	return p.Running, p.Healthy, err
}

func (b *run) until(what string, is func() bool) error {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if is() {
			return nil
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(b.dir, "superd.log"))
			return fmt.Errorf("not in %v: %s; superd's own log:\n%s", patience, what, log)
		}
	}
}

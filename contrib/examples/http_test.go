package examples_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// portsTaken keeps tests that run at the same time apart.
var portsTaken = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// freePorts gives the first of n ports of 127.0.0.1 in a row that are free. They lie
// below those that the kernel gives to connections, which could take one while the
// server that has it is being restarted.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	below := 32768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if first, err := strconv.Atoi(strings.Fields(string(text))[0]); err == nil && first > 11000 {
			below = first
		}
	}
	portsTaken.Lock()
	defer portsTaken.Unlock()
	for range 1000 {
		first := 10000 + rand.IntN(below-10000-n)
		if portsFree(first, n) {
			for port := first; port < first+n; port++ {
				portsTaken.ports[port] = true
			}
			return first
		}
	}
	t.Fatal("no ports are free")
	return 0
}

func portsFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		if portsTaken.ports[port] {
			return false
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// traffic is requests to an example's application, each on a connection of its own,
// by clients that try again, at the next address, until they have an answer.
type traffic struct {
	t         *testing.T
	ledger    ledger
	addresses []string
	http      http.Client
	stop      chan struct{}
	clients   sync.WaitGroup

	mu       sync.Mutex
	answered []string         // names of requests
	broken   map[string]error // names of requests that had no good answer
}

// startTraffic begins with quick requests and some that take seconds.
func startTraffic(t *testing.T, l ledger, ports ...int) *traffic {
	t.Helper()
	tr := &traffic{
		t: t, ledger: l, broken: map[string]error{}, stop: make(chan struct{}),
		http: http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute},
	}
	for _, port := range ports {
		tr.addresses = append(tr.addresses, fmt.Sprintf("127.0.0.1:%d", port))
	}
	for _, address := range tr.addresses {
		eventually(t, address+" listens", func() bool {
			c, err := net.Dial("tcp", address)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	for client := range 3 {
		tr.clients.Go(func() { tr.client(fmt.Sprintf("long%d", client), client, 2) })
		tr.clients.Go(func() { tr.client(fmt.Sprintf("short%d", client), client, 0.1) })
	}
	t.Cleanup(tr.end)
	return tr
}

func (tr *traffic) client(name string, first int, seconds float64) {
	for n := 0; ; n++ {
		select {
		case <-tr.stop:
			return
		default:
		}
		begun := time.Now()
		for try := 0; ; try++ {
			request := fmt.Sprintf("%s-%d.%d", name, n, try)
			err := tr.get(request, tr.addresses[(first+n+try)%len(tr.addresses)], seconds)
			tr.mu.Lock()
			if err == nil {
				tr.answered = append(tr.answered, request)
			} else {
				tr.broken[request] = err
			}
			tr.mu.Unlock()
			if err == nil {
				break
			}
			if time.Since(begun) > time.Minute {
				tr.t.Errorf("%s-%d has no answer for a minute: %v", name, n, err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (tr *traffic) get(name, address string, seconds float64) error {
	url := fmt.Sprintf("http://%s/?name=%s&seconds=%g", address, name, seconds)
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := tr.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || string(body) != name+" is done\n" {
		return fmt.Errorf("%s: %q", answer.Status, body)
	}
	return nil
}

// flows waits until a quick and a slow request that began after this call are answered.
func (tr *traffic) flows() {
	tr.t.Helper()
	tr.mu.Lock()
	had := len(tr.answered)
	tr.mu.Unlock()
	eventually(tr.t, "requests are answered", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		var long, short int
		for _, name := range tr.answered[had:] {
			if strings.HasPrefix(name, "long") {
				long++
			} else {
				short++
			}
		}
		return long > 3 && short > 3
	})
}

func (tr *traffic) end() {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.clients.Wait()
}

// promise is what may happen to a request beside being answered.
type promise int

const (
	everyRequest   promise = iota // nothing
	everyAccepted                 // it may be cut while it waits to be accepted, but not be refused
	everyAccepted1                // the same, and it may be refused: nobody listens for a moment
)

// holds ends the traffic and holds that every request that the application had
// begun was answered, and that no other was lost than those that may be.
func (tr *traffic) holds(p promise) {
	tr.t.Helper()
	tr.end()
	entries := tr.ledger.read()
	for _, name := range tr.answered {
		if e := entries[name]; len(e.begun) != 1 || len(e.ended) != 1 || e.begun[0] != e.ended[0] {
			tr.t.Errorf("%s was begun by %q and ended by %q", name, e.begun, e.ended)
		}
	}
	refused := 0
	for name, err := range tr.broken {
		is := errors.Is(err, syscall.ECONNREFUSED)
		if is {
			refused++
		}
		switch {
		case len(entries[name].begun) > 0:
			tr.t.Errorf("%s was begun, and not answered: %v", name, err)
		case p == everyRequest, is && p != everyAccepted1:
			tr.t.Errorf("%s: %v", name, err)
		}
	}
	tr.t.Logf("%d requests were answered; %d were refused and %d cut before they were accepted, and sent again",
		len(tr.answered), refused, len(tr.broken)-refused)
}

package examples_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRedis: clients write all the time while the database is restarted thrice, and
// try again when they are refused or cut off. What was acknowledged is there.
func TestRedis(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "redis-server")
	dir := install(t, "redis")
	port := freePorts(t, 1)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	h := start(t, filepath.Join("redis", "superd.toml"), "/srv/redis", dir, "6380", strconv.Itoa(port),
		`min_healthy_time = "3s"`, `min_healthy_time = "1s"`)
	h.started("redis")

	var acknowledged, again atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	counts := make([]int, 4)
	for client := range counts {
		clients.Go(func() {
			var c *redisConn
			for n := 0; ; {
				select {
				case <-stop:
					counts[client] = n
					return
				case <-time.After(time.Millisecond):
				}
				var err error
				if c == nil {
					c, err = dialRedis("tcp", address)
				}
				if err == nil {
					_, err = c.do("SET", fmt.Sprintf("%d-%d", client, n), strconv.Itoa(n))
				}
				if err != nil { // refused, cut off, or it is loading
					if c != nil {
						c.conn.Close()
						c = nil
					}
					again.Add(1)
					time.Sleep(20 * time.Millisecond)
					continue
				}
				acknowledged.Add(1)
				n++
			}
		})
	}
	end := sync.OnceFunc(func() { close(stop); clients.Wait() })
	defer end()
	someMore := func() {
		t.Helper()
		had := acknowledged.Load()
		eventually(t, "there are more writes", func() bool { return acknowledged.Load() > had+100 })
	}

	someMore()
	for range 3 {
		h.restart("redis")
		someMore()
	}
	end()

	c, err := dialRedis("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	for client, count := range counts {
		for n := range count {
			if v, err := c.do("GET", fmt.Sprintf("%d-%d", client, n)); v != strconv.Itoa(n) || err != nil {
				t.Fatalf("client %d's write %d was acknowledged, and is %q, %v", client, n, v, err)
			}
		}
	}
	t.Logf("%d writes were acknowledged, %d tries failed", acknowledged.Load(), again.Load())
}

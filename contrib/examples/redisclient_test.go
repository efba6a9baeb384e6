package examples_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startRedis runs a Redis that listens on a socket in dir alone, and gives the
// socket's path.
func startRedis(t *testing.T, dir string) string {
	t.Helper()
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	eventually(t, "redis listens", func() bool {
		_, err := redisDo("unix", socket, "PING")
		return err == nil
	})
	return socket
}

// redisConn is one connection to a Redis.
type redisConn struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialRedis(network, address string) (*redisConn, error) {
	conn, err := net.DialTimeout(network, address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &redisConn{conn, bufio.NewReader(conn)}, nil
}

// do sends a command and gives the answer: a text, a number as text, or "" for nil.
func (c *redisConn) do(args ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	c.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return "", err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		text := make([]byte, n+2)
		_, err = io.ReadFull(c.in, text)
		return string(text[:n]), err
	}
	return "", fmt.Errorf("redis answered %q", line)
}

// redisDo sends one command on a connection of its own.
func redisDo(network, address string, args ...string) (string, error) {
	c, err := dialRedis(network, address)
	if err != nil {
		return "", err
	}
	defer c.conn.Close()
	return c.do(args...)
}

// Command bench measures superd from outside, beside the least that the machine needs for
// the same: make bench. It prints a table and judges nothing.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

var (
	workers = flag.Int("workers", 1000, "how many workers")
	idle    = flag.Duration("idle", 30*time.Second, "for how long idle processes are watched")
	rounds  = flag.Int("rounds", 3, "how often starts and upgrades are measured; the best counts")
	megas   = flag.Int("mb", 512, "how many MB of log are written; twice as many are read")
	bin     = flag.String("bin", "bin", "folder of superd and superctl")
)

func main() {
	flag.Parse()
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench() error {
	dir, err := os.MkdirTemp("", "superd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &run{dir: dir}
	if b.bin, err = filepath.Abs(*bin); err != nil {
		return err
	}
	for _, name := range []string{"floor", "worker", "chatter"} {
		out, err := exec.Command("gcc", "-O2", "-static", "-o", filepath.Join(dir, name), "contrib/bench/c/"+name+".c").CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", name, err, out)
		}
	}
	if err := b.listen(); err != nil {
		return err
	}
	defer b.starts.Close()
	for _, measure := range []func() error{b.start, b.rest, b.status, b.idle, b.recover, b.stop, b.logs, b.reading} {
		if err := measure(); err != nil {
			b.end()
			return err
		}
	}
	return b.end()
}

// row prints one line of the table.
func row(what, measured, floor, note string) {
	fmt.Printf("%-44s %14s %14s  %s\n", what, measured, floor, note)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

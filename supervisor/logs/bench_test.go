package logs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkThroughput moves the output of one fast writer to a file; BenchmarkCat
// is the same pipe read by cat. The figures to compare are MB/s.
func BenchmarkThroughput(b *testing.B) {
	l := newLab(b, nil)
	sp := spec("a", 0)
	sp.MaxSize = 0 // as cat: one growing file
	p := l.prepare("run1", sp)
	feed(b, p.Stdout, func() {
		p.Close()
		l.m.Ended("run1")
		l.drained("run1")
	})
}

func BenchmarkCat(b *testing.B) {
	l := newLab(b, nil)
	p, err := l.m.Prepare("run1", spec("a", 0), os.Getuid(), os.Getgid())
	must(b, err)
	f, err := os.Create(filepath.Join(l.dir, "file"))
	must(b, err)
	c := exec.Command("cat")
	c.Stdin, c.Stdout = p.Read["run1.out"], f
	must(b, c.Start())
	for _, r := range p.Read {
		r.Close()
	}
	feed(b, p.Stdout, func() {
		p.Close()
		l.m.Ended("run1") // the Manager's own read end
		must(b, c.Wait())
	})
	f.Close()
}

// feed writes b.N chunks of lines and waits until they have arrived.
func feed(b *testing.B, w *os.File, wait func()) {
	const chunk = 64 << 10
	text := []byte(numbered(0, 10_000))[:chunk]
	b.SetBytes(chunk)
	b.ResetTimer()
	for range b.N {
		if _, err := w.Write(text); err != nil {
			b.Fatal(err)
		}
	}
	wait()
}

// BenchmarkLine is the way of one single line from the worker to the file.
func BenchmarkLine(b *testing.B) {
	l := newLab(b, nil)
	p := l.prepare("run1", spec("a", 0))
	line := []byte("one line of an ordinary worker, as long as lines are on average\n")
	for i := range b.N {
		if _, err := p.Stdout.Write(line); err != nil {
			b.Fatal(err)
		}
		for {
			if st, _ := l.m.Stats("run1"); st.Bytes == int64((i+1)*len(line)) {
				break
			}
		}
	}
	l.end("run1", p)
}

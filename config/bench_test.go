package config

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkLoad loads a thousand pools of ten lines.
func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	text.WriteString("[defaults]\nenv = { A = \"1\" }\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "[pool.p%d]\ncommand = [\"bin/worker\", \"${index}\"]\ncount = 4\nenv = { PORT = \"${9000+index}\", URL = \"x${PORT}\" }\n"+
			"[pool.p%d.restart]\nattempts = 5\ninterval = \"1m\"\n[pool.p%d.log]\nkeep = 3\n", i, i, i)
	}
	data := []byte(text.String())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LoadBytes("f", data, Options{self: rootUser}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRender fills in one run's command.
func BenchmarkRender(b *testing.B) {
	c, err := LoadBytes("f", []byte(Starter()), Options{self: rootUser})
	if err != nil {
		b.Fatal(err)
	}
	base := strings.Split(strings.Repeat("SOME_VARIABLE=1 ", 50)+"PATH=/bin LANG=C", " ")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Pools["hello"].Render(RunContext{Index: 1, Base: base}); err != nil {
			b.Fatal(err)
		}
	}
}

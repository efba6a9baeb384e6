package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// oddTexts are what workers print that is hard to carry.
var oddTexts = []string{
	"", "plain", `{"level":"info","msg":"a \"quoted\" \\ thing"}`, "tab\there\r", "\x00\x01\x1b[31mred\x1b[0m\x7f",
	"żółw 🐢 \u2028", "not \xff\xfe valid \xc3", "ends in \\", `\u0041 stays`, strings.Repeat("long ", 200_000),
}

func logLineOf(i int, text string) LogLine {
	l := LogLine{Time: At(time.Unix(0, 1763792523123456789+int64(i)).UTC()), Worker: "mailers/0", RunID: "r1",
		Stream: []string{StreamOut, StreamErr, StreamSelf}[i%3], Line: LogText(text), File: 1763, End: int64(i)}
	if i%4 == 1 {
		l.Time, l.RunID = Time{}, ""
	}
	l.Cut = i%5 == 2
	return l
}

// TestLogLinesKeepEveryByte: what is written by hand is what encoding/json
// reads, and what is read by hand is the same.
func TestLogLinesKeepEveryByte(t *testing.T) {
	var stream []byte
	var sent []LogLine
	for i, text := range oddTexts {
		l := logLineOf(i, text)
		sent = append(sent, l)
		stream = append(l.AppendJSON(stream), '\n')
	}
	for n := range 500 {
		raw := make([]byte, n%40)
		for i := range raw {
			raw[i] = byte(rand.IntN(256))
		}
		l := logLineOf(n, string(raw))
		sent = append(sent, l)
		stream = append(l.AppendJSON(stream), '\n')
	}
	d := NewLogDecoder(bytes.NewReader(stream))
	lines := bytes.Split(stream, []byte("\n"))
	for i := range sent {
		var byHand, byJSON LogLine
		if err := d.Next(&byHand); err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(lines[i]) {
			t.Errorf("%q is no JSON", lines[i])
		}
		if err := json.Unmarshal(lines[i], &byJSON); err != nil {
			t.Fatalf("%v in %s", err, lines[i])
		}
		if !bytes.Equal(byHand.Text(), sent[i].Line) || !bytes.Equal(byJSON.Text(), sent[i].Line) {
			t.Errorf("%q became %q and %q", sent[i].Line, byHand.Text(), byJSON.Text())
		}
		if (byHand.Bytes == nil) != utf8.Valid(sent[i].Line) {
			t.Errorf("%q: bytes %q", sent[i].Line, byHand.Bytes)
		}
		for _, l := range []*LogLine{&byHand, &byJSON} {
			l.Line, l.Bytes = sent[i].Line, nil
			if fmt.Sprint(l.Time) != fmt.Sprint(sent[i].Time) {
				t.Errorf("%v became %v", sent[i].Time, l.Time)
			}
			l.Time = sent[i].Time
			if !reflect.DeepEqual(*l, sent[i]) {
				t.Errorf("%+v became %+v", sent[i], *l)
			}
		}
	}
	if err := d.Next(&LogLine{}); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestLogLineOnTheWire(t *testing.T) {
	l := LogLine{Time: At(time.Unix(0, 1763792523123456789)), Worker: "mailers/0", RunID: "r1", Stream: StreamOut, Line: LogText("a \"b\" \xff"), File: 3, End: 9, Cut: true}
	const want = `{"time":"2025-11-22T06:22:03.123456789Z","worker":"mailers/0","run_id":"r1","stream":"stdout","line":"a \"b\" ` + "\ufffd" + `","bytes":"YSAiYiIg/w==","cut":true,"file":3,"end":9}`
	if got := string(l.AppendJSON(nil)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	gap := LogLine{Worker: "mailers/0", Missed: "gone"}
	if got := string(gap.AppendJSON(nil)); got != `{"time":null,"worker":"mailers/0","missed":"gone"}` {
		t.Error(got)
	}
}

// TestLogLinesOfOthers: another writer's spacing, order and escapes, and what no
// writer may send.
func TestLogLinesOfOthers(t *testing.T) {
	read := func(s string) (LogLine, error) {
		var l LogLine
		err := NewLogDecoder(strings.NewReader(s)).Next(&l)
		return l, err
	}
	for _, s := range []string{
		`{"worker": "m/0", "stream": "stdout", "line": "a\u00e9\/\b", "end": 5, "file": 1, "new": {}}`,
		`{"time":null,"worker":"m/0","run_id":null,"stream":"stdout","line":"a\u00e9\/\b","file":1,"end":5}`,
		`{"time":null,"worker":"m/0","run_id":null,"stream":"stdout","line":"aé/\u0008","file":1,"end":5,"more":1}`,
	} {
		if l, err := read("\n" + s + "\n"); err != nil || string(l.Text()) != "aé/\b" || l.Worker != "m/0" || l.End != 5 {
			t.Errorf("%s: %+v, %v", s, l, err)
		}
	}
	for _, s := range []string{"{}\n", "[\n", `{"time":"yesterday","stream":"stdout"}` + "\n", `{"stream":"stdout","bytes":"?"}` + "\n"} {
		if l, err := read(s); !errors.Is(err, errBadLog) {
			t.Errorf("%s: %+v, %v", s, l, err)
		}
	}
	if _, err := read(`{"time":`); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := NewLogDecoder(io.LimitReader(endless{}, MaxLogLine+1<<20)).readLine(); !errors.Is(err, errBadLog) {
		t.Error(err)
	}
}

// endless is a line without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func BenchmarkLogLines(b *testing.B) {
	l := logLineOf(0, `2026-11-22T06:22:03Z INFO {"message":"a line of log that is as long as most are","job":4711}`)
	wire := append(l.AppendJSON(nil), '\n')
	b.Run("write", func(b *testing.B) {
		var out []byte
		b.SetBytes(int64(len(l.Line)))
		for b.Loop() {
			out = l.AppendJSON(out[:0])
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(l.Line)))
		d := NewLogDecoder(bytes.NewReader(bytes.Repeat(wire, b.N)))
		var got LogLine
		for range b.N {
			if err := d.Next(&got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

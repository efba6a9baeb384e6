package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superd/superd/rpc"
)

// logBook has logs for a fake superd.
type logBook struct {
	mu    sync.Mutex
	lines map[string][]rpc.LogLine // by the path below /v1/logs/
	asked []string
	final string // ends an answer that follows
}

var logNoon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// put adds a line at so many milliseconds after noon.
func (k *logBook) put(path string, ms int, l rpc.LogLine) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ms >= 0 {
		l.Time = rpc.At(logNoon.Add(time.Duration(ms) * time.Millisecond))
	}
	if l.Worker == "" {
		l.Worker = rpc.Text(path)
	}
	if l.Stream == "" {
		l.Stream = rpc.StreamOut
	}
	l.File = 1
	k.lines[path] = append(k.lines[path], l)
	l.End = int64(len(k.lines[path]))
	k.lines[path][l.End-1] = l
}

func (k *logBook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	path := strings.TrimPrefix(r.URL.Path, "/v1/logs/")
	k.mu.Lock()
	k.asked = append(k.asked, r.URL.RequestURI())
	lines, ok := k.lines[path]
	final := k.final
	k.mu.Unlock()
	if !ok {
		e := rpc.Errorf(rpc.KindNotFound, "cannot show the log of %s: there is none", path)
		if path == "silent" {
			e = rpc.Errorf(rpc.KindConflict, "cannot show the log of silent: its lines are kept nowhere")
		}
		write(w, e.Kind.Status(), rpc.ErrorReply{Error: e})
		return
	}
	since, _ := time.Parse(time.RFC3339Nano, q.Get("since"))
	lines = slices.DeleteFunc(slices.Clone(lines), func(l rpc.LogLine) bool { return l.Time.Before(since) && !l.Time.IsZero() })
	if n, err := strconv.Atoi(q.Get("lines")); err == nil && n < len(lines) {
		lines = lines[len(lines)-n:]
	}
	w.WriteHeader(200)
	for i := range lines {
		_, _ = w.Write(append(lines[i].AppendJSON(nil), '\n'))
	}
	if q.Get("follow") == "" {
		return
	}
	if final != "" {
		l := rpc.LogLine{Missed: final}
		_, _ = w.Write(append(l.AppendJSON(nil), '\n'))
		return
	}
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func newLogBook(t *testing.T) (*fake, *logBook) {
	f := newFake(t)
	k := &logBook{lines: map[string][]rpc.LogLine{}}
	f.logs = k.ServeHTTP
	return f, k
}

func said(text string) rpc.LogLine { return rpc.LogLine{Line: rpc.LogText(text)} }

func (l rpcLine) of(worker string) rpc.LogLine { l.Worker = rpc.Text(worker); return rpc.LogLine(l) }

type rpcLine rpc.LogLine

func TestLogsOfWorkers(t *testing.T) {
	f, k := newLogBook(t)
	k.put("mailers/0", 0, said("one"))
	k.put("mailers/0", 1, said("\x1b[2Jtwo \xff\r"))
	k.put("mailers", 0, rpcLine(said("a")).of("mailers/0"))
	k.put("mailers", 1, rpcLine(said("b")).of("mailers/1"))
	k.put("web", 0, rpcLine(said("c")).of("web/0"))
	k.put("web", 2, rpc.LogLine{Worker: "web/0", Missed: "rotated away"})
	k.lines["mailers/9"] = nil
	for _, test := range []struct{ args, out, err string }{
		{"mailers/0", "one\n\x1b[2Jtwo \xff\r\n", ""},
		{"mailers", "mailers/0 | a\nmailers/1 | b\n", ""},
		{"mailers --no-prefix", "a\nb\n", ""},
		{"mailers --json", `{"time":"2026-11-22T12:00:00Z","worker":"mailers/0","run_id":null,"stream":"stdout","line":"a","file":1,"end":1}` + "\n" +
			`{"time":"2026-11-22T12:00:00.001Z","worker":"mailers/1","run_id":null,"stream":"stdout","line":"b","file":1,"end":2}` + "\n", ""},
		{"web", "c\n", "web/0: rotated away\n"},
		{"mailers web -n 2", "web/0 | c\nmailers/1 | b\n", "web/0: rotated away\n"},
		{"mailers/9", "", "no lines\n"},
		{"mailers/9 --since 10m", "", "no lines that fit\n"},
	} {
		r := f.ctl(append([]string{"logs"}, strings.Fields(test.args)...)...)
		if r.code != 0 || r.out != test.out || r.err != test.err {
			t.Errorf("%s: %d\n%q\n%q\nwant\n%q\n%q", test.args, r.code, r.out, r.err, test.out, test.err)
		}
	}
}

func TestLogsWithTimes(t *testing.T) {
	f, k := newLogBook(t)
	k.put("mailers/0", 5, said("one"))
	k.put("mailers/0", 5, rpc.LogLine{Line: rpc.LogText("oops"), Stream: rpc.StreamErr})
	k.put("mailers/0", -1, said("old"))
	stamp := logNoon.Add(5 * time.Millisecond).Local().Format("2006-01-02T15:04:05.000Z07:00")
	if r := f.ctl("logs", "mailers/0", "--timestamps"); r.out != stamp+" one\n"+stamp+" stderr | oops\n- old\n" {
		t.Errorf("%q", r.out)
	}
	k.put("mailers", 5, rpcLine{Line: rpc.LogText("oops"), Stream: rpc.StreamErr}.of("mailers/1"))
	if r := f.ctl("logs", "mailers", "--timestamps"); r.out != stamp+" mailers/1 stderr | oops\n" {
		t.Errorf("%q", r.out)
	}
}

// TestLogsOfAWorkerThatIsNoMore: one worker's lines have no prefix until those
// of others turn up.
func TestLogsOfAWorkerThatIsNoMore(t *testing.T) {
	f, k := newLogBook(t)
	k.put("web", 0, rpcLine(said("c")).of("web/0"))
	k.put("web", 1, rpcLine(said("d")).of("web/3"))
	k.put("web", 2, rpcLine(said("e")).of("web/0"))
	if r := f.ctl("logs", "web"); r.out != "web/0 | c\nweb/3 | d\nweb/0 | e\n" {
		t.Errorf("%q", r.out)
	}
	if r := f.ctl("logs", "web", "--no-prefix"); r.out != "c\nd\ne\n" {
		t.Errorf("%q", r.out)
	}
}

// TestNamesThatComeLate: what was shown before a second worker's lines came
// cannot be named any more, and no line is lost over that.
func TestNamesThatComeLate(t *testing.T) {
	f, k := newLogBook(t)
	var want strings.Builder
	for i := range maxHeld + 10 {
		k.put("web", i, rpcLine(said("a")).of("web/0"))
		want.WriteString("a\n")
	}
	k.put("web", maxHeld+10, rpcLine(said("b")).of("web/1"))
	k.put("web", maxHeld+11, rpcLine(said("c")).of("web/0"))
	want.WriteString("web/1 | b\nweb/0 | c\n")
	if r := f.ctl("logs", "web", "-n", "all"); r.out != want.String() {
		t.Errorf("%d bytes of %d: %.100q", len(r.out), want.Len(), r.out)
	}
}

// TestLongLinesAreWhole: pieces of one line are put together again, and those of
// two workers kept apart.
func TestLongLinesAreWhole(t *testing.T) {
	f, k := newLogBook(t)
	part := func(text string, more bool, worker string) rpc.LogLine {
		return rpc.LogLine{Line: rpc.LogText(text), Cut: more, Worker: rpc.Text(worker)}
	}
	k.put("mailers/0", 0, part("a", true, "mailers/0"))
	k.put("mailers/0", 0, part("b", false, "mailers/0"))
	k.put("mailers/0", 0, part("c", true, "mailers/0"))
	if r := f.ctl("logs", "mailers/0"); r.out != "ab\nc\n" {
		t.Errorf("%q", r.out)
	}
	k.put("mailers", 0, part("a", true, "mailers/0"))
	k.put("mailers", 0, part("x", false, "mailers/1"))
	k.put("mailers", 0, part("y", true, "mailers/1"))
	k.put("mailers", 0, part("z", false, "mailers/1"))
	if r := f.ctl("logs", "mailers"); r.out != "mailers/0 | a\nmailers/1 | x\nmailers/1 | yz\n" {
		t.Errorf("%q", r.out)
	}
}

// TestLogsAreMergedByTime: many lines of several pools, in order, and the last so
// many of all; a pool whose lines go elsewhere is said and passed over.
func TestLogsAreMergedByTime(t *testing.T) {
	f, k := newLogBook(t)
	var want []string
	for i := range 3000 {
		path, worker := "mailers", "mailers/"+strconv.Itoa(i%2)
		if i%5 == 0 {
			path, worker = "web", "web/0"
		}
		ms := i
		if i%7 == 6 && i%5 != 0 && (i-1)%5 != 0 {
			ms = -1 // stays behind the one before it of its pool
		}
		k.put(path, ms, rpcLine(said(strconv.Itoa(i))).of(worker))
		want = append(want, worker+" | "+strconv.Itoa(i))
	}
	f.mu.Lock()
	f.status.Pools = append(f.status.Pools, rpc.Pool{Name: "silent", Count: 1})
	f.mu.Unlock()
	r := f.ctl("logs", "--all", "-n", "all")
	if got := strings.Split(strings.TrimSpace(r.out), "\n"); r.code != 0 || !slices.Equal(got, want) {
		for i := range got {
			if i >= len(want) || got[i] != want[i] {
				t.Fatalf("code %d, %d lines, line %d: %q", r.code, len(got), i, got[i])
			}
		}
		t.Fatalf("code %d, %d lines", r.code, len(got))
	}
	if !strings.Contains(r.err, "kept nowhere") {
		t.Error(r.err)
	}
	r = f.ctl("logs", "--all", "-n", "7")
	if got := strings.Split(strings.TrimSpace(r.out), "\n"); !slices.Equal(got, want[len(want)-7:]) {
		t.Errorf("%q", got)
	}
	if r := f.ctl("logs", "silent"); r.code != 1 || !strings.Contains(r.err, "kept nowhere") || strings.Contains(r.err, "under way") {
		t.Errorf("%+v", r)
	}
}

// TestARunAmongSeveral: it is one worker's, and all others lack it.
func TestARunAmongSeveral(t *testing.T) {
	f, k := newLogBook(t)
	k.put("web", 1, rpcLine(said("b")).of("web/0"))
	for _, args := range []string{"logs mailers web --run r1", "logs web mailers --run r1 -n 1"} { // there is no log of mailers
		if r := f.ctl(strings.Fields(args)...); r.code != 0 || r.out != "web/0 | b\n" || r.err != "" {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := f.ctl("logs", "mailers/0", "mailers/1", "--run", "r1"); r.code != 5 || strings.Count(r.err, "cannot") != 1 {
		t.Errorf("%+v", r)
	}
	if r := f.ctl("logs", "web", "mailers"); r.code != 5 || !strings.Contains(r.err, "mailers") {
		t.Errorf("without a run: %+v", r)
	}
}

// TestFollowingSeveralLogs: the histories once, then what comes, until Ctrl-C.
func TestFollowingSeveralLogs(t *testing.T) {
	f, k := newLogBook(t)
	k.put("mailers", 0, rpcLine(said("a")).of("mailers/0"))
	k.put("web", 1, rpcLine(said("b")).of("web/0"))
	for _, args := range [][]string{{"logs", "-f", "mailers", "web"}, {"logs", "-f", "mailers"}} {
		ctx, cancel := context.WithCancel(t.Context())
		var out syncBuffer
		done := make(chan result)
		go func() { done <- ctlTo(ctx, &out, []string{"SUPERD_SOCKET=" + f.path}, args...) }()
		eventually(t, "history is there", func() bool { return strings.Contains(out.String(), "mailers/0 | a\n") })
		eventually(t, "it is followed", func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return strings.Contains(k.asked[len(k.asked)-1], "follow")
		})
		cancel()
		r := <-done
		if r.code != 0 || r.err != "" || strings.Count(r.out, "| a\n") != 1 {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestLogsCutOff(t *testing.T) {
	f, k := newLogBook(t)
	k.put("mailers", 123, rpcLine(said("a")).of("mailers/0"))
	k.final = "cut off: too slow"
	r := f.ctl("logs", "-f", "mailers", "--grep", "a|b c", "--no-prefix")
	if r.code != 1 || !strings.Contains(r.err, "too slow") || !strings.Contains(r.err, "superctl logs mailers -f --since 2026-11-22T12:00:00.123Z --grep 'a|b c' --no-prefix goes on") {
		t.Errorf("%+v", r)
	}
}

// TestLogsAsked: what superd is asked for.
func TestLogsAsked(t *testing.T) {
	f, k := newLogBook(t)
	for _, path := range []string{"mailers", "mailers/0", "mailers/1", "job/migrate"} {
		k.lines[path] = nil
	}
	local := time.Date(2026, 1, 2, 3, 4, 0, 0, time.Local).UTC().Format("2006-01-02T15%3A04%3A05Z")
	for args, want := range map[string]string{
		"mailers":                            "/v1/logs/mailers?lines=100",
		"mailers/1 -n 5":                     "/v1/logs/mailers/1?lines=5",
		"mailers/0 mailers/1 -n all":         "/v1/logs/mailers/0?lines=all /v1/logs/mailers/1?lines=all",
		"mailers --run r1":                   "/v1/logs/mailers?run=r1",
		"mailers --grep a.*b -n 3":           "/v1/logs/mailers?grep=a.%2Ab&lines=3",
		"@work --since 2026-01-02T03:04:00Z": "/v1/logs/mailers?since=2026-01-02T03%3A04%3A00Z",
		"mail* --until 2026-01-02T03:04:00":  "/v1/logs/mailers?until=" + local,
		"job/migrate --run r1":               "/v1/logs/job/migrate?run=r1",
	} {
		k.asked = nil
		r := f.ctl(append([]string{"logs"}, strings.Fields(args)...)...)
		slices.Sort(k.asked)
		if got := strings.Join(k.asked, " "); r.code != 0 || got != want {
			t.Errorf("%s: %s, want %s\n%s", args, got, want, r.err)
		}
	}
	for args, code := range map[string]int{
		"": 2, "mailers --all": 2, "mailers --run=": 2, "mailers --since=": 2, "mailers --grep= --until=": 2, "mailers -n many": 2, "mailers -n +5": 2, "mailers -n -1": 2, "mailers --since never": 2, "mailers --until 5": 2,
		"mailers --since 1m --until 2m": 2, "mailers --grep (": 2, "mailers/x": 2, "nosuch": 5, "mailers/7": 5, "job/other": 5, "job/": 5,
	} {
		if r := f.ctl(append([]string{"logs"}, strings.Fields(args)...)...); r.code != code || r.out != "" || !strings.Contains(r.err, "next:") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

func TestBadPatternShowsThePlace(t *testing.T) {
	for pattern, place := range map[string]int{"ab(c": 3, "a)": 2, "a[b": 2, "(a)(b[)]": 4, "a**": 2, `ż\8`: 2, "x{2,1}": 2, `\((`: 3} {
		f := badPattern(pattern, parsePattern(pattern)).(*failure)
		lines := strings.Split(f.text, "\n")
		if f.code != 2 || !strings.Contains(lines[0], fmt.Sprintf("at character %d", place)) || lines[2] != strings.Repeat(" ", 1+place)+"^" {
			t.Errorf("%s: %s", pattern, f.text)
		}
	}
}

// TestTerminalIsNotSteered: colours pass, nothing else does.
func TestTerminalIsNotSteered(t *testing.T) {
	for text, want := range map[string]string{
		"plain\tzażółć":               "plain\tzażółć",
		"\x1b[31;1mred\x1b[m x":       "\x1b[31;1mred\x1b[m x\x1b[0m",
		"\x1b[38:2::1:2:3mx":          "\x1b[38:2::1:2:3mx\x1b[0m",
		"\x1b[2J\x1b]0;title\x07\x1b": "^[[2J^[]0;title^G^[",
		"\x1b[31":                     "^[[31",
		"a\rb\r":                      "a^Mb",
		"\x00\x7f\b":                  "^@^?^H",
		"\u009b2J\x9b":                "\ufffd2J\ufffd",
	} {
		if got := string(appendHarmless(nil, []byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	a := newApp(new(syncBuffer), new(syncBuffer), func(string) string { return "" })
	a.tty = true
	p := newLogPrinter(a, &logsAsk{}, true, func(error) {})
	for _, worker := range []string{"m/0", "m/1", "m/0"} {
		if err := p.print(rpcLine{Line: rpc.LogText("\x1bc"), Stream: rpc.StreamOut}.of(worker)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if got := a.out.(*output).w.(*syncBuffer).String(); got != "\x1b[36mm/0 |\x1b[0m ^[c\n\x1b[33mm/1 |\x1b[0m ^[c\n\x1b[36mm/0 |\x1b[0m ^[c\n" {
		t.Errorf("%q", got)
	}
}

// full takes nothing.
type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestLogsThatCannotBeWritten: following ends when its output does, also while
// nothing more comes.
func TestLogsThatCannotBeWritten(t *testing.T) {
	f, k := newLogBook(t)
	k.put("mailers", 0, rpcLine(said("a")).of("mailers/0"))
	var errs syncBuffer
	a := newApp(full{}, &errs, func(name string) string { return map[string]string{"SUPERD_SOCKET": f.path}[name] })
	if code := a.run(t.Context(), []string{"logs", "-f", "mailers"}); code != 1 || !strings.Contains(errs.String(), "no space") {
		t.Errorf("%d %s", code, errs.String())
	}
}

// TestAnswersThatCannotBeWritten: whoever asks into a file on a full disk is told.
func TestAnswersThatCannotBeWritten(t *testing.T) {
	f, _ := newLogBook(t)
	for args, want := range map[string]int{
		"status": 1, "status --json": 1, "presets": 1, "version": 1, "--help": 1, "completion bash": 1,
		"check web": 3, // 1 would be a warning about the pool
	} {
		var errs syncBuffer
		a := newApp(full{}, &errs, func(name string) string { return map[string]string{"SUPERD_SOCKET": f.path}[name] })
		if code := a.run(t.Context(), strings.Fields(args)); code != want || want == 1 && !strings.Contains(errs.String(), "no space") {
			t.Errorf("%s: %d %s", args, code, errs.String())
		}
	}
}

// TestLogLinesInJSONAreTheAPIs: what cannot be text is there as bytes.
func TestLogLinesInJSONAreTheAPIs(t *testing.T) {
	f, k := newLogBook(t)
	k.put("mailers/0", 0, said("\xff"))
	var l rpc.LogLine
	r := f.ctl("logs", "mailers/0", "--json")
	if err := json.Unmarshal([]byte(r.out), &l); err != nil || string(l.Text()) != "\xff" || string(l.Line) != "\ufffd" {
		t.Errorf("%v %s", err, r.out)
	}
}

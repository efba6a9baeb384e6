package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

// maxLogs is how many logs are read side by side: each takes one of the
// connections that superd has for a user.
const maxLogs = 60

const logsHelp = `Show what workers wrote, oldest first: the last 100 lines, or all that fit if
--since, --until, --run or --grep is given. POOL is a pool, a worker (mailers/0),
a pattern ('mail*'), a group (@web), or --all. Lines of several workers are merged
by time, each after the worker's name; those of one worker alone come as they are.

With -f go on with what is written until Ctrl-C. A superd that is started again
meanwhile is waited for, and no line is lost or shown twice by that.

Times are those of superd's index, exact to 100 ms. With --timestamps a line of a
stderr that is kept apart says so. On a terminal, control characters are shown as
^[ and the like, colours aside; anywhere else every byte is passed on.`

const logsExample = `  superctl logs mailers
  superctl logs mailers/0 -n 1000
  superctl logs -f @web
  superctl logs --since 10m --grep 'Timeout|refused' --all
  superctl logs mailers --run 01k812jlqi74kii4p4q1
  superctl logs mailers --since '2026-11-22 06:00' --until '2026-11-22 06:10' --timestamps`

// logsAsk is what the user of logs wants.
type logsAsk struct {
	names        []string
	all          bool
	follow       bool
	lines        string // "", a number or "all"
	since, until string
	run, grep    string
	timestamps   bool
	noPrefix     bool
}

func (a *app) logsCommand() *cobra.Command {
	var ask logsAsk
	cmd := &cobra.Command{
		Use:               "logs POOL...",
		GroupID:           groupLook,
		Short:             "Show what workers wrote",
		Long:              logsHelp,
		Example:           logsExample,
		ValidArgsFunction: a.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.names = args
			if err := noEmptyOption(cmd, "show logs"); err != nil {
				return err
			}
			return a.logs(cmd.Context(), &ask)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&ask.all, "all", false, "every pool")
	f.BoolVarP(&ask.follow, "follow", "f", false, "go on with what is written")
	f.StringVarP(&ask.lines, "lines", "n", "", "the last `N` lines of those that fit, or all (100, or all with --since, --until, --run or --grep)")
	f.StringVar(&ask.since, "since", "", "how long ago to begin (10m), or `WHEN` (2026-01-31T12:00:00Z, or '2026-01-31 12:00' here)")
	f.StringVar(&ask.until, "until", "", "how long ago to end, or `WHEN`")
	f.BoolVar(&ask.timestamps, "timestamps", false, "put the time before each line")
	f.StringVar(&ask.run, "run", "", "the output of one run alone, by its `ID`")
	f.StringVar(&ask.grep, "grep", "", "lines alone that match the regular expression `RE` (RE2)")
	f.BoolVar(&ask.noPrefix, "no-prefix", false, "do not put the worker's name before lines of several workers")
	return cmd
}

// logs shows what ask wants.
func (a *app) logs(ctx context.Context, ask *logsAsk) error {
	query, err := ask.query(time.Now())
	if err != nil {
		return err
	}
	if err := needPools("show logs", "superctl logs", ask.names, ask.all); err != nil {
		return err
	}
	sources, several, err := a.logSources(ctx, ask, query)
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		a.note("no pools")
		return nil
	}
	if ask.follow {
		var cancel context.CancelFunc
		ctx, cancel = a.deadline(ctx)
		defer cancel()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := newLogPrinter(a, ask, several, stop)
	if len(sources) == 1 {
		err = a.connect().Logs(ctx, sources[0].query, out.print)
	} else {
		err = a.mergeLogs(ctx, sources, ask.follow, out)
	}
	if broken := out.close(); broken != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = a.unwritten()
	}
	if ask.follow {
		err = endOfWatch(err)
	}
	if err != nil {
		return ask.explain(err, out.newest)
	}
	if out.count == 0 && !ask.follow {
		a.note("no lines%s", ask.restricted())
	}
	return nil
}

// noEmptyOption refuses an option that was given without a value, as an unset
// variable of a script does: left out silently it would show everything. wanted is
// what the command is to do.
func noEmptyOption(cmd *cobra.Command, wanted string) error {
	var empty []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			empty = append(empty, "--"+f.Name)
		}
	})
	if len(empty) == 0 {
		return nil
	}
	return usage(cmd.CommandPath()+" --help", "cannot %s: %s is empty; give it a value, or leave it out", wanted, strings.Join(empty, ", "))
}

// restricted says what kept lines from fitting.
func (ask *logsAsk) restricted() string {
	if ask.since+ask.until+ask.run+ask.grep != "" {
		return " that fit"
	}
	return ""
}

// query is what to ask superd for, but for the pool. What makes no sense is a
// mistake of the user's, told before superd is asked.
func (ask *logsAsk) query(now time.Time) (q rpc.LogQuery, err error) {
	q = rpc.LogQuery{Lines: ask.lines, Run: ask.run, Grep: ask.grep, Follow: ask.follow}
	if n, err := strconv.Atoi(ask.lines); ask.lines != "" && ask.lines != "all" && (err != nil || n < 0 || ask.lines[0] == '+') {
		return q, usage("superctl logs POOL -n 100", "cannot show logs: -n %q is neither a number nor all", ask.lines)
	}
	if q.Since, err = pastTime("superctl logs POOL", "show logs", "--since", ask.since, now); err != nil {
		return q, err
	}
	if q.Until, err = pastTime("superctl logs POOL", "show logs", "--until", ask.until, now); err != nil {
		return q, err
	}
	if !q.Until.IsZero() && q.Until.Before(q.Since) {
		return q, usage("superctl logs POOL --since 2h --until 1h", "cannot show logs: --until is before --since, so nothing can fit")
	}
	if err := parsePattern(ask.grep); err != nil {
		return q, badPattern(ask.grep, err)
	}
	if ask.lines == "" && ask.restricted() == "" {
		q.Lines = strconv.Itoa(rpc.DefaultLogLines)
	}
	return q, nil
}

// logTimes are the forms of a time; those without a zone are local.
var logTimes = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// pastTime reads an instant, or how long ago it was, as a flag of a command that is
// to do what is wanted.
func pastTime(command, wanted, flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range logTimes {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	d, err := signals.ParseDuration(text)
	if err != nil {
		return time.Time{}, usage(command+" "+flag+" 10m", "cannot %s: %s %q is neither a duration such as 10m nor a time such as 2026-01-31T12:00:00Z or \"2026-01-31 12:00\"", wanted, flag, text)
	}
	return now.Add(-d), nil
}

// logSource is one log, or those of one pool.
type logSource struct {
	name  string
	query rpc.LogQuery
}

// logSources turns what the user named into questions to superd, and tells
// whether they are about more than one worker.
func (a *app) logSources(ctx context.Context, ask *logsAsk, query rpc.LogQuery) (sources []logSource, several bool, err error) {
	var pools []string
	for _, name := range ask.names {
		if strings.HasPrefix(name, "job/") {
			query.Pool, query.Position = name, &rpc.LogPosition{}
			sources = append(sources, logSource{name, query})
		} else {
			pools = append(pools, name)
		}
	}
	var targets []target
	if len(pools) > 0 || ask.all {
		st, _, err := a.status(ctx)
		if err != nil {
			wanted := "show logs"
			if !ask.all {
				wanted = "show the logs of " + strings.Join(pools, " ")
			}
			return nil, false, reworded(err, wanted)
		}
		if targets, err = a.choose(ctx, st, pools, ask.all); err != nil {
			return nil, false, err
		}
	}
	for _, t := range targets {
		query.Pool = t.pool.Name
		if t.workers == nil {
			several = several || max(t.pool.Count, len(t.pool.Workers)) > 1
			query.Position = &rpc.LogPosition{}
			sources = append(sources, logSource{t.pool.Name, query})
		}
		for _, index := range t.workers {
			one := query
			one.Index, one.Position = &index, &rpc.LogPosition{}
			sources = append(sources, logSource{t.pool.Name + "/" + strconv.Itoa(index), one})
		}
	}
	if len(sources) > maxLogs {
		return nil, false, usage("name fewer of them", "cannot read %d logs at once: at most %d", len(sources), maxLogs)
	}
	return sources, several || len(sources) > 1, nil
}

// explain says what to do about an end that came too early.
func (ask *logsAsk) explain(err error, newest time.Time) error {
	var off *rpc.LogCutOff
	var e *rpc.Error
	switch {
	case errors.As(err, &off):
		f := &failure{code: rpc.ExitFailed, text: clean(off.Reason)}
		if !newest.IsZero() {
			f.next = []string{ask.command(newest) + " goes on from here (the last lines may come once more)"}
		}
		return f
	case errors.As(err, &e) && e.Kind == rpc.KindConflict:
		return &failure{code: rpc.ExitFailed, text: e.Message}
	}
	return err
}

// command is the call that goes on from a time.
func (ask *logsAsk) command(since time.Time) string {
	words := append([]string{"superctl", "logs"}, ask.names...)
	add := func(given bool, flag ...string) {
		if given {
			words = append(words, flag...)
		}
	}
	add(ask.all, "--all")
	add(ask.follow, "-f")
	add(true, "--since", since.UTC().Format(time.RFC3339Nano))
	add(ask.until != "", "--until", ask.until)
	add(ask.run != "", "--run", ask.run)
	add(ask.grep != "", "--grep", ask.grep)
	add(ask.timestamps, "--timestamps")
	add(ask.noPrefix, "--no-prefix")
	for i, w := range words {
		words[i] = shellWord(w)
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellWord quotes a word for the shell where that needs it.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// parsePattern is regexp.Compile for its error alone.
func parsePattern(pattern string) error {
	_, err := regexp.Compile(pattern)
	return err
}

// badPattern shows what is wrong with a regular expression, and where.
func badPattern(pattern string, err error) error {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return usage("--grep 'timeout|refused'", "cannot search for %q: %v", pattern, err)
	}
	at := max(0, strings.Index(pattern, e.Expr))
	if e.Code == syntax.ErrMissingParen || e.Code == syntax.ErrUnexpectedParen {
		at = loneParen(pattern)
	}
	f := usage(`a \ before a character takes its meaning away: \( \[ \. \*`, "cannot search: %s in --grep", e.Code)
	f.text += fmt.Sprintf(" at character %d\n  %s\n  %s^", len([]rune(pattern[:at]))+1, clean(pattern), strings.Repeat(" ", len([]rune(pattern[:at]))))
	return f
}

// loneParen is where a parenthesis stands that has no other.
func loneParen(pattern string) int {
	var open []int
	class := false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '(':
			open = append(open, i)
		case c == ')' && len(open) == 0:
			return i
		case c == ')':
			open = open[:len(open)-1]
		}
	}
	if len(open) == 0 {
		return 0
	}
	return open[len(open)-1]
}

package supervisor

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/superd/superd/supervisor/core"
)

// simMayDiffer are the only differences allowed between a superd that lived through
// a step and one that died in it and recovered at the same instant. Every other
// field of what the core knows must be equal, those that are added later included.
var simMayDiffer = map[string]struct {
	equal func(c *simCompare, a, b any) bool // tells whether it may, of the structs that have the field
	why   string
}{
	"Deployment.Steps":    {endedNow, "where much is late at once, a worker may be started again just before its deployment ends, or just after"},
	"Run.RequestedAt":     {askedAgain, "a spawn that superd had in hand is asked for again, and the time that it may take begins anew"},
	"Deployment.Progress": {endedNow, "when it last went on counts for nothing any more"},
	"Deployment.Error":    {endedNow, "where much is late at once, another of several reasons is found first"},
	"Run.Deployment":      {overNow, "a run that is started just before its deployment ends belongs to it, one that is started just after does not"},
	"Stop.Reason":         {begunNow, "of a decision that was cut apart, the rest is done for what is wanted, and says so"},
	"Worker.Operation":    {notLast, "nobody waits for a deployment that superd began by itself, nor joins a command that was not the pool's last"},
	"Worker.LastExit":     {neverBegun, "where much is late at once, a start may come before the deployment that takes it back at the same instant, or not at all"},
	"Worker.NextStart":    {byChance, "jitter is drawn anew"},
	"Worker.Step":         {stepCounts, "a step of a deployment that has ended counts only as long as the worker is down for it"},
}

// askedAgain tells a run that had no process yet when superd died.
func askedAgain(c *simCompare, _, b any) bool {
	r := b.(*core.Run)
	return r.PID == 0 && r.RequestedAt.Boot == c.now.Boot
}

// byChance tells two restarts whose waits differ by no more than jitter allows.
func byChance(c *simCompare, a, b any) bool {
	v, w, r := a.(*core.Worker).NextStart, b.(*core.Worker).NextStart, c.pool.Config.Restart
	if v.IsZero() || w.IsZero() {
		return false
	}
	return v.After(w).Abs() <= time.Duration(2*r.Jitter*float64(r.MaxDelay))
}

// notLast tells workers that do not belong to the last command of their pool, or
// that belong to a deployment that began in this step.
func notLast(c *simCompare, a, b any) bool {
	last, d := c.pool.Operation.ID, c.pool.Deployment
	if d == nil && len(c.pool.Past) > 0 {
		d = c.pool.Past[0] // it may have ended at once
	}
	if last == "" || d != nil && d.StartedAt == c.now && d.ID != last && a.(*core.Worker).Operation == d.ID {
		return true
	}
	other := last
	if c.to[last] != "" {
		other = c.to[last]
	}
	return a.(*core.Worker).Operation != last && b.(*core.Worker).Operation != other
}

// begunNow tells a stop sequence that began in this step, or is still to begin.
func begunNow(c *simCompare, a, b any) bool {
	now := func(st *core.Stop) bool { return st.Step < 0 || st.Began == c.now }
	return now(a.(*core.Stop)) && now(b.(*core.Stop))
}

// overNow tells two runs that are asked for now, of which none is a running deployment's.
func overNow(c *simCompare, a, b any) bool {
	r, q, d := a.(*core.Run), b.(*core.Run), c.pool.Deployment
	return r.RequestedAt == c.now && q.RequestedAt == c.now && (d == nil || r.Deployment != d.ID && q.Deployment != d.ID)
}

// endedNow tells a deployment that came to its end in this step.
func endedNow(c *simCompare, a, b any) bool {
	return a.(*core.Deployment).EndedAt == c.now && b.(*core.Deployment).EndedAt == c.now
}

// neverBegun tells workers of which one was to be started and was not, at this instant.
func neverBegun(c *simCompare, a, b any) bool {
	taken := func(w *core.Worker) bool {
		return w.LastExit != nil && w.LastExit.PID == 0 && w.LastExit.Success && w.LastExit.At.Equal(c.now.Wall)
	}
	v, w := a.(*core.Worker), b.(*core.Worker)
	return v.State == core.Starting && (taken(v) || taken(w))
}

// stepCounts compares the steps of two workers, neither of which is one of the
// deployment that runs.
func stepCounts(c *simCompare, a, b any) bool {
	v, w := a.(*core.Worker), b.(*core.Worker)
	current := func(w *core.Worker) bool {
		return c.pool.Deployment != nil && w.Step != nil && w.Step.Deployment == c.pool.Deployment.ID
	}
	down := func(w *core.Worker) bool {
		st := w.Step
		return st != nil && st.TookDown && !st.Done && st.Relapses == 0 && w.State != core.Completed && !(w.State == core.Running && w.Run.Healthy)
	}
	return !current(v) && !current(w) && down(v) == down(w)
}

// simCompare compares two states that are to do the same from now on.
type simCompare struct {
	strict   bool              // nothing may differ
	to, from map[string]string // IDs made up by chance: those of the one by those of the other
	pool     *core.Pool        // the one that is compared
	now      core.Time
}

var simID = regexp.MustCompile(`\b[0-9a-v]{20}\b`)

// states tells the first difference of two states; empty: there is none.
func (c *simCompare) states(a, b *core.State) string {
	if d := c.diff(reflect.ValueOf(a.Leaving), reflect.ValueOf(b.Leaving)); d != "" {
		return "Leaving" + d
	}
	if len(a.Pools) != len(b.Pools) {
		return fmt.Sprintf(": %d pools and %d", len(a.Pools), len(b.Pools))
	}
	for _, name := range simNames {
		p, q := a.Pools[name], b.Pools[name]
		if p == nil && q == nil {
			continue
		}
		if p == nil || q == nil {
			return ": only one has the pool " + name
		}
		c.pool = p
		if d := c.diff(reflect.ValueOf(p), reflect.ValueOf(q)); d != "" {
			return name + d
		}
	}
	return ""
}

// value tells the first difference of two values of the same type.
func (c *simCompare) value(a, b any) string { return c.diff(reflect.ValueOf(a), reflect.ValueOf(b)) }

func (c *simCompare) diff(a, b reflect.Value) string {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return c.unlike(a, b)
			}
			return ""
		}
		if a.Pointer() == b.Pointer() {
			return ""
		}
		return c.diff(a.Elem(), b.Elem())
	case reflect.Struct:
		return c.diffStruct(a, b)
	case reflect.Slice:
		if a.Len() != b.Len() {
			return c.unlike(a, b)
		}
		for i := range a.Len() {
			if d := c.diff(a.Index(i), b.Index(i)); d != "" {
				return fmt.Sprintf("[%d]%s", i, d)
			}
		}
		return ""
	case reflect.String:
		if !c.text(a.String(), b.String()) {
			return c.unlike(a, b)
		}
		return ""
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if a.Int() != b.Int() {
			return c.unlike(a, b)
		}
		return ""
	case reflect.Bool:
		if a.Bool() != b.Bool() {
			return c.unlike(a, b)
		}
		return ""
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) {
		return c.unlike(a, b)
	}
	return ""
}

func (c *simCompare) unlike(a, b reflect.Value) string {
	return fmt.Sprintf(": %+v\nand %+v", a, b)
}

// text compares words in which IDs may stand, each of which has one counterpart.
func (c *simCompare) text(a, b string) bool {
	if a == b {
		return len(a) != 20 || len(c.to) == 0 || c.to[a] == "" && c.from[a] == ""
	}
	if c.strict {
		return false
	}
	if len(a) != 20 || len(b) != 20 {
		return simID.ReplaceAllString(a, "ID") == simID.ReplaceAllString(b, "ID")
	}
	if c.to == nil {
		c.to, c.from = map[string]string{}, map[string]string{}
	}
	if c.to[a] == "" && c.from[b] == "" {
		c.to[a], c.from[b] = b, a
	}
	return c.to[a] == b
}

// simField is a field of a struct, and how it is compared.
type simField struct {
	index int
	name  string
	equal func(c *simCompare, a, b any) bool
}

var (
	simFields = map[reflect.Type][]simField{}
	timeType  = reflect.TypeFor[time.Time]()
)

// fieldsOf are the exported fields of a struct: the others are derived from them.
func fieldsOf(t reflect.Type) []simField {
	var fields []simField
	for i := range t.NumField() {
		f := t.Field(i)
		if f.IsExported() {
			fields = append(fields, simField{i, f.Name, simMayDiffer[t.Name()+"."+f.Name].equal})
		}
	}
	return fields
}

func init() {
	for _, t := range []reflect.Type{reflect.TypeFor[core.Pool](), reflect.TypeFor[core.Worker](), reflect.TypeFor[core.Run](), reflect.TypeFor[core.Stop](),
		reflect.TypeFor[core.Step](), reflect.TypeFor[core.Exit](), reflect.TypeFor[core.Deployment](), reflect.TypeFor[core.Time](), reflect.TypeFor[core.Revision](),
		reflect.TypeFor[core.Operation](), reflect.TypeFor[core.DeployStep](), reflect.TypeFor[core.Leave]()} {
		simFields[t] = fieldsOf(t)
	}
}

func (c *simCompare) diffStruct(a, b reflect.Value) string {
	t := a.Type()
	if t == timeType && a.CanAddr() && b.CanAddr() { // without a copy of each
		if !a.Addr().Interface().(*time.Time).Equal(*b.Addr().Interface().(*time.Time)) {
			return c.unlike(a, b)
		}
		return ""
	}
	fields, known := simFields[t]
	if !known {
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			return c.unlike(a, b)
		}
		return ""
	}
	for _, f := range fields {
		if f.equal != nil && !c.strict && f.equal(c, a.Addr().Interface(), b.Addr().Interface()) {
			continue
		}
		if d := c.diff(a.Field(f.index), b.Field(f.index)); d != "" {
			return "." + f.name + d
		}
	}
	return ""
}

// TestSimulationNamesWhatExists holds that whatever may differ is there to differ.
func TestSimulationNamesWhatExists(t *testing.T) {
	var there []string
	for typ, fields := range simFields {
		for _, f := range fields {
			there = append(there, typ.Name()+"."+f.name)
		}
	}
	for name, rule := range simMayDiffer {
		if !slices.Contains(there, name) || rule.why == "" {
			t.Errorf("%s may differ, and is not there or has no reason", name)
		}
	}
}

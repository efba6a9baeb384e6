package proc

import (
	"reflect"
	"testing"
	"time"
)

func TestVictims(t *testing.T) {
	got := map[int]time.Duration{}
	for _, record := range []string{
		"3,640,15994334950,-;Memory cgroup out of memory: Killed process 4364 (perl) total-vm:105540kB, anon-rss:19328kB\n SUBSYSTEM=x\n",
		"3,641,15994335000,-;Out of memory: Killed process 17 (a b) total-vm:1kB",
		"11,642,15994335000,-;Out of memory: Killed process 18 (forged by a daemon's message)",
		"6,639,15994334916,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=perl,pid=4365,uid=0",
		"nonsense",
	} {
		enterVictim(got, []byte(record))
	}
	want := map[int]time.Duration{4364: 15994334950 * time.Microsecond, 17: 15994335 * time.Millisecond}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("victims: %v", got)
	}
	looks := 0
	o := OOM{kills: 2, victims: got, Count: func() uint64 { looks++; return 2 }}
	heard := time.Now()
	if !o.Killed(17, 100, heard) || o.Killed(17, 100_000_000, heard) || o.Killed(16, 100, heard) {
		t.Error("the process is not told from another one of its pid")
	}
	if looks != 1 {
		t.Errorf("%d looks at what was heard of at once", looks)
	}
	if o.Killed(17, 100, time.Now()); looks != 2 {
		t.Error("the end of a process was explained by a look before it")
	}
}

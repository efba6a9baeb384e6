package core

import (
	"testing"
	"time"
)

// TestHealthBeforeDeadlines holds that a run that has become healthy in time is not
// judged by a deadline that passed later, when nobody was there to see either.
func TestHealthBeforeDeadlines(t *testing.T) {
	for name, away := range map[string]func(w *world){
		"superd was dead": func(w *world) {
			w.crash()
			w.moveTo(w.now.Boot + time.Hour)
			w.start()
		},
		"the machine slept": func(w *world) {
			w.moveTo(w.now.Boot + time.Hour)
			w.step(Tick{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(Spec{Config: basePool("a"), Release: "/"})
			w.start()
			w.pass(w.now.Boot + time.Second)
			away(w)
			if p := w.core.Pools["a"]; p.Deployment != nil || len(p.Past) != 1 || p.Past[0].State != DeploySucceeded {
				t.Errorf("a run that was up for an hour: %+v, %+v", p.Deployment, p.Past)
			}
		})
	}
}

package store

import (
	"errors"
	"fmt"
	"testing"
)

// TestEach gives what Get gives, of a table that takes several reads: what was put,
// put again, cleared, damaged and never written.
func TestEach(t *testing.T) {
	d := openDir(t, t.TempDir())
	const slots, size = 700, 600
	table := openTable(t, d, slots, size)
	if int64(tableLength(slots, size)) < 3*scanned {
		t.Fatal("the table is read in one piece")
	}
	for slot := range slots {
		switch slot % 5 {
		case 0: // stays empty
		default:
			put(t, table, slot, fmt.Sprint("first ", slot))
		}
		switch slot % 5 {
		case 2:
			put(t, table, slot, fmt.Sprint("second ", slot))
		case 3:
			if err := table.Clear(slot); err != nil {
				t.Fatal(err)
			}
		case 4:
			put(t, table, slot, "second")
			for _, at := range []int64{0, copyHeader + size} { // both of its copies
				if _, err := table.file.WriteAt([]byte("nonsense"), table.offset(slot)+at+copyHeader); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	check := func(table *Table) {
		t.Helper()
		seen := map[int]string{}
		damaged := map[int]bool{}
		err := table.Each(func(slot int, data []byte, err error) {
			if errors.Is(err, ErrDamaged) {
				damaged[slot] = true
			} else if err != nil {
				t.Error(err)
			} else {
				seen[slot] = string(data)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for slot := range slots {
			data, ok, err := table.Get(slot)
			got, given := seen[slot]
			if given != ok || got != string(data) || damaged[slot] != errors.Is(err, ErrDamaged) {
				t.Fatalf("slot %d: Get says %q, %v, %v; Each %q, %v, damaged: %v", slot, data, ok, err, got, given, damaged[slot])
			}
		}
		if len(seen) != 2*slots/5 || len(damaged) != slots/5 {
			t.Fatalf("%d slots hold something, %d are damaged", len(seen), len(damaged))
		}
	}
	check(table)
	again := openTable(t, d, 0, 0)
	check(again)
	again.Close()
	if err := again.Each(func(int, []byte, error) { t.Error("a slot of a closed table") }); !errors.Is(err, ErrClosed) {
		t.Fatalf("of a closed table: %v", err)
	}
}

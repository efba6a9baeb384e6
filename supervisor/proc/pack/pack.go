// Package pack writes and reads the flat binary form in which the keeper's
// packets and the specs of processes travel: numbers as varints, strings and
// lists with their length before them.
//
// Reading never panics and takes at most a small multiple of the input in memory: the
// first thing that makes no sense is remembered, and all that is read after it
// is zero. Whoever reads asks Err or End once, when it is done.
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Writer appends to Buf. The zero value is ready; Buf may be reused.
type Writer struct{ Buf []byte }

// Byte appends one byte.
func (w *Writer) Byte(b byte) { w.Buf = append(w.Buf, b) }

// Bool appends one byte, 0 or 1.
func (w *Writer) Bool(b bool) {
	if b {
		w.Byte(1)
	} else {
		w.Byte(0)
	}
}

// Uint appends a number that is not negative.
func (w *Writer) Uint(u uint64) { w.Buf = binary.AppendUvarint(w.Buf, u) }

// Int appends a number that may be negative.
func (w *Writer) Int(i int64) { w.Buf = binary.AppendVarint(w.Buf, i) }

// String appends a string of any bytes.
func (w *Writer) String(s string) {
	w.Uint(uint64(len(s)))
	w.Buf = append(w.Buf, s...)
}

// Strings appends a list of strings.
func (w *Writer) Strings(list []string) {
	w.Uint(uint64(len(list)))
	for _, s := range list {
		w.String(s)
	}
}

// Reader takes apart what a Writer has put together.
type Reader struct {
	rest string
	err  error
}

// NewReader reads from data. The strings that it gives are parts of data: one
// allocation holds them all.
func NewReader(data string) *Reader { return &Reader{rest: data} }

var (
	errShort = errors.New("it ends in the middle of a field")
	errLong  = errors.New("a number in it is too large")
)

// Fail remembers err, if it is the first.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = ""
}

// Err is the first thing that was wrong.
func (r *Reader) Err() error { return r.err }

// End is Err, or an error when something is left over.
func (r *Reader) End() error {
	if r.err == nil && r.rest != "" {
		return fmt.Errorf("%d bytes are left over at its end", len(r.rest))
	}
	return r.err
}

// Left is how many bytes are left to read.
func (r *Reader) Left() int { return len(r.rest) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.rest == "" {
		r.Fail(errShort)
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// Bool reads what Writer.Bool wrote; any other byte than 0 and 1 is an error.
func (r *Reader) Bool() bool {
	b := r.Byte()
	if b > 1 {
		r.Fail(fmt.Errorf("a yes or no in it is %d", b))
	}
	return b == 1
}

// Uint reads what Writer.Uint wrote.
func (r *Reader) Uint() uint64 {
	var u uint64
	for shift := 0; ; shift += 7 {
		b := r.Byte()
		if r.err != nil {
			return 0
		}
		if shift == 63 && b > 1 {
			r.Fail(errLong)
			return 0
		}
		u |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return u
		}
	}
}

// Int reads what Writer.Int wrote.
func (r *Reader) Int() int64 {
	u := r.Uint()
	i := int64(u >> 1)
	if u&1 != 0 {
		i = ^i
	}
	return i
}

// Uint32 reads a number that must fit 32 bits.
func (r *Reader) Uint32() uint32 {
	u := r.Uint()
	if u > 1<<32-1 {
		r.Fail(errLong)
		return 0
	}
	return uint32(u)
}

// Int32 reads a number that must fit 31 bits and a sign.
func (r *Reader) Int32() int {
	i := r.Int()
	if i != int64(int32(i)) {
		r.Fail(errLong)
		return 0
	}
	return int(i)
}

// String reads what Writer.String wrote.
func (r *Reader) String() string {
	n := r.Uint()
	if n > uint64(len(r.rest)) {
		r.Fail(errShort)
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// Count reads the length of a list whose elements take at least a byte each.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > uint64(len(r.rest)) {
		r.Fail(errShort)
		return 0
	}
	return int(n)
}

// Strings reads what Writer.Strings wrote; an empty list is nil.
func (r *Reader) Strings() []string {
	n := r.Count()
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, r.String())
		if r.err != nil {
			return nil
		}
	}
	return list
}

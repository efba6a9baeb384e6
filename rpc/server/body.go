package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
)

// The bounds of a request's body. None of what is asked nests deeper.
const (
	maxBody  = 64 << 10
	maxDepth = 8
)

// awaitBody bounds the time in which the body must have arrived.
func (c *call) awaitBody(patience time.Duration) {
	if c.r.Body != nil && c.r.Body != http.NoBody {
		_ = c.rc.SetReadDeadline(time.Now().Add(patience))
	}
}

// dropBody takes in the body of a request that is refused whatever it says. Left
// to net/http, that would wait for it before it sends the answer, for ever.
func (c *call) dropBody() {
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(c.r.Body, maxBody+1)); err != nil || n > maxBody {
		c.w.Header().Set("Connection", "close")
	}
}

// readBody takes the whole body in, within a size and the time of awaitBody,
// before anything is done: a slow peer holds up nothing but its own connection.
func (c *call) readBody(patience time.Duration) error {
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return rpc.Errorf(rpc.KindTooLarge, "cannot %s: the request's body is larger than %d bytes", c.verb(), maxBody)
	case err != nil:
		c.w.Header().Set("Connection", "close")
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: the request's body did not arrive whole within %s", c.verb(), patience)
	}
	_ = c.rc.SetReadDeadline(time.Time{})
	c.body = body
	return nil
}

// decode reads the body into v, a pointer to a struct. Nothing is guessed: a
// name that v has not, a name given twice, or more than one value is an error.
// An empty body is an empty object.
func (c *call) decode(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	names := fieldNames(v)
	if err := checkJSON(c.body, names); err != nil {
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: the request's body: %s", c.verb(), err)
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return rpc.Errorf(rpc.KindInvalid, "cannot %s: the request's body: %q is a %s, it takes a %s", c.verb(), wrong.Field, wrong.Value, typeWord(wrong.Type))
		}
		return rpc.Errorf(rpc.KindInvalid, "cannot %s: the request's body: %s", c.verb(), err)
	}
	return nil
}

// fieldNames are the JSON names of a struct's fields, v being a pointer to it.
func fieldNames(v any) []string {
	t := reflect.TypeOf(v).Elem()
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Slice:
		return "list"
	}
	return t.Kind().String()
}

// checkJSON walks one object and refuses what json.Unmarshal would pass over.
func checkJSON(body []byte, names []string) error {
	d := json.NewDecoder(bytes.NewReader(body))
	depth := 0
	seen := map[string]bool{}
	key := false // the next token of the outermost object is a name
	for {
		tok, err := d.Token()
		if err != nil {
			return syntax(err)
		}
		if depth == 0 && tok != json.Delim('{') {
			return errors.New("it is not a JSON object")
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return fmt.Errorf("it nests deeper than %d", maxDepth)
			}
			key = depth == 1
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			if depth == 0 {
				if _, err := d.Token(); !errors.Is(err, io.EOF) {
					return errors.New("something follows after the object")
				}
				return nil
			}
			key = depth == 1
			continue
		}
		if depth != 1 {
			continue
		}
		if !key {
			key = true
			continue
		}
		key = false
		if err := checkName(tok.(string), names, seen); err != nil {
			return err
		}
	}
}

func checkName(name string, names []string, seen map[string]bool) error {
	known := false
	for _, n := range names {
		known = known || n == name
	}
	switch {
	case !known:
		return unknownField(name, names)
	case seen[name]:
		return fmt.Errorf("%q is given twice", name)
	}
	seen[name] = true
	return nil
}

func unknownField(name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("unknown field %q; it takes none", clip(name))
	}
	if near := signals.Nearest(name, names); near != "" {
		return fmt.Errorf("unknown field %q; did you mean %q?", clip(name), near)
	}
	return fmt.Errorf("unknown field %q; it takes %s", clip(name), strings.Join(names, ", "))
}

func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

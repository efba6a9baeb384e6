package server

import (
	"reflect"
	"strings"

	"github.com/superd/superd/rpc"
)

// openAPI describes the routes in the form of the OpenAPI Specification 3.1
// (https://spec.openapis.org/oas/v3.1.0). It is made from the route table and
// the wire's types, so that it cannot say anything else than they do.
func openAPI(version string) map[string]any {
	schemas := schemaSet{}
	paths := map[string]any{}
	for i := range routes {
		r := &routes[i]
		item, _ := paths[r.path].(map[string]any)
		if item == nil {
			item = map[string]any{}
			paths[r.path] = item
		}
		item[strings.ToLower(r.method)] = operation(r, schemas)
	}
	return map[string]any{
		"openapi":    "3.1.0",
		"info":       map[string]any{"title": "superd", "version": version, "license": map[string]any{"name": "Apache-2.0", "identifier": "Apache-2.0"}},
		"paths":      paths,
		"components": map[string]any{"schemas": schemas},
	}
}

func operation(r *route, schemas schemaSet) map[string]any {
	op := map[string]any{
		"summary":     r.doc,
		"operationId": operationID(r),
		"x-role":      r.need.String(),
		"parameters":  parameters(r),
		"responses": map[string]any{
			"200":     map[string]any{"description": r.doc, "content": content(r, schemas)},
			"default": map[string]any{"description": "what went wrong", "content": jsonContent(schemas.of(reflect.TypeFor[rpc.ErrorReply]()))},
		},
	}
	if r.body != nil {
		op["requestBody"] = map[string]any{"content": jsonContent(schemas.of(reflect.TypeOf(r.body)))}
	}
	return op
}

func operationID(r *route) string {
	id := strings.ToLower(r.method)
	for part := range strings.SplitSeq(r.path, "/") {
		part = strings.Trim(part, "{}")
		if part != "" && part != "v1" {
			id += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return strings.ReplaceAll(id, ".json", "")
}

func content(r *route, schemas schemaSet) map[string]any {
	if r.reply == nil {
		return jsonContent(map[string]any{"type": "object"})
	}
	schema := schemas.of(reflect.TypeOf(r.reply))
	switch r.reply.(type) {
	case rpc.Event, rpc.LogLine:
		return map[string]any{"application/x-ndjson": map[string]any{"schema": schema}}
	}
	return jsonContent(schema)
}

func jsonContent(schema any) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": schema}}
}

func parameters(r *route) []any {
	list := []any{}
	for part := range strings.SplitSeq(r.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			list = append(list, map[string]any{
				"name": name, "in": "path", "required": true,
				"schema": map[string]any{"type": either(name == "index", "integer", "string")},
			})
		}
	}
	for _, name := range r.query {
		list = append(list, map[string]any{"name": name, "in": "query", "schema": map[string]any{"type": "string"}})
	}
	return list
}

// schemaSet are the schemas of the types met so far, by name.
type schemaSet map[string]any

// of is the schema of a type; a struct's is put into the set and referred to.
func (s schemaSet) of(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[rpc.Text]():
		return map[string]any{"type": []string{"string", "null"}}
	case reflect.TypeFor[rpc.Number]():
		return map[string]any{"type": []string{"integer", "null"}}
	case reflect.TypeFor[rpc.Time]():
		return map[string]any{"type": []string{"string", "null"}, "format": "date-time"}
	case reflect.TypeFor[rpc.LogText]():
		return map[string]any{"type": "string"}
	case reflect.TypeFor[[]byte]():
		return map[string]any{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return map[string]any{"anyOf": []any{s.of(t.Elem()), map[string]any{"type": "null"}}}
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.object(t)
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Interface:
		return map[string]any{}
	}
	return map[string]any{"type": "integer"}
}

func (s schemaSet) object(t reflect.Type) map[string]any {
	ref := map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	if _, ok := s[t.Name()]; ok {
		return ref
	}
	s[t.Name()] = nil // a type that holds itself ends here
	properties := map[string]any{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		properties[name] = s.of(t.Field(i).Type)
	}
	s[t.Name()] = map[string]any{"type": "object", "properties": properties}
	return ref
}

package server

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/superd/superd/rpc"
)

// route is one thing that may be asked.
type route struct {
	method string
	path   string // {pool}, {index} and {id} stand for one segment
	need   role   // for the pool of the path, or for everything; see scope
	scope  scope
	handle func(*Server, *call) error
	body   any // the zero value of what the body may hold, or nil
	reply  any // the zero value of the answer
	query  []string
	doc    string
}

var waiting = []string{"wait"}

// scope is where the role of a route must hold.
type scope int

const (
	everything scope = iota // given in [superd], or an admin's
	onePool                 // for the pool in the path
	anyPool                 // for something at least: the answer shows what one may see
)

// routes is all that the control socket answers. It is filled by init, since one
// of its handlers shows it.
var routes []route

func init() {
	routes = []route{
		{"GET", "/v1/status", viewer, anyPool, (*Server).getStatus, nil, rpc.Status{}, nil, "all pools with their workers"},
		{"GET", "/v1/pools/{pool}", viewer, onePool, (*Server).getPool, nil, rpc.Pool{}, nil, "one pool"},
		{"GET", "/v1/pools/{pool}/workers", viewer, onePool, (*Server).getWorkers, nil, rpc.WorkerList{}, nil, "its workers"},
		{"GET", "/v1/pools/{pool}/workers/{index}", viewer, onePool, (*Server).getWorker, nil, rpc.Worker{}, nil, "one worker"},
		{"GET", "/v1/pools/{pool}/config", viewer, onePool, (*Server).getConfig, nil, rpc.PoolConfig{}, nil, "the configuration in force; values of env for operators"},
		{"GET", "/v1/pools/{pool}/revisions", viewer, onePool, (*Server).getRevisions, nil, rpc.RevisionList{}, nil, "what it ran, newest first"},
		{"GET", "/v1/pools/{pool}/deployments", viewer, onePool, (*Server).getDeployments, nil, rpc.DeploymentList{}, nil, "its deployments, newest first"},
		{"GET", "/v1/pools/{pool}/exits", viewer, onePool, (*Server).getExits, nil, rpc.ExitList{}, exitParameters, "how its runs ended, newest first"},
		{"POST", "/v1/pools/{pool}/start", operator, onePool, (*Server).postStart, rpc.WorkersRequest{}, rpc.CommandReply{}, waiting, "start it"},
		{"POST", "/v1/pools/{pool}/stop", operator, onePool, (*Server).postStop, rpc.WorkersRequest{}, rpc.CommandReply{}, waiting, "stop it by its stop sequence, or now"},
		{"POST", "/v1/pools/{pool}/restart", operator, onePool, (*Server).postRestart, rpc.WorkersRequest{}, rpc.Deployment{}, waiting, "replace all its runs; single workers are answered like start"},
		{"POST", "/v1/pools/{pool}/scale", operator, onePool, (*Server).postScale, rpc.ScaleRequest{}, rpc.CommandReply{}, waiting, "set the number of its workers"},
		{"POST", "/v1/pools/{pool}/signal", operator, onePool, (*Server).postSignal, rpc.SignalRequest{}, rpc.CommandReply{}, nil, "send a signal to its runs"},
		{"GET", "/v1/deployments/{id}", viewer, anyPool, (*Server).getDeployment, nil, rpc.Deployment{}, waiting, "one deployment"},
		{"GET", "/v1/events", viewer, anyPool, (*Server).getEvents, nil, rpc.Event{}, eventParameters, "what happened, one JSON object a line"},
		{"GET", "/v1/logs/{pool}", viewer, onePool, (*Server).getLogs, nil, rpc.LogLine{}, logParameters, "lines that its workers wrote, one JSON object a line"},
		{"GET", "/v1/logs/{pool}/{index}", viewer, onePool, (*Server).getLogs, nil, rpc.LogLine{}, logParameters, "lines of one worker"},
		{"POST", "/v1/apply", admin, everything, (*Server).postApply, rpc.ApplyRequest{}, rpc.ApplyReply{}, nil, "read the configuration anew"},
		{"POST", "/v1/shutdown", admin, everything, (*Server).postShutdown, rpc.ShutdownRequest{}, rpc.ShutdownReply{}, nil, "end superd"},
		{"POST", "/v1/upgrade", admin, everything, (*Server).postUpgrade, rpc.UpgradeRequest{}, rpc.UpgradeReply{}, nil, "have superd become another program"},
		{"GET", "/healthz", viewer, anyPool, (*Server).getHealth, nil, rpc.Health{}, nil, "superd answers"},
		{"GET", "/v1/openapi.json", viewer, anyPool, (*Server).getOpenAPI, nil, nil, nil, "this table as OpenAPI 3.1"},
	}
}

// find looks a request up. The values are those of the path's braces. When
// there is none, allow lists the methods that the path has.
func find(method string, u *url.URL) (r *route, values map[string]string, allow []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	segments, ok := split(u)
	if !ok {
		return nil, nil, nil
	}
	for i := range routes {
		v, ok := routes[i].match(segments)
		switch {
		case !ok:
		case routes[i].method == method:
			return &routes[i], v, nil
		default:
			allow = append(allow, routes[i].method)
		}
	}
	return nil, nil, allow
}

// split cuts a path at its slashes before it is unescaped, so that an escaped
// slash cannot pass for one.
func split(u *url.URL) ([]string, bool) {
	path, ok := strings.CutPrefix(u.EscapedPath(), "/")
	if !ok {
		return nil, false
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		s, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		segments[i] = s
	}
	return segments, true
}

func (r *route) match(segments []string) (map[string]string, bool) {
	pattern := strings.Split(r.path[1:], "/")
	if len(pattern) != len(segments) {
		return nil, false
	}
	var values map[string]string
	for i, p := range pattern {
		if name, ok := strings.CutPrefix(p, "{"); ok {
			if segments[i] == "" {
				return nil, false
			}
			if values == nil {
				values = map[string]string{}
			}
			values[strings.TrimSuffix(name, "}")] = segments[i]
		} else if p != segments[i] {
			return nil, false
		}
	}
	return values, true
}

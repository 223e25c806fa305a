package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/mesh"
)

// A caller is a process that calls.
type caller struct {
	protocol string
	door     http.RoundTripper
	options  []grpc.DialOption

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

// caller is the one that a call is from.
func (s *stage) caller(said map[string]string) *caller {
	name := said[":from"]
	if name == "" {
		name = "caller"
	}
	if s.callers[name] == nil {
		options := []mesh.Option{mesh.WithService(name, map[string]string{"app": name}), mesh.WithOutbound(mesh.RegistryOnly), mesh.WithControlServer(s.link.addr), s.metered}
		s.callers[name] = s.newCaller(s.kit.Mesh(append(options, s.identity(name)...)...))
	}
	return s.callers[name]
}

func (s *stage) newCaller(m *mesh.Mesh) *caller {
	c := &caller{protocol: s.protocol, door: m.RoundTripper(), options: m.DialOptions(), conns: map[string]*grpc.ClientConn{}}
	s.t.Cleanup(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
	})
	return c
}

// An answer is what a caller gets.
type answer struct {
	who    string // answered
	err    error
	header map[string][]string // names in lower case; trailers are among them
}

func (s *stage) ask(service, path string, said map[string]string) answer {
	s.present(said)
	return s.caller(said).ask(service, path, said)
}

// call makes one call and says who answered it, or why nobody did.
func (s *stage) call(service, path string, said map[string]string) string {
	return s.ask(service, path, said).how()
}

// ask makes one call, which is not part of another.
func (c *caller) ask(service, path string, said map[string]string) answer {
	limit := patience
	if d, err := time.ParseDuration(said[":timeout"]); err == nil {
		limit = d
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return c.askWithin(ctx, service, path, said)
}

func (c *caller) askWithin(ctx context.Context, service, path string, said map[string]string) answer {
	if c.protocol == "grpc" {
		return c.askGRPC(ctx, service, path, said)
	}
	return c.askHTTP(ctx, service, path, said)
}

func (c *caller) askHTTP(ctx context.Context, service, path string, said map[string]string) (a answer) {
	method := said[":method"]
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+service+path, nil)
	if err != nil {
		return answer{err: err}
	}
	for k, v := range said {
		if !strings.HasPrefix(k, ":") {
			req.Header.Set(k, v)
		}
	}
	resp, err := (&http.Client{Transport: c.door}).Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a.header = map[string][]string{}
	for k, v := range resp.Header {
		a.header[strings.ToLower(k)] = v
	}
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		a.err = fmt.Errorf("%w: %w", errBroken, err)
	case resp.StatusCode >= 300:
		a.err = status.Error(codeOf(resp.StatusCode), string(body))
	default:
		a.who = string(body)
	}
	return a
}

var errBroken = errors.New("the answer broke off")

func (c *caller) askGRPC(ctx context.Context, service, path string, said map[string]string) (a answer) {
	conn, err := c.conn(service)
	if err != nil {
		return answer{err: err}
	}
	for k, v := range said {
		if !strings.HasPrefix(k, ":") {
			ctx = metadata.AppendToOutgoingContext(ctx, k, v)
		}
	}
	var reply wrapperspb.StringValue
	var header, trailer metadata.MD
	a.err = conn.Invoke(ctx, path, &emptypb.Empty{}, &reply, grpc.Header(&header), grpc.Trailer(&trailer), grpc.WaitForReady(said[":patient"] != ""))
	a.who, a.header = reply.GetValue(), metadata.Join(header, trailer)
	return a
}

func (c *caller) conn(service string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[service] == nil {
		conn, err := grpc.NewClient("mesh:///"+service, c.options...)
		if err != nil {
			return nil, err
		}
		c.conns[service] = conn
	}
	return c.conns[service], nil
}

// how is who answered, or why nobody did: in the mesh's words, or in those of gRPC for the status of an answer.
func (a answer) how() string {
	var e *mesh.Error
	if errors.As(a.err, &e) && e.Kind != mesh.Deadline { // which a server may see before its caller
		return "mesh: " + e.Kind.String()
	}
	switch s, ok := status.FromError(a.err); {
	case e != nil:
		return e.Kind.String()
	case a.err != nil && ok:
		return words[s.Code()]
	case errors.Is(a.err, errBroken):
		return errBroken.Error()
	case a.err != nil:
		return a.err.Error()
	}
	return a.who
}

// words are the statuses that scenarios meet.
var words = map[codes.Code]string{
	codes.Canceled: "cancelled", codes.Unknown: "unknown", codes.InvalidArgument: "invalid argument", codes.DeadlineExceeded: "deadline exceeded",
	codes.NotFound: "not found", codes.PermissionDenied: "permission denied", codes.ResourceExhausted: "resource exhausted", codes.Unimplemented: "unimplemented",
	codes.Internal: "internal", codes.Unavailable: "unavailable", codes.Unauthenticated: "unauthenticated",
}

// codeOf is the gRPC status that an HTTP status stands for in a scenario.
func codeOf(http int) codes.Code {
	switch http {
	case 400:
		return codes.InvalidArgument
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.NotFound
	case 429:
		return codes.ResourceExhausted
	case 500:
		return codes.Internal
	case 501:
		return codes.Unimplemented
	case 502, 503:
		return codes.Unavailable
	case 504:
		return codes.DeadlineExceeded
	}
	return codes.Unknown
}

// words are the headers by which the mesh speaks.
func (a answer) words() string {
	var out []string
	for name, values := range a.header {
		switch value := values[0]; {
		case name == "x-ratelimit-reset":
			out = append(out, name+": …")
		case name == "x-envoy-overloaded" && value == "true", name == "grpc-retry-pushback-ms" && value == "-1":
			out = append(out, "do not retry")
		case name == "x-weft-fallback":
			kind, _, aged := strings.Cut(value, "age=")
			if aged {
				kind += "age=…"
			}
			out = append(out, name+": "+kind)
		case name == "www-authenticate", strings.HasPrefix(name, "x-ratelimit-"), strings.HasPrefix(name, "x-envoy-"), strings.HasPrefix(name, "x-weft-"):
			out = append(out, name+": "+value)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

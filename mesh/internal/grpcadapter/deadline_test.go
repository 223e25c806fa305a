package grpcadapter

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/mesh/internal/httpadapter"
	"github.com/weftmesh/weft/resilience"
)

// A call that is served has the caller's deadline, and so has whatever it causes, by either protocol. A route's
// timeout shortens it, and nothing makes it longer.
func TestDeadlinesAreHandedOn(t *testing.T) {
	type end struct {
		at time.Time
		ok bool
	}
	endOf := func(ctx context.Context) end {
		at, ok := ctx.Deadline()
		return end{at, ok}
	}
	for _, tt := range []struct {
		name              string
		caller            time.Duration // 0 is none
		first, second     time.Duration // timeouts of the routes to the two hops; 0 is none
		atFirst, atSecond time.Duration // the most there may be left
	}{
		{"nobody's", 0, 0, 0, 0, 0},
		{"the caller's", time.Hour, 0, 0, time.Hour, time.Hour},
		{"the first route's", 0, time.Hour, 0, time.Hour, time.Hour},
		{"the first route's, of the caller's", 3 * time.Hour, time.Hour, 2 * time.Hour, time.Hour, time.Hour},
		{"the caller's, of the routes'", time.Hour, 3 * time.Hour, 2 * time.Hour, time.Hour, time.Hour},
		{"the second route's", 3 * time.Hour, 2 * time.Hour, time.Hour, 2 * time.Hour, time.Hour},
	} {
		for _, kind := range []string{"unary", "duplex"} {
			var served, causedGRPC, causedHTTP end
			leaf := &backend{name: "leaf", unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
				causedGRPC = endOf(ctx)
				return &pb.SimpleResponse{}, nil
			}}
			leaf.member(t, resilience.Serving{}, nil)
			site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			to, toSite := &moving{}, &moving{}
			to.endpoints(resilience.Policy{Timeout: tt.second}, leaf.addr)
			toSite.endpoints(resilience.Policy{Timeout: tt.second}, strings.TrimPrefix(site.URL, "http://"))
			next := pb.NewTestServiceClient(mesh(t, to))
			tripper := httpadapter.New(newEngine(t, toSite, deadlines(func(ctx context.Context) { causedHTTP = endOf(ctx) })), httpadapter.Config{})
			cause := func(ctx context.Context) error {
				served = endOf(ctx)
				if _, err := next.UnaryCall(ctx, &pb.SimpleRequest{}); err != nil {
					return err
				}
				q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://s/", http.NoBody)
				if err != nil {
					return err
				}
				resp, err := tripper.RoundTrip(q)
				if err != nil {
					return err
				}
				return resp.Body.Close()
			}
			b := &backend{
				unary: func(ctx context.Context, q *pb.SimpleRequest) (*pb.SimpleResponse, error) {
					return &pb.SimpleResponse{Payload: q.Payload}, cause(ctx)
				},
				duplex: func(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
					for range 3 {
						_ = s.Send(&pb.StreamingOutputCallResponse{})
					}
					return cause(s.Context())
				},
			}
			b.member(t, resilience.Serving{}, nil)
			from := &moving{}
			from.endpoints(resilience.Policy{Timeout: tt.first}, b.addr)
			ctx, cancel := t.Context(), func() {}
			begun := time.Now()
			if tt.caller > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.caller)
			}
			ctx = metadata.AppendToOutgoingContext(ctx, "k", "v")
			if err := kinds[kind](ctx, pb.NewTestServiceClient(mesh(t, from))); err != nil {
				t.Errorf("%s, %s: %v", tt.name, kind, err)
			}
			ended := time.Now()
			cancel()
			for what, v := range map[string]struct {
				got  end
				most time.Duration
			}{"served": {served, tt.atFirst}, "caused, gRPC": {causedGRPC, tt.atSecond}, "caused, HTTP": {causedHTTP, tt.atSecond}} {
				// What travels is how much is left, in whole milliseconds of this length, which gRPC rounds up; it counts from when it is read.
				if v.got.ok != (v.most > 0) || v.got.ok && (v.got.at.After(ended.Add(v.most+2*time.Millisecond)) || v.got.at.Before(begun.Add(v.most-time.Millisecond))) {
					t.Errorf("%s, %s, %s: until %v, want about %v", tt.name, kind, what, v.got, begun.Add(v.most))
				}
			}
			tripper.Close()
			site.Close()
		}
	}
}

// deadlines is an observer that looks at the context of attempts.
type deadlines func(context.Context)

func (d deadlines) AttemptStarted(ctx context.Context, _ *engine.Call, _ *engine.Attempt) context.Context {
	d(ctx)
	return ctx
}

func (d deadlines) CallStarted(ctx context.Context, _ *engine.Call) context.Context   { return ctx }
func (d deadlines) AttemptFinished(*engine.Call, *engine.Attempt, resilience.Outcome) {}
func (d deadlines) CallFinished(*engine.Call, resilience.Outcome, error)              {}
func (d deadlines) ServeStarted(ctx context.Context, _ *engine.InboundCall) context.Context {
	return ctx
}
func (d deadlines) ServeFinished(*engine.InboundCall, resilience.Outcome) {}

package grpcadapter

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// codeOf is the gRPC status of each reason why the mesh could not get an answer.
func codeOf(k engine.Kind) codes.Code {
	switch k {
	case engine.Deadline:
		return codes.DeadlineExceeded
	case engine.Canceled:
		return codes.Canceled
	case engine.RateLimited:
		return codes.ResourceExhausted
	case engine.Denied:
		return codes.PermissionDenied
	default: // NoService, NoRoute, NoHost, Unreachable, Reset, Overloaded, Injected
		return codes.Unavailable
	}
}

// statusOf is the error that an answer says; nil if it is a good one.
func statusOf(a *resilience.Answer) error {
	if !a.GRPC {
		return status.Errorf(codes.Internal, "mesh: the answer in the server's place is HTTP's, of status %d", a.Status)
	}
	return status.Error(codes.Code(a.Code), string(a.Body)) // nil if the code is OK
}

// headerOf is the header of an answer as metadata.
func headerOf(a *resilience.Answer) metadata.MD {
	md := make(metadata.MD, len(a.Header))
	for _, e := range a.Header {
		md.Append(e.Key, e.Value)
	}
	return md
}

// A failure is an engine.Error that gRPC takes for a status. It unwraps to the
// engine.Error.
type failure struct{ err *engine.Error }

// errorOf is what the caller gets for an error of the engine.
func errorOf(err error) error {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return &failure{e}
	}
	return err
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// GRPCStatus lets the package status see the code.
func (f *failure) GRPCStatus() *status.Status { return status.New(codeOf(f.err.Kind), f.err.Error()) }

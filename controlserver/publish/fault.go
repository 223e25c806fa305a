package publish

import (
	"math"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/resilience"
)

// fault is what a VirtualService's rule does to calls on purpose; nil if it does nothing. A
// share that is left out is none of the calls (Istio).
func fault(f *networking.HTTPFaultInjection) *resilience.Fault {
	var out resilience.Fault
	if d := f.GetDelay(); d.GetFixedDelay() != nil {
		out.Delay, out.DelayPercent = d.GetFixedDelay().AsDuration(), share(d.GetPercentage())
		if d.GetPercentage() == nil {
			out.DelayPercent = resilience.Percent(uint32(max(d.GetPercent(), 0)))
		}
	}
	if out.Delay <= 0 || out.DelayPercent.Numerator == 0 {
		out.Delay, out.DelayPercent = 0, resilience.Fraction{}
	}
	switch e := f.GetAbort().GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		out.Abort.Status = int(e.HttpStatus)
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		if code, ok := grpcCodes[e.GrpcStatus]; ok {
			out.Abort = resilience.Abort{GRPC: true, Code: code}
		}
	}
	if out.AbortPercent = share(f.GetAbort().GetPercentage()); out.Abort == (resilience.Abort{}) || out.AbortPercent.Numerator == 0 {
		out.Abort, out.AbortPercent = resilience.Abort{}, resilience.Fraction{}
	}
	if out == (resilience.Fault{}) {
		return nil
	}
	return &out
}

// share is a percentage in millionths, the finest that there is.
func share(p *networking.Percent) resilience.Fraction {
	if !(p.GetValue() > 0) {
		return resilience.Fraction{}
	}
	return resilience.Fraction{Numerator: uint32(math.Round(min(p.GetValue(), 100) * 10_000)), Per: 1_000_000}
}

// grpcCodes are the codes of gRPC by their names on the wire.
var grpcCodes = map[string]uint32{
	"OK": 0, "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5, "ALREADY_EXISTS": 6,
	"PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10, "OUT_OF_RANGE": 11,
	"UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}

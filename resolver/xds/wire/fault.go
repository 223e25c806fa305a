package wire

import (
	"math"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
)

const faultFilter = "envoy.filters.http.fault"

// lastCode is the last of gRPC's status codes, unknownCode what stands for those beyond (gRFC A33).
const (
	lastCode    = 16
	unknownCode = 2
)

// breaks are the names of what only a library does to connections.
var breaks = map[resilience.BreakKind]string{
	resilience.ConnectionRefused:  "connection-refused",
	resilience.BodyReset:          "body-reset",
	resilience.SlowBody:           "slow-body",
	resilience.CorruptCertificate: "corrupt-certificate",
}

// decodeFault reads what is done to calls on purpose; nil if that is nothing, as where no fault
// may be active at a time (Envoy). One that is for some of the calls only, by more than chance, is none.
func decodeFault(p *place, m *faultv3.HTTPFault, own *own) *resilience.Fault {
	p.ignores(m, "delay", "abort", "response_rate_limit", "max_active_faults", "upstream_cluster", "headers", "downstream_nodes",
		"delay_percent_runtime", "abort_percent_runtime", "delay_duration_runtime", "abort_http_status_runtime", "abort_grpc_status_runtime",
		"max_active_faults_runtime", "response_rate_limit_percent_runtime", "disable_downstream_cluster_stats", "filter_metadata")
	f := resilience.Fault{MaxActive: m.GetMaxActiveFaults().GetValue()}
	delays, aborts, slows := decodeDelay(p, m.GetDelay(), &f), decodeAbort(p, m.GetAbort(), &f), decodeSlow(p, m.GetResponseRateLimit(), own, &f)
	byHeader := own.bool("by_header")
	f.ByHeader = byHeader || delays || aborts || slows
	decodeBreak(own, &f)
	own.unknown()
	p.keeps(m)
	if m.GetHeaders() != nil || m.GetUpstreamCluster() != "" || m.GetDownstreamNodes() != nil {
		p.warn("", "one for the calls of some headers, clusters or nodes is not supported yet, has no effect")
		return nil
	}
	if m.GetMaxActiveFaults() != nil && f.MaxActive == 0 || dead(&f) {
		return nil
	}
	if f.ByHeader && !byHeader && (f.Delay > 0 || f.Abort != resilience.Abort{} || f.BytesPerSecond > 0) {
		p.warn("", "callers may by headers change all of it, not some")
	}
	if f.DelayPercent.Numerator == 0 && f.AbortPercent.Numerator == 0 && f.SlowPercent.Numerator == 0 {
		f.ByHeader = false
	}
	return &f
}

// decodeDelay reports, as the next two do, whether it is for callers to say.
func decodeDelay(p *place, m *commonv3.FaultDelay, f *resilience.Fault) (byHeader bool) {
	if m == nil {
		return false
	}
	q := p.in("delay")
	switch d := m.GetFaultDelaySecifier().(type) {
	case *commonv3.FaultDelay_FixedDelay:
		f.Delay = q.positive("fixed_delay", d.FixedDelay)
	case *commonv3.FaultDelay_HeaderDelay_:
		byHeader = true
	default:
		q.refuse("fault_delay_secifier", "missing: neither fixed_delay nor header_delay")
	}
	if f.DelayPercent = decodeShare(&q, "percentage", m.GetPercentage()); f.DelayPercent.Numerator == 0 {
		f.Delay, byHeader = 0, false
	}
	return byHeader
}

func decodeAbort(p *place, m *faultv3.FaultAbort, f *resilience.Fault) (byHeader bool) {
	if m == nil {
		return false
	}
	q := p.in("abort")
	q.ignores(m, "http_status", "grpc_status", "header_abort", "percentage")
	switch a := m.GetErrorType().(type) {
	case *faultv3.FaultAbort_HttpStatus:
		if a.HttpStatus < 200 || a.HttpStatus > 599 {
			q.refuse("http_status", "%d is not in 200 to 599", a.HttpStatus)
		}
		f.Abort.Status = int(a.HttpStatus)
	case *faultv3.FaultAbort_GrpcStatus:
		f.Abort = resilience.Abort{GRPC: true, Code: a.GrpcStatus}
		if a.GrpcStatus > lastCode {
			q.warn("grpc_status", "%d is no status code: the answer is UNKNOWN", a.GrpcStatus)
			f.Abort.Code = unknownCode
		}
	case *faultv3.FaultAbort_HeaderAbort_:
		byHeader = true
	default:
		q.refuse("error_type", "missing: neither http_status nor grpc_status nor header_abort")
	}
	if f.AbortPercent = decodeShare(&q, "percentage", m.GetPercentage()); f.AbortPercent.Numerator == 0 {
		f.Abort, byHeader = resilience.Abort{}, false
	}
	return byHeader
}

func decodeSlow(p *place, m *commonv3.FaultRateLimit, own *own, f *resilience.Fault) (byHeader bool) {
	exact := own.bytes("bytes_per_second")
	if m == nil {
		return false
	}
	q := p.in("response_rate_limit")
	switch l := m.GetLimitType().(type) {
	case *commonv3.FaultRateLimit_FixedLimit_:
		f.BytesPerSecond = kib(l.FixedLimit.GetLimitKbps())
		if f.BytesPerSecond == 0 {
			q.refuse("fixed_limit.limit_kbps", "must be more than 0")
		}
		if exact > 0 {
			f.BytesPerSecond = exact
		}
	case *commonv3.FaultRateLimit_HeaderLimit_:
		byHeader = true
	default:
		q.refuse("limit_type", "missing: neither fixed_limit nor header_limit")
	}
	if f.SlowPercent = decodeShare(&q, "percentage", m.GetPercentage()); f.SlowPercent.Numerator == 0 {
		f.BytesPerSecond, byHeader = 0, false
	}
	return byHeader
}

func decodeBreak(o *own, f *resilience.Fault) {
	o = o.in("break")
	if o == nil {
		return
	}
	var b resilience.Break
	kind := o.text("kind")
	for known, name := range breaks {
		if name == kind {
			b.Kind = known
		}
	}
	b.After, b.Pause = int64(o.bytes("after")), o.duration("pause")
	share := o.fraction("percent")
	o.unknown()
	switch {
	case b.Kind == resilience.NoBreak:
		o.warn("kind", "%q is not known, has no effect", kind)
	case b.Kind == resilience.SlowBody && b.Pause == 0:
		o.refuse("pause", "must be more than 0")
	case share.Numerator > 0:
		f.Break, f.BreakPercent = b, share
	}
}

// dead reports whether f does nothing.
func dead(f *resilience.Fault) bool {
	if f == nil {
		return true
	}
	delays := f.DelayPercent.Numerator > 0 && (f.Delay > 0 || f.ByHeader)
	aborts := f.AbortPercent.Numerator > 0 && (f.Abort != resilience.Abort{} || f.ByHeader)
	slows := f.SlowPercent.Numerator > 0 && (f.BytesPerSecond > 0 || f.ByHeader)
	breaks := f.BreakPercent.Numerator > 0 && f.Break.Kind != resilience.NoBreak
	return !delays && !aborts && !slows && !breaks
}

// encodeFault is the reverse of decodeFault, and what no field says. Where a fault is both
// configured and for callers to say, an Envoy does what is configured.
func encodeFault(f *resilience.Fault) (*faultv3.HTTPFault, fields) {
	if dead(f) {
		return nil, nil
	}
	m, rest := &faultv3.HTTPFault{}, fields{}
	configured := false
	if f.MaxActive > 0 {
		m.MaxActiveFaults = wrapperspb.UInt32(f.MaxActive)
	}
	if share := f.DelayPercent; share.Numerator > 0 && f.Delay > 0 {
		configured = true
		m.Delay = &commonv3.FaultDelay{Percentage: encodeShare(share), FaultDelaySecifier: &commonv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(f.Delay)}}
	} else if share.Numerator > 0 && f.ByHeader {
		m.Delay = &commonv3.FaultDelay{Percentage: encodeShare(share), FaultDelaySecifier: &commonv3.FaultDelay_HeaderDelay_{HeaderDelay: &commonv3.FaultDelay_HeaderDelay{}}}
	}
	if share := f.AbortPercent; share.Numerator > 0 && f.Abort.GRPC {
		configured = true
		m.Abort = &faultv3.FaultAbort{Percentage: encodeShare(share), ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: f.Abort.Code}}
	} else if share.Numerator > 0 && f.Abort.Status > 0 {
		configured = true
		m.Abort = &faultv3.FaultAbort{Percentage: encodeShare(share), ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(f.Abort.Status)}}
	} else if share.Numerator > 0 && f.ByHeader {
		m.Abort = &faultv3.FaultAbort{Percentage: encodeShare(share), ErrorType: &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}}}
	}
	if share := f.SlowPercent; share.Numerator > 0 && f.BytesPerSecond > 0 {
		configured = true
		m.ResponseRateLimit = &commonv3.FaultRateLimit{Percentage: encodeShare(share), LimitType: &commonv3.FaultRateLimit_FixedLimit_{
			FixedLimit: &commonv3.FaultRateLimit_FixedLimit{LimitKbps: kibs(f.BytesPerSecond)},
		}}
		if kib(kibs(f.BytesPerSecond)) != f.BytesPerSecond {
			rest.bytes("bytes_per_second", f.BytesPerSecond)
		}
	} else if share.Numerator > 0 && f.ByHeader {
		m.ResponseRateLimit = &commonv3.FaultRateLimit{Percentage: encodeShare(share), LimitType: &commonv3.FaultRateLimit_HeaderLimit_{HeaderLimit: &commonv3.FaultRateLimit_HeaderLimit{}}}
	}
	rest.bool("by_header", f.ByHeader && configured)
	if f.Break.Kind != resilience.NoBreak && f.BreakPercent.Numerator > 0 {
		b := fields{}
		b.text("kind", breaks[f.Break.Kind])
		b.bytes("after", uint64(max(f.Break.After, 0)))
		b.duration("pause", f.Break.Pause)
		b.fraction("percent", f.BreakPercent)
		rest.in("break", b)
	}
	return m, rest
}

// decodeShare reads a share of calls. More than all is all (Envoy).
func decodeShare(p *place, field string, m *typev3.FractionalPercent) resilience.Fraction {
	decodeFraction(p, field, m)
	if m.GetNumerator() == 0 {
		return resilience.Fraction{}
	}
	f := resilience.Fraction{Numerator: m.GetNumerator(), Per: chancePer[m.GetDenominator()]}
	if f.Per == 0 {
		f.Numerator = min(f.Numerator, 100)
	} else {
		f.Numerator = min(f.Numerator, f.Per)
	}
	return f
}

// encodeShare writes a denominator that there is not so that readers refuse it.
func encodeShare(f resilience.Fraction) *typev3.FractionalPercent {
	m := &typev3.FractionalPercent{Numerator: f.Numerator, Denominator: -1}
	if f.Per == 100 {
		f.Per = 0
	}
	for denominator, per := range chancePer {
		if per == f.Per {
			m.Denominator = denominator
		}
	}
	return m
}

// kib is so many KiB in bytes, or as many as there can be.
func kib(n uint64) uint64 { return min(n, math.MaxUint64>>10) << 10 }

// kibs is how many KiB are at least so many bytes.
func kibs(bytes uint64) uint64 { return bytes>>10 + min(bytes&1023, 1) }

package wire

import (
	"time"

	bandwidthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
)

const bandwidthFilter = "envoy.filters.http.bandwidth_limit"

// bandwidthPrefix is the name of the filter's figures in Envoy.
const bandwidthPrefix = "bandwidth_limit"

// leastPiece and mostPiece bound a fill_interval (Envoy bandwidth_limit).
const (
	leastPiece = 20 * time.Millisecond
	mostPiece  = time.Second
)

// decodeBandwidth reads how fast bodies may go. whole says that there must be a limit (Envoy,
// of routes). Envoy has one bucket for both ways where a Bandwidths has two.
func decodeBandwidth(p *place, m *bandwidthv3.BandwidthLimit, own *own, whole bool) (b resilience.Bandwidths) {
	p.ignores(m, "stat_prefix", "enable_mode", "limit_kbps", "fill_interval", "runtime_enabled", "response_trailer_prefix")
	if m.GetStatPrefix() == "" {
		p.refuse("stat_prefix", "empty")
	}
	one := resilience.Bandwidth{BytesPerSecond: kib(m.GetLimitKbps().GetValue()), Fill: p.duration("fill_interval", m.GetFillInterval())}
	switch {
	case m.GetLimitKbps() == nil && whole:
		p.refuse("limit_kbps", "missing")
	case m.GetLimitKbps() != nil && one.BytesPerSecond == 0:
		p.refuse("limit_kbps", "must be more than 0")
	}
	if m.GetFillInterval() != nil && (one.Fill < leastPiece || one.Fill > mostPiece) {
		p.refuse("fill_interval", "%v is not in %v to %v", one.Fill, leastPiece, mostPiece)
	}
	mode := m.GetEnableMode()
	if mode < bandwidthv3.BandwidthLimit_DISABLED || mode > bandwidthv3.BandwidthLimit_REQUEST_AND_RESPONSE {
		p.refuse("enable_mode", "unknown value %d", mode)
	}
	p.keeps(m)
	exact, said := decodeOwnBandwidths(own)
	if d := m.GetRuntimeEnabled().GetDefaultValue(); d != nil && !d.GetValue() || one.BytesPerSecond == 0 {
		return b
	}
	if mode == bandwidthv3.BandwidthLimit_REQUEST || mode == bandwidthv3.BandwidthLimit_REQUEST_AND_RESPONSE {
		b.Request = one
	}
	if mode == bandwidthv3.BandwidthLimit_RESPONSE || mode == bandwidthv3.BandwidthLimit_REQUEST_AND_RESPONSE {
		b.Response = one
	}
	if said && b != (resilience.Bandwidths{}) {
		return exact
	}
	return b
}

func decodeOwnBandwidths(o *own) (b resilience.Bandwidths, said bool) {
	if o == nil {
		return b, false
	}
	read := func(name string, to *resilience.Bandwidth) {
		in := o.in(name)
		if in == nil {
			return
		}
		to.BytesPerSecond, to.Fill = in.bytes("bytes_per_second"), in.duration("fill")
		in.sound(to.Check())
		in.unknown()
		if to.BytesPerSecond == 0 {
			*to = resilience.Bandwidth{}
		}
	}
	read("request", &b.Request)
	read("response", &b.Response)
	o.unknown()
	return b, b != (resilience.Bandwidths{})
}

// encodeBandwidth is the reverse of decodeBandwidth, and what no field says. Where the ways
// differ, an Envoy is told the larger of both.
func encodeBandwidth(b resilience.Bandwidths) (*bandwidthv3.BandwidthLimit, fields) {
	var mode bandwidthv3.BandwidthLimit_EnableMode
	one := b.Request
	switch {
	case b.Request.BytesPerSecond == 0 && b.Response.BytesPerSecond == 0:
		return nil, nil
	case b.Response.BytesPerSecond == 0:
		mode = bandwidthv3.BandwidthLimit_REQUEST
	case b.Request.BytesPerSecond == 0:
		mode, one = bandwidthv3.BandwidthLimit_RESPONSE, b.Response
	default:
		mode = bandwidthv3.BandwidthLimit_REQUEST_AND_RESPONSE
		if b.Response.BytesPerSecond > one.BytesPerSecond {
			one = b.Response
		}
	}
	m := &bandwidthv3.BandwidthLimit{StatPrefix: bandwidthPrefix, EnableMode: mode, LimitKbps: wrapperspb.UInt64(kibs(one.BytesPerSecond))}
	if one.Fill != 0 {
		m.FillInterval = durationpb.New(one.Fill)
	}
	if kib(kibs(one.BytesPerSecond)) == one.BytesPerSecond && (mode != bandwidthv3.BandwidthLimit_REQUEST_AND_RESPONSE || b.Request == b.Response) {
		return m, nil
	}
	rest := fields{}
	for name, b := range map[string]resilience.Bandwidth{"request": b.Request, "response": b.Response} {
		if b.BytesPerSecond > 0 {
			in := fields{}
			in.bytes("bytes_per_second", b.BytesPerSecond)
			in.duration("fill", b.Fill)
			rest.in(name, in)
		}
	}
	return m, rest
}

package wire

import (
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	bandwidthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	globalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/resilience"
)

const routerFilter = "envoy.filters.http.router"

// A chain is the HTTP filters of a listener.
type chain struct {
	// listed are the kinds whose filter is there, be it for the routes to say more.
	listed    resilience.Switches
	rate      *resilience.Rate
	global    *GlobalFilter
	fault     *resilience.Fault
	bandwidth resilience.Bandwidths
	adaptive  *resilience.Adaptive  // of servers
	admission *resilience.Admission // of clients
	guards    guarding              // of servers
	before    []named               // filters that guard a server, to be encoded
}

// decodeChain looks whether the filters can be done without (gRFC A39), and reads those that are known.
func decodeChain(p *place, filters []*hcmv3.HttpFilter, own *own, server bool) (c chain) {
	names := map[string]bool{}
	for i, f := range filters {
		q := p.at("http_filters", i)
		name := f.GetName()
		if name == "" {
			q.refuse("name", "empty")
		} else if names[name] {
			q.refuse("name", "%q is there twice", name)
		}
		names[name] = true
		a := f.GetTypedConfig()
		if a.MessageIs((*routerv3.Router)(nil)) {
			if err := unpack(a, new(routerv3.Router)); err != nil {
				q.refuse("typed_config", "%w", err)
			}
			if i != len(filters)-1 {
				q.refuse("typed_config", "the router must be the last filter")
			}
			continue
		}
		switch {
		case server && !f.GetDisabled() && c.guards.httpFilter(&q, name, f.GetTypedConfig(), own):
		case !c.read(&q, f, own, server):
			decodeFilter(&q, f)
		}
	}
	if n := len(filters); n == 0 || !filters[n-1].GetTypedConfig().MessageIs((*routerv3.Router)(nil)) {
		p.refuse("http_filters", "the last must be the router")
	}
	return c
}

// read takes a filter in, and reports whether it is one that is known. Of two of a kind the first counts.
func (c *chain) read(p *place, f *hcmv3.HttpFilter, own *own, server bool) bool {
	a := f.GetTypedConfig()
	q := p.in("typed_config")
	kind := filterKind(f)
	switch {
	case kind == 0, kind == resilience.NoConcurrency && !server, kind == resilience.NoAdmission && server:
		return false
	case c.listed.Off(kind):
		q.warn("", "%q is the second of its kind, has no effect", f.GetName())
		return true
	}
	c.listed |= kind
	var next chain
	switch kind {
	case resilience.NoRates:
		var m localv3.LocalRateLimit
		if unpackAt(&q, a, &m) && (m.GetTokenBucket() != nil || len(m.GetDescriptors()) > 0) {
			next.rate = decodeLocalRate(&q, &m, &q, nil, server)
		}
		if c.rate == nil && !f.GetDisabled() {
			c.rate = next.rate
		}
	case resilience.NoFaults:
		var m faultv3.HTTPFault
		if unpackAt(&q, a, &m) {
			next.fault = decodeFault(&q, &m, own.in("fault"))
		}
		if !f.GetDisabled() {
			c.fault = next.fault
		}
	case resilience.NoBandwidths:
		var m bandwidthv3.BandwidthLimit
		if unpackAt(&q, a, &m) {
			next.bandwidth = decodeBandwidth(&q, &m, own.in("bandwidth"), false)
		}
		if !f.GetDisabled() {
			c.bandwidth = next.bandwidth
		}
	case resilience.NoGlobalRates:
		var m globalv3.RateLimit
		if unpackAt(&q, a, &m) {
			next.global = decodeGlobalFilter(&q, &m, own.in("global"))
		}
		if !f.GetDisabled() {
			c.global = next.global
		}
	case resilience.NoConcurrency:
		var m adaptivev3.AdaptiveConcurrency
		if unpackAt(&q, a, &m) {
			next.adaptive = decodeAdaptive(&q, &m)
		}
		if !f.GetDisabled() {
			c.adaptive = next.adaptive
		}
	default:
		var m admissionv3.AdmissionControl
		if unpackAt(&q, a, &m) {
			next.admission = decodeAdmission(&q, &m, own.in("admission"))
		}
		if !f.GetDisabled() {
			c.admission = next.admission
		}
	}
	return true
}

func filterKind(f *hcmv3.HttpFilter) resilience.Switches {
	a := f.GetTypedConfig()
	switch {
	case a.MessageIs((*globalv3.RateLimit)(nil)):
		return resilience.NoGlobalRates
	case a.MessageIs((*globalv3.RateLimitPerRoute)(nil)):
		return 0
	case a.MessageIs((*adaptivev3.AdaptiveConcurrency)(nil)):
		return resilience.NoConcurrency
	case a.MessageIs((*admissionv3.AdmissionControl)(nil)):
		return resilience.NoAdmission
	}
	return kindOf(a)
}

func decodeFilter(p *place, f *hcmv3.HttpFilter) {
	kind := string(f.GetTypedConfig().MessageName())
	switch kind {
	case "":
		p.refuse("typed_config", "missing")
		return
	case "envoy.extensions.filters.http.cors.v3.Cors", // there for the routes to say more
		"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
		"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
		"io.istio.http.peer_metadata.Config",
		"stats.PluginConfig":
		return
	}
	switch {
	case guards(kind):
		p.refuse("typed_config", "%s is not supported here, and security is never optional", kind)
	case f.GetDisabled():
	case f.GetIsOptional():
		p.warn("typed_config", "the optional filter %s is not supported, has no effect", kind)
	default:
		p.refuse("typed_config", "%s is not supported", kind)
	}
}

// encodeChain lists the filters in the order in which calls meet them, and the rest. All but the
// router and those that guard a server are optional, to those who do not know them. Of client and server only one has an adaptive
// limit, or admission.
func encodeChain(c *chain, rest fields, server bool) (filters []*hcmv3.HttpFilter) {
	names := taken{"": true}
	for _, f := range c.before { // who does not know them refuses
		names[f.name] = true
		filters = append(filters, &hcmv3.HttpFilter{Name: f.name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(f.m)}})
	}
	add := func(name string, m proto.Message) {
		filters = append(filters, &hcmv3.HttpFilter{
			Name: names.free(name), IsOptional: name != routerFilter,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(m)},
		})
	}
	fault := func() {
		if m, more := encodeFault(c.fault); m != nil {
			add(faultFilter, m)
			rest.some("fault", more)
		} else if c.listed.Off(resilience.NoFaults) {
			add(faultFilter, &faultv3.HTTPFault{})
		}
	}
	if !server {
		fault() // an injected failure must not spend a token
	}
	if m := encodeRate(c.rate); m != nil {
		add(rateFilter, m)
	} else if c.listed.Off(resilience.NoRates) {
		add(rateFilter, &localv3.LocalRateLimit{StatPrefix: ratePrefix})
	}
	if c.global != nil {
		m, more := encodeGlobalFilter(c.global)
		add(globalFilter, m)
		rest.some("global", more)
	}
	if c.adaptive != nil {
		add(adaptiveFilter, encodeAdaptive(*c.adaptive))
	}
	if c.admission != nil {
		m, more := encodeAdmission(*c.admission)
		add(admissionFilter, m)
		rest.some("admission", more)
	}
	if server {
		fault()
	}
	if m, more := encodeBandwidth(c.bandwidth); m != nil {
		add(bandwidthFilter, m)
		rest.some("bandwidth", more)
	} else if c.listed.Off(resilience.NoBandwidths) {
		add(bandwidthFilter, &bandwidthv3.BandwidthLimit{StatPrefix: bandwidthPrefix})
	}
	add(routerFilter, &routerv3.Router{})
	return filters
}

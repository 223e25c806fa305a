package wire

import (
	"net/textproto"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// decodeRetry reads a retry policy. Of one that repeats nothing, be it for want of
// attempts, of conditions that are known or of requests, the time of a try is left (Envoy).
func decodeRetry(p *place, m *routev3.RetryPolicy) resilience.Retry {
	if m == nil {
		return resilience.Retry{}
	}
	p.ignores(m, "retry_on", "num_retries", "per_try_timeout", "retry_back_off", "retry_priority", "retry_host_predicate",
		"host_selection_retry_max_attempts", "retriable_status_codes", "retriable_headers", "retriable_request_headers",
		"rate_limited_retry_back_off")
	on, unknown := resilience.ParseConditions(m.GetRetryOn())
	for _, name := range slices.Compact(unknown) {
		p.warn("retry_on", "%q is not supported yet, has no effect", name)
	}
	for _, h := range m.GetRetryHostPredicate() {
		if !h.GetTypedConfig().MessageIs((*hostsv3.PreviousHostsPredicate)(nil)) { // what retries do anyway
			p.warn("retry_host_predicate", "%q is not supported yet, has no effect", h.GetName())
		}
	}
	r := resilience.Retry{
		Attempts: 1, On: on, TryTimeout: p.duration("per_try_timeout", m.GetPerTryTimeout()),
		OtherLocalities: decodeRetryPriority(p, m.GetRetryPriority()),
	}
	if n := m.GetNumRetries(); n != nil {
		r.Attempts = n.GetValue()
	}
	if b := m.GetRetryBackOff(); b != nil {
		q := p.in("retry_back_off")
		r.Base = q.duration("base_interval", b.GetBaseInterval())
		r.Max = q.duration("max_interval", b.GetMaxInterval())
		if r.Base == 0 {
			q.refuse("base_interval", "must be more than 0")
		}
		if b.GetMaxInterval() != nil && r.Max < r.Base {
			q.refuse("max_interval", "%v is less than the base_interval %v", r.Max, r.Base)
		}
	}
	r.Answers = decodeAnswers(p, m)
	if r.Attempts == 0 || r.On == 0 || len(m.GetRetriableRequestHeaders()) > 0 && (r.Answers == nil || r.Answers.Requests == nil) {
		return resilience.Retry{TryTimeout: r.TryTimeout}
	}
	return r
}

// decodeRetryPriority reports whether retries avoid localities that were tried. Envoy avoids priorities, since its
// localities have one each where they matter; istiod writes retryRemoteLocalities so.
func decodeRetryPriority(p *place, m *routev3.RetryPolicy_RetryPriority) bool {
	if m == nil {
		return false
	}
	var priorities prioritiesv3.PreviousPrioritiesConfig
	if !m.GetTypedConfig().MessageIs(&priorities) {
		p.warn("retry_priority", "%q is not supported yet, has no effect", m.GetName())
		return false
	}
	q := p.in("retry_priority")
	if !unpackAt(&q, m.GetTypedConfig(), &priorities) {
		return false
	}
	switch n := priorities.GetUpdateFrequency(); {
	case n <= 0:
		q.refuse("update_frequency", "must be more than 0")
	case n > 1:
		q.warn("update_frequency", "more than 1 is not supported yet: the first retry avoids what was tried, too")
	}
	return true
}

// decodeAnswers returns nil if nothing is said of answers.
func decodeAnswers(p *place, m *routev3.RetryPolicy) *resilience.Answers {
	var a resilience.Answers
	for _, s := range m.GetRetriableStatusCodes() {
		a.Statuses = append(a.Statuses, int(s))
	}
	for i, h := range m.GetRetriableHeaders() {
		q := p.at("retriable_headers", i)
		if h, ok := decodeAnswerHeader(&q, h); ok && !strings.HasPrefix(h.Name.Lower, ":") {
			a.Headers = append(a.Headers, h)
		} else if ok {
			q.warn("", "a match of this kind is not supported yet, has no effect")
		}
	}
	for i, h := range m.GetRetriableRequestHeaders() {
		q := p.at("retriable_request_headers", i)
		if h, ok := decodeAnswerHeader(&q, h); ok {
			a.Requests = append(a.Requests, h)
		}
	}
	if b := m.GetRateLimitedRetryBackOff(); b != nil {
		q := p.in("rate_limited_retry_back_off")
		a.Resets = decodeResets(&q, b.GetResetHeaders())
		a.MaxReset = q.duration("max_interval", b.GetMaxInterval())
		if b.GetMaxInterval() != nil && a.MaxReset == 0 {
			q.refuse("max_interval", "must be more than 0")
		}
	}
	if a.Statuses == nil && a.Headers == nil && a.Resets == nil && a.Requests == nil {
		return nil
	}
	return &a
}

func decodeResets(p *place, headers []*routev3.RetryPolicy_ResetHeader) (out []resilience.ResetHeader) {
	if len(headers) == 0 {
		p.refuse("reset_headers", "none")
	}
	for i, h := range headers {
		q := p.at("reset_headers", i)
		if h.GetName() == "" {
			q.refuse("name", "empty")
		}
		switch h.GetFormat() {
		case routev3.RetryPolicy_SECONDS, routev3.RetryPolicy_UNIX_TIMESTAMP:
		default:
			q.refuse("format", "unknown value %d", h.GetFormat())
		}
		out = append(out, resilience.ResetHeader{
			Name: headerName(h.GetName()),
			Unix: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP,
		})
	}
	return out
}

// answerKinds are the kinds of a header's match that retries have.
var answerKinds = map[resolver.StringKind]resilience.MatchKind{
	resolver.StringPresent:  resilience.MatchPresent,
	resolver.StringExact:    resilience.MatchExact,
	resolver.StringPrefix:   resilience.MatchPrefix,
	resolver.StringSuffix:   resilience.MatchSuffix,
	resolver.StringContains: resilience.MatchContains,
}

// decodeAnswerHeader leaves out what an answer, or a request, can't be asked, so that less is repeated
// rather than more. An inverted match holds for an absent header, too, which
// Envoy's does only if it takes it for an empty one.
func decodeAnswerHeader(p *place, m *routev3.HeaderMatcher) (resilience.HeaderMatch, bool) {
	h := decodeHeader(p, m)
	kind, known := answerKinds[h.Is.Kind]
	empty := kind == resilience.MatchExact && h.Is.Value == ""
	var exact bool // the value means what the field means
	switch {
	case kind == resilience.MatchPresent:
		exact = !h.MissingAsEmpty
	case h.Invert:
		exact = h.MissingAsEmpty && !empty
	default:
		exact = !h.MissingAsEmpty || !empty
	}
	if !known || !exact || h.Is.IgnoreCase {
		p.warn("", "a match of this kind is not supported yet, has no effect")
		return resilience.HeaderMatch{}, false
	}
	return resilience.HeaderMatch{Name: headerName(h.Name), Kind: kind, Value: h.Is.Value, Invert: h.Invert}, true
}

func headerName(name string) resilience.HeaderName {
	return resilience.HeaderName{Lower: strings.ToLower(name), Canonical: textproto.CanonicalMIMEHeaderKey(name)}
}

// encodeRetry asks Envoy to try another host, as retries here do. Pauses without
// a Base get the default one, without which gRPC and Envoy refuse them. A MaxReset without
// Resets bounds Retry-After alone, which Envoy must be told of.
func encodeRetry(r resilience.Retry) *routev3.RetryPolicy {
	if r.Attempts == 0 || r.On == 0 {
		if r.TryTimeout == 0 {
			return nil
		}
		return &routev3.RetryPolicy{PerTryTimeout: durationpb.New(r.TryTimeout)}
	}
	m := &routev3.RetryPolicy{
		RetryOn:    r.On.String(),
		NumRetries: wrapperspb.UInt32(r.Attempts),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&hostsv3.PreviousHostsPredicate{}),
			},
		}},
		HostSelectionRetryMaxAttempts: 5,
	}
	if r.OtherLocalities {
		m.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: pack(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 1}),
			},
		}
	}
	if r.TryTimeout != 0 {
		m.PerTryTimeout = durationpb.New(r.TryTimeout)
	}
	if r.Base != 0 || r.Max != 0 {
		base := r.Base
		if base == 0 {
			base = min(25*time.Millisecond, r.Max)
		}
		m.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(base)}
		if r.Max != 0 {
			m.RetryBackOff.MaxInterval = durationpb.New(r.Max)
		}
	}
	if r.Answers != nil {
		encodeAnswers(m, r.Answers)
	}
	return m
}

func encodeAnswers(m *routev3.RetryPolicy, a *resilience.Answers) {
	for _, s := range a.Statuses {
		m.RetriableStatusCodes = append(m.RetriableStatusCodes, uint32(s))
	}
	for _, h := range a.Headers {
		m.RetriableHeaders = append(m.RetriableHeaders, encodeAnswerHeader(h))
	}
	for _, h := range a.Requests {
		m.RetriableRequestHeaders = append(m.RetriableRequestHeaders, encodeAnswerHeader(h))
	}
	if len(a.Resets) == 0 && a.MaxReset == 0 {
		return
	}
	b := &routev3.RetryPolicy_RateLimitedRetryBackOff{}
	for _, r := range a.Resets {
		h := &routev3.RetryPolicy_ResetHeader{Name: r.Name.Lower}
		if r.Unix {
			h.Format = routev3.RetryPolicy_UNIX_TIMESTAMP
		}
		b.ResetHeaders = append(b.ResetHeaders, h)
	}
	if len(a.Resets) == 0 {
		b.ResetHeaders = []*routev3.RetryPolicy_ResetHeader{{Name: "retry-after"}}
	}
	if a.MaxReset != 0 {
		b.MaxInterval = durationpb.New(a.MaxReset)
	}
	m.RateLimitedRetryBackOff = b
}

func encodeAnswerHeader(h resilience.HeaderMatch) *routev3.HeaderMatcher {
	out := resolver.HeaderMatch{
		Name:           h.Name.Lower,
		Is:             resolver.StringMatch{Value: h.Value},
		Invert:         h.Invert,
		MissingAsEmpty: h.Invert && h.Kind != resilience.MatchPresent,
	}
	for kind, k := range answerKinds {
		if k == h.Kind {
			out.Is.Kind = kind
		}
	}
	return encodeHeader(out)
}

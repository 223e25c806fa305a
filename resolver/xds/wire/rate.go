package wire

import (
	"fmt"
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/resilience"
)

// rateFilter is the filter that limits rates, and its key in a route's typed_per_filter_config.
const rateFilter = "envoy.filters.http.local_ratelimit"

// leastFill is the shortest fill_interval (Envoy local_ratelimit).
const leastFill = 50 * time.Millisecond

// headerFact begins the key of an entry that is a header's value; methodFact and
// pathFact are the other keys that calls have an entry for.
const (
	headerFact = "header:"
	methodFact = "method"
	pathFact   = "path"
)

// noLimit stands where a Rate has no common bucket: Envoy refuses routes without one.
// The bucket of a descriptor must be filled in a multiple of its time.
var noLimit = resilience.TokenBucket{MaxTokens: math.MaxUint32, TokensPerFill: math.MaxUint32, FillInterval: leastFill}

// decodeLocalRate returns nil if calls are not limited. The action's limits say what the
// descriptors' keys mean if m does not itself. Only a server knows who its caller is.
func decodeLocalRate(p *place, m *localv3.LocalRateLimit, action *place, limits []*routev3.RateLimit, server bool) *resilience.Rate {
	p.ignores(m, "stat_prefix", "token_bucket", "filter_enabled", "filter_enforced", "descriptors", "enable_x_ratelimit_headers",
		"always_consume_default_token_bucket", "rate_limited_as_resource_exhausted", "rate_limits", "max_dynamic_descriptors", "status", "response_headers_to_add")
	if m.GetStatPrefix() == "" {
		p.refuse("stat_prefix", "empty")
	}
	r := &resilience.Rate{
		MaxKeys:      int(m.GetMaxDynamicDescriptors().GetValue()),
		AlwaysBucket: m.GetAlwaysConsumeDefaultTokenBucket() == nil || m.GetAlwaysConsumeDefaultTokenBucket().GetValue(),
		Headers:      m.GetEnableXRatelimitHeaders() != ratelimitv3.XRateLimitHeadersRFCVersion_OFF,
	}
	if m.GetMaxDynamicDescriptors() != nil && r.MaxKeys == 0 {
		p.refuse("max_dynamic_descriptors", "must be more than 0")
	}
	if v := m.GetEnableXRatelimitHeaders(); v > ratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03 || v < 0 {
		p.refuse("enable_x_ratelimit_headers", "unknown value %d", v)
	}
	r.TokenBucket = decodeBucket(p, m.GetTokenBucket())
	if r.TokenBucket == noLimit {
		r.TokenBucket = resilience.TokenBucket{}
	}
	if len(m.GetRateLimits()) > 0 {
		action, limits = p, m.GetRateLimits()
	} else if len(m.GetDescriptors()) == 0 {
		limits = nil
	}
	if !server && (m.GetStatus() != nil || m.GetResponseHeadersToAdd() != nil) {
		p.warn("status", "neither it nor response_headers_to_add has an effect at a caller, whose calls fail without an answer")
	}
	facts := decodeFacts(action, limits)
	if server {
		decodeRefusal(p, m, r)
		facts[callerFact], facts[addressFact] = callerFact, addressFact
	}
	seen := map[string]int{}
	for i, d := range m.GetDescriptors() {
		q := p.at("descriptors", i)
		var entries strings.Builder
		for _, e := range d.GetEntries() {
			fmt.Fprintf(&entries, "%q=%q ", e.GetKey(), e.GetValue())
		}
		if first, twice := seen[entries.String()]; twice {
			q.refuse("entries", "are those of descriptors[%d]", first)
		}
		seen[entries.String()] = i
		if d, fits := decodeDescriptor(&q, d, facts); fits {
			r.Descriptors = append(r.Descriptors, d)
		}
	}
	enabled := decodeAll(p, "filter_enabled", m.GetFilterEnabled(), false)
	enforced := decodeAll(p, "filter_enforced", m.GetFilterEnforced(), false)
	p.keeps(m)
	if !enabled || !enforced {
		return nil
	}
	if r.MaxTokens == 0 && len(r.Descriptors) == 0 {
		return nil
	}
	return r
}

// decodeRefusal reads what refusals are besides a lack of tokens. A status below 400 is 429 (Envoy).
func decodeRefusal(p *place, m *localv3.LocalRateLimit, r *resilience.Rate) {
	if code := int(m.GetStatus().GetCode()); code >= 400 && code != tooMany {
		r.Status = code
	}
	for i, o := range m.GetResponseHeadersToAdd() {
		q := p.at("response_headers_to_add", i)
		h := o.GetHeader()
		switch {
		case h.GetValue() == "" && !o.GetKeepEmptyValue():
		case o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS, !addable(h.GetKey()), len(h.GetRawValue()) > 0,
			strings.Contains(strings.ReplaceAll(h.GetValue(), "%%", ""), "%"):
			q.warn("", "a header of this kind is not supported yet, has no effect")
		default: // no refusal has it yet
			r.Added = append(r.Added, resilience.Entry{Key: strings.ToLower(h.GetKey()), Value: strings.ReplaceAll(h.GetValue(), "%%", "%")})
		}
	}
}

// addable reports whether answers of both protocols may have the header.
func addable(name string) bool {
	name = strings.ToLower(name)
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && !strings.HasPrefix(name, "grpc-") && !strings.HasSuffix(name, "-bin")
}

// tooMany is the HTTP status of a refusal that has no other.
const tooMany = 429

// decodeAll reports whether a filter is for all calls, as otherwise says where the field is missing.
func decodeAll(p *place, field string, m *corev3.RuntimeFractionalPercent, otherwise bool) bool {
	if m == nil {
		return otherwise
	}
	q := p.in(field)
	switch n := decodeFraction(&q, "default_value", m.GetDefaultValue()); n {
	case 0:
		return false
	case 1_000_000:
		return true
	}
	p.warn(field, "a limit for some of the calls is not supported yet, has no effect")
	return false
}

func decodeBucket(p *place, m *typev3.TokenBucket) resilience.TokenBucket {
	if m == nil {
		p.refuse("token_bucket", "missing")
		return resilience.TokenBucket{}
	}
	q := p.in("token_bucket")
	b := resilience.TokenBucket{
		MaxTokens:     m.GetMaxTokens(),
		TokensPerFill: m.GetTokensPerFill().GetValue(),
		FillInterval:  q.duration("fill_interval", m.GetFillInterval()),
	}
	if b.MaxTokens == 0 {
		q.refuse("max_tokens", "must be more than 0")
	}
	if m.GetTokensPerFill() != nil && b.TokensPerFill == 0 {
		q.refuse("tokens_per_fill", "must be more than 0")
	}
	if m.GetFillInterval() == nil {
		q.refuse("fill_interval", "missing")
	} else if b.FillInterval < leastFill {
		q.refuse("fill_interval", "%v is less than %v", b.FillInterval, leastFill)
	}
	return b
}

// decodeFacts reads which header gives the value of which key.
func decodeFacts(p *place, limits []*routev3.RateLimit) map[string]string {
	facts := map[string]string{}
	for i, l := range limits {
		q := p.at("rate_limits", i)
		q.ignores(l, "actions")
		for j, a := range l.GetActions() {
			qa := q.at("actions", j)
			if a.GetRemoteAddress() != nil {
				facts[addressFact] = addressFact
				continue
			}
			h := a.GetRequestHeaders()
			if h == nil && a.GetHeaderValueMatch() != nil { // for limits of all processes
				continue
			}
			if h == nil {
				qa.warn("", "only request_headers is supported yet, has no effect")
				continue
			}
			if h.GetHeaderName() == "" {
				qa.refuse("request_headers.header_name", "empty")
			}
			fact := factOf(h.GetHeaderName())
			if first, twice := facts[h.GetDescriptorKey()]; twice && first != fact {
				qa.warn("request_headers", "%q is a key of another header already, has no effect", h.GetDescriptorKey())
				continue
			}
			facts[h.GetDescriptorKey()] = fact
		}
	}
	return facts
}

// decodeDescriptor reports, too, whether a call may have the entries: what none can have is left out.
func decodeDescriptor(p *place, m *ratelimitv3.LocalRateLimitDescriptor, facts map[string]string) (_ resilience.DescriptorRate, fits bool) {
	p.ignores(m, "entries", "token_bucket")
	d := resilience.DescriptorRate{TokenBucket: decodeBucket(p, m.GetTokenBucket())}
	if len(m.GetEntries()) == 0 {
		p.refuse("entries", "none")
	}
	fits = true
	for i, e := range m.GetEntries() {
		q := p.at("entries", i)
		key, told := facts[e.GetKey()]
		if header := headerOf(e.GetKey()); e.GetKey() == "" {
			q.refuse("key", "empty")
		} else if !told && header != "" {
			key = factOf(header)
		} else if !told {
			fits = false
			q.warn("key", "no action gives %q a value: the descriptor has no effect", e.GetKey())
		}
		d.Entries = append(d.Entries, resilience.Entry{Key: key, Value: e.GetValue()})
	}
	return d, fits
}

// encodeRate is the reverse of decodeLocalRate; nil limits nobody.
func encodeRate(r *resilience.Rate) *localv3.LocalRateLimit {
	if r == nil || r.MaxTokens == 0 && len(r.Descriptors) == 0 {
		return nil
	}
	m := &localv3.LocalRateLimit{
		StatPrefix:                      ratePrefix,
		TokenBucket:                     encodeBucket(r.TokenBucket),
		FilterEnabled:                   all(),
		FilterEnforced:                  all(),
		AlwaysConsumeDefaultTokenBucket: wrapperspb.Bool(r.AlwaysBucket),
		RateLimitedAsResourceExhausted:  true,
		RateLimits:                      encodeFacts(r.Descriptors),
	}
	if r.MaxTokens == 0 {
		m.TokenBucket = encodeBucket(noLimit)
	}
	if r.Headers {
		m.EnableXRatelimitHeaders = ratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03
	}
	if r.MaxKeys > 0 {
		m.MaxDynamicDescriptors = wrapperspb.UInt32(uint32(min(r.MaxKeys, math.MaxUint32)))
	}
	if r.Status != 0 {
		m.Status = &typev3.HttpStatus{Code: typev3.StatusCode(r.Status)}
	}
	for _, h := range r.Added {
		m.ResponseHeadersToAdd = append(m.ResponseHeadersToAdd, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h.Key, Value: strings.ReplaceAll(h.Value, "%", "%%")}, KeepEmptyValue: true,
		})
	}
	for _, d := range r.Descriptors {
		out := &ratelimitv3.LocalRateLimitDescriptor{TokenBucket: encodeBucket(d.TokenBucket)}
		for _, e := range d.Entries {
			out.Entries = append(out.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: e.Key, Value: e.Value})
		}
		m.Descriptors = append(m.Descriptors, out)
	}
	return m
}

// ratePrefix is the name of the filter's figures in Envoy.
const ratePrefix = "local_rate_limit"

func all() *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
}

func encodeBucket(b resilience.TokenBucket) *typev3.TokenBucket {
	m := &typev3.TokenBucket{MaxTokens: b.MaxTokens, FillInterval: durationpb.New(b.FillInterval)}
	if b.TokensPerFill > 0 {
		m.TokensPerFill = wrapperspb.UInt32(b.TokensPerFill)
	}
	return m
}

// encodeFacts tells Envoy where the entries come from: once for all descriptors of the
// same keys, and not for those with a key that no header gives, which limit nobody.
func encodeFacts(descriptors []resilience.DescriptorRate) (limits []*routev3.RateLimit) {
	told := map[string]bool{}
	for _, d := range descriptors {
		var (
			l    routev3.RateLimit
			keys strings.Builder
		)
		for _, e := range d.Entries {
			a := actionOf(resilience.Entry{Key: e.Key})
			if a == nil {
				break
			}
			keys.WriteString(e.Key + "\n")
			l.Actions = append(l.Actions, a)
		}
		if len(l.GetActions()) == len(d.Entries) && !told[keys.String()] {
			told[keys.String()] = true
			limits = append(limits, &routev3.RateLimit{Actions: l.GetActions()})
		}
	}
	return limits
}

// factOf is the key of the entry that a header, or a pseudo-header of Envoy's, gives its value.
func factOf(header string) string {
	switch header {
	case ":method":
		return methodFact
	case ":path":
		return pathFact
	}
	return headerFact + header
}

// headerOf is the header, or Envoy's pseudo-header, that gives a key its value; "" if none does.
func headerOf(key string) string {
	switch key {
	case methodFact:
		return ":method"
	case pathFact:
		return ":path" // with the query, in Envoy
	}
	name, ok := strings.CutPrefix(key, headerFact)
	if !ok {
		return ""
	}
	return name
}

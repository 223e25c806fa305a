package trafficpolicy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// These check the blocks of a client and of a server; nil is a block that is not there.

func (c *checker) rateLimit(at string, l *RateLimit, server bool) {
	if l == nil {
		return
	}
	switch {
	case l.Requests == 0 && len(l.Limits) == 0:
		c.say(at, "bounds nothing: it needs requests or limits")
	case l.Requests == 0 && l.Per != 0, l.Requests == 0 && l.Burst != 0:
		c.say(at+".requests", "is missing")
	case l.Requests != 0 && l.Per == 0:
		c.say(at+".per", "is missing")
	}
	if l.Common != "" && (l.Requests == 0 || len(l.Limits) == 0) {
		c.say(at+".common", "has no effect without both requests and limits")
	}
	seen := map[string]int{}
	for i, limit := range l.Limits {
		in := at + ".limits[" + strconv.Itoa(i) + "]"
		c.facts(in, limit.Match, limit.By, server)
		if len(limit.Match) == 0 && len(limit.By) == 0 {
			c.say(in, "has neither match nor by: a limit for all calls is the common one, requests")
		}
		kind := describe(limit.Match, limit.By)
		if first, twice := seen[kind]; twice {
			c.say(in, "is for the same calls as limits[%d]", first)
		} else {
			seen[kind] = i
		}
		c.bucket(in, limit.Requests, limit.Per, limit.Burst)
	}
	if l.Requests > 0 {
		c.bucket(at, l.Requests, l.Per, l.Burst)
	}
	if !slices.ContainsFunc(c.found, func(f Finding) bool { return strings.HasPrefix(f.Field, at) }) {
		c.values(at, l.value().Check(), "descriptors", "limits")
	}
}

// bucket names what is wrong with a bucket by the field that says it.
func (c *checker) bucket(at string, requests uint32, per Duration, burst uint32) {
	if requests == 0 || per == 0 {
		return // said already
	}
	tokens := "requests"
	if burst != 0 {
		tokens = "burst"
	}
	c.values(at, bucket(requests, per, burst).Check(), "maxTokens", tokens, "fillInterval", "per")
}

// facts checks the facts of a limit.
func (c *checker) facts(at string, match map[Fact]string, by []Fact, server bool) {
	for _, f := range slices.Sorted(maps.Keys(match)) {
		field := at + ".match[" + string(f) + "]"
		if match[f] == "" {
			c.say(field, "is empty; for a limit for each value, use by")
		}
		if f.ofServers() && !server {
			c.say(field, "only a server knows it; a client knows method, path and header:NAME")
		}
	}
	for i, f := range by {
		field := at + ".by[" + strconv.Itoa(i) + "]"
		if f == "" {
			c.say(field, "is empty")
		}
		if _, twice := match[f]; twice {
			c.say(field, "%q stands in match already", f)
		} else if slices.Index(by, f) < i {
			c.say(field, "%q given twice", f)
		}
		if f.ofServers() && !server {
			c.say(field, "only a server knows %q; a client knows method, path and header:NAME", f)
		}
	}
}

// describe is the same for limits of the same calls.
func describe(match map[Fact]string, by []Fact) string {
	var b strings.Builder
	for _, e := range entries(match, by) {
		b.WriteString(e.Key + "\x00" + e.Value + "\x00")
	}
	return b.String()
}

// leastShared is the shortest time over which processes can agree on a limit.
const leastShared = Duration(time.Second)

func (c *checker) globalRateLimit(at string, g *GlobalRateLimit, server bool, name string) {
	if g == nil {
		return
	}
	names := map[string]int{}
	for i, limit := range g.Limits {
		in := at + ".limits[" + strconv.Itoa(i) + "]"
		c.facts(in, limit.Match, limit.By, server)
		if limit.Name != "" && strings.Trim(limit.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			c.say(in+".name", "%q must be lower-case letters, digits and '-'", limit.Name)
		}
		own := limit.name(i)
		if first, twice := names[own]; twice {
			c.say(in+".name", "%q is the name of limits[%d]", own, first)
		} else {
			names[own] = i
		}
		if limit.Per > 0 && limit.Per < leastShared {
			c.say(in+".per", "%s is less than %s", limit.Per, leastShared)
		}
	}
	c.values(at+".lease", g.value(name).Lease.Check())
}

func (c *checker) hedge(at string, h *Hedge) {
	if h == nil {
		return
	}
	if h.Delay == 0 && h.Percentile == 0 && h.Chance == 0 {
		c.say(at, "never sends anything: it needs delay, percentile or chance")
	}
	c.precise(at+".chance", h.Chance)
	c.values(at, h.value().Check())
}

func (c *checker) breaker(at string, b *Breaker) {
	if b == nil {
		return
	}
	if b.Failures == 0 && b.Percent == 0 {
		c.say(at, "never opens: it needs failures or percent")
	}
	if b.Percent == 0 && b.Volume != 0 {
		c.say(at+".volume", "has no effect without percent")
	}
	if b.Percent == 0 && b.Window != 0 {
		c.say(at+".window", "has no effect without percent")
	}
	c.values(at, b.value().Check())
}

func (c *checker) fallback(at string, f *Fallback) {
	if f == nil {
		return
	}
	if f.MaxAge == 0 && f.Answer == nil {
		c.say(at, "has no answer: it needs maxAge or answer")
	}
	if f.MaxAge == 0 && f.MaxAnswers != 0 {
		c.say(at+".maxAnswers", "has no effect without maxAge")
	}
	if f.MaxAge == 0 && f.MaxBytes != 0 {
		c.say(at+".maxBytes", "has no effect without maxAge")
	}
	if a := f.Answer; a != nil {
		in := at + ".answer"
		c.either(in, "httpStatus", a.HTTPStatus != 0, "grpcStatus", a.GRPCStatus != "")
		if a.Body != "" && a.HTTPStatus == 0 {
			c.say(in+".body", "is an HTTP answer's; a gRPC answer has a message")
		}
		if a.Message != nil && a.GRPCStatus != "OK" {
			c.say(in+".message", "needs grpcStatus OK")
		}
		for _, h := range slices.Sorted(maps.Keys(a.Headers)) {
			if !facts.MatchString("header:" + h) {
				c.say(in+".headers["+h+"]", "%q is not the name of a header", h)
			}
			if strings.ContainsAny(a.Headers[h], "\r\n\x00") {
				c.say(in+".headers["+h+"]", "the value has a line break")
			}
		}
		if (a.HTTPStatus != 0) == (a.GRPCStatus != "") {
			return
		}
	}
	c.values(at, f.value().Check(), "answer.status", "answer.httpStatus", "answer.code", "answer.grpcStatus")
}

// either wants one of two fields.
func (c *checker) either(at, a string, hasA bool, b string, hasB bool) {
	switch {
	case hasA && hasB:
		c.say(at+"."+b, "only one of %s and %s may be given", a, b)
	case !hasA && !hasB:
		c.say(at, "needs %s or %s", a, b)
	}
}

func (c *checker) fault(at string, f *Fault) {
	if f == nil {
		return
	}
	if f.Delay == nil && f.Abort == nil && f.ResponseRate == nil && f.Connection == nil {
		c.say(at, "does nothing: it needs delay, abort, responseRate or connection")
	}
	if d := f.Delay; d != nil {
		if d.Duration == 0 && !f.ByHeader {
			c.say(at+".delay.duration", "is missing")
		}
		c.share(at+".delay.percent", d.Percent)
	}
	if a := f.Abort; a != nil {
		if !f.ByHeader || a.HTTPStatus != 0 {
			c.either(at+".abort", "httpStatus", a.HTTPStatus != 0, "grpcStatus", a.GRPCStatus != "")
		}
		c.share(at+".abort.percent", a.Percent)
	}
	if r := f.ResponseRate; r != nil {
		if r.BytesPerSecond == 0 && !f.ByHeader {
			c.say(at+".responseRate.bytesPerSecond", "is missing")
		}
		c.share(at+".responseRate.percent", r.Percent)
	}
	if b := f.Connection; b != nil {
		in := at + ".connection"
		if b.After != 0 && b.Break != "resetBody" && b.Break != "slowBody" {
			c.say(in+".after", "has no effect: %s has no body", b.Break)
		}
		if b.After == 0 && b.Break == "slowBody" {
			c.say(in+".after", "is missing")
		}
		if b.Pause != 0 && b.Break != "slowBody" {
			c.say(in+".pause", "has no effect: %s does not pause", b.Break)
		}
		c.share(in+".percent", b.Percent)
	}
	value := f.value()
	if value.Abort.GRPC && value.Abort.Status != 0 {
		value.Abort = resilience.Abort{} // said already
	}
	c.values(at, value.Check(), "abort.code", "abort.grpcStatus", "abort.status", "abort.httpStatus",
		"break.kind", "connection.break", "break.", "connection.", "delayPercent", "delay.percent",
		"abortPercent", "abort.percent", "slowPercent", "responseRate.percent", "breakPercent", "connection.percent")
}

func (c *checker) share(at string, p *Percent) {
	if p != nil {
		c.precise(at, *p)
	}
}

func (c *checker) precise(at string, p Percent) {
	if _, err := p.fraction(); err != nil {
		c.say(at, "%v %v", p, err)
	}
}

func (c *checker) bandwidth(at string, b *Bandwidth) {
	if b == nil {
		return
	}
	if b.Request == nil && b.Response == nil {
		c.say(at, "bounds nothing: it needs request or response")
	}
	value := b.value()
	c.values(at+".request", value.Request.Check())
	c.values(at+".response", value.Response.Check())
}

func (c *checker) concurrency(at string, b *Concurrency) {
	if b == nil {
		return
	}
	c.either(at, "max", b.Max != 0, "adaptive", b.Adaptive != nil)
	if a := b.Adaptive; a != nil {
		for _, f := range []struct {
			name string
			said bool
		}{{"remeasure", a.Remeasure != 0}, {"jitter", a.Jitter != 0}} {
			if f.said && a.Fixed != 0 {
				c.say(at+".adaptive."+f.name, "has no effect beside fixed: nothing is measured again")
			}
		}
		if a.Remeasure > 0 && a.Remeasure < Duration(time.Millisecond) {
			c.say(at+".adaptive.remeasure", "%s is less than 1ms", a.Remeasure)
		}
		c.values(at+".adaptive", a.value().Check())
	}
}

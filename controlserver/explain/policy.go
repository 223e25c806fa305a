package explain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/resilience"
)

// A Line says one policy in words.
type Line struct {
	Part publish.Part
	Text string
	// From is where it is configured; none if it is a default.
	From []publish.Origin
	// Off says that it is turned off.
	Off bool
}

func (l Line) String() string {
	text := string(l.Part) + ": " + l.Text
	if l.Off {
		text += ", turned off"
	}
	return text + from(l.From...)
}

// from says where something is configured, at the end of a line.
func from(origins ...publish.Origin) string {
	var all []string
	for _, o := range origins {
		all = append(all, o.String())
	}
	if len(all) == 0 {
		return ""
	}
	return "  [" + strings.Join(all, ", ") + "]"
}

// lines collects what is said of a value.
type lines struct {
	all  []Line
	from publish.Origins
	off  resilience.Switches
}

// say adds a line, if there is anything to say. kind is the switch that turns the policy off.
func (l *lines) say(part publish.Part, kind resilience.Switches, text string) {
	if text != "" {
		l.all = append(l.all, Line{part, text, l.from[part], l.off.Off(kind)})
	}
}

// switches says which of the kinds are turned off.
func (l *lines) switches(kinds resilience.Switches) []Line {
	l.say(publish.Switches, 0, strings.ReplaceAll((l.off&kinds).String(), ",", ", "))
	return l.all
}

// The kinds of policy of a route, a cluster and a server.
const (
	ofRoutes = resilience.NoRetries | resilience.NoHedges | resilience.NoRates | resilience.NoGlobalRates |
		resilience.NoBandwidths | resilience.NoFallbacks | resilience.NoFaults
	ofClusters = resilience.NoBudgets | resilience.NoBreakers | resilience.NoThresholds | resilience.NoOutliers | resilience.NoAdmission
	ofServers  = resilience.NoDeadlines | resilience.NoRates | resilience.NoGlobalRates | resilience.NoBandwidths |
		resilience.NoConcurrency | resilience.NoShedding | resilience.NoFaults
)

// Limits are the limits of all processes together, by name.
type Limits map[string]trafficpolicy.SharedLimit

// Route says a route's policies, in the order in which they are asked.
func Route(r publish.Route, limits Limits) []Line {
	p := r.Policy
	l := lines{from: r.From, off: p.Off}
	l.say(publish.Fault, resilience.NoFaults, fault(p.Fault))
	l.say(publish.Rate, resilience.NoRates, rate(p.Rate))
	l.say(publish.GlobalRate, resilience.NoGlobalRates, limits.say(p.Global))
	timeout := "none"
	if p.Timeout > 0 {
		timeout = span(p.Timeout)
	}
	l.say(publish.Timeout, 0, timeout)
	l.say(publish.Idle, 0, positive(p.Idle))
	l.say(publish.Retries, resilience.NoRetries, retries(p.Retry))
	l.say(publish.Hedge, resilience.NoHedges, hedge(p.Hedge))
	if p.Priority == resilience.HighPriority {
		l.say(publish.Priority, 0, "high")
	}
	l.say(publish.Bandwidth, resilience.NoBandwidths, bandwidths(p.Bandwidth))
	l.say(publish.Fallback, resilience.NoFallbacks, fallback(p.Fallback))
	return l.switches(ofRoutes)
}

func retries(r resilience.Retry) string {
	if r.Attempts == 0 {
		return "none"
	}
	parts := []string{fmt.Sprintf("up to %d on %s", r.Attempts, conditions(r))}
	if r.TryTimeout > 0 {
		parts = append(parts, span(r.TryTimeout)+" a try")
	}
	if r.OtherLocalities {
		parts = append(parts, "in other localities first")
	}
	if r.Base > 0 {
		parts = append(parts, "pauses from "+span(r.Base)+" on")
	}
	return strings.Join(parts, ", ")
}

// conditions are as in retryOn: with the statuses in the place of the condition that stands for them.
func conditions(r resilience.Retry) string {
	on := r.On &^ resilience.OnRetriableStatusCodes
	var names []string
	if on != 0 {
		names = append(names, on.String())
	}
	if on != r.On && r.Answers != nil {
		for _, s := range r.Answers.Statuses {
			names = append(names, strconv.Itoa(s))
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ",")
}

func hedge(h *resilience.Hedge) string {
	if h == nil {
		return ""
	}
	var parts []string
	switch {
	case h.Percentile > 0 && h.Delay > 0:
		parts = append(parts, fmt.Sprintf("a further try when an answer takes longer than %.4g %% do (%s until that is known)", h.Percentile, span(h.Delay)))
	case h.Percentile > 0:
		parts = append(parts, fmt.Sprintf("a further try when an answer takes longer than %.4g %% do", h.Percentile))
	case h.Delay > 0:
		parts = append(parts, fmt.Sprintf("a further try after %s without an answer", span(h.Delay)))
	}
	if h.Chance.Numerator > 0 {
		parts = append(parts, "two at once for "+share(h.Chance)+" of the calls")
	}
	return strings.Join(append(parts, fmt.Sprintf("%d more at most", max(h.Max, 1))), ", ")
}

// rate says what there may be of calls; by kinds first, as they are asked.
func rate(r *resilience.Rate) string {
	if r == nil {
		return ""
	}
	var parts []string
	for _, d := range r.Descriptors {
		parts = append(parts, bucket(d.TokenBucket)+" "+entries(d.Entries))
	}
	if r.MaxTokens > 0 {
		whom := ""
		switch {
		case len(r.Descriptors) > 0 && r.AlwaysBucket:
			whom = " of all"
		case len(r.Descriptors) > 0:
			whom = " of the others"
		}
		parts = append(parts, bucket(r.TokenBucket)+whom)
	}
	return strings.Join(parts, "; ")
}

func bucket(b resilience.TokenBucket) string {
	n := max(b.TokensPerFill, 1)
	text := fmt.Sprintf("%d calls in %s", n, span(b.FillInterval))
	if b.MaxTokens != n {
		text += fmt.Sprintf(" and %d at once", b.MaxTokens)
	}
	return text
}

// entries says which calls have them.
func entries(all []resilience.Entry) string {
	var with, each []string
	for _, e := range all {
		if e.Value == "" {
			each = append(each, e.Key)
		} else {
			with = append(with, fmt.Sprintf("%s %q", e.Key, e.Value))
		}
	}
	var parts []string
	if len(with) > 0 {
		parts = append(parts, "with "+strings.Join(with, " and "))
	}
	if len(each) > 0 {
		parts = append(parts, "for each "+strings.Join(each, " and "))
	}
	return strings.Join(parts, ", ")
}

func (l Limits) say(g *resilience.GlobalRate) string {
	if g == nil {
		return ""
	}
	var parts []string
	for _, d := range g.Descriptors {
		if len(d) == 0 {
			continue
		}
		text := "as " + d[0].Value + " says"
		if limit, ok := l[d[0].Value]; ok && d[0].Key == trafficpolicy.LimitKey {
			text = fmt.Sprintf("%d calls in %s", limit.Requests, span(limit.Per))
		}
		parts = append(parts, strings.TrimSpace(text+" "+entries(d[1:])))
	}
	text := strings.Join(parts, "; ") + ", of all processes together"
	if g.Lease.Closed {
		text += "; calls are refused while the control server can't be asked"
	}
	return text
}

func fault(f *resilience.Fault) string {
	if f == nil {
		return ""
	}
	var parts []string
	if f.Delay > 0 {
		parts = append(parts, fmt.Sprintf("%s are held back for %s", share(f.DelayPercent), span(f.Delay)))
	}
	if a := f.Abort; a != (resilience.Abort{}) {
		answer := fmt.Sprintf("HTTP %d", a.Status)
		if a.GRPC {
			answer = fmt.Sprintf("gRPC status %d", a.Code)
		}
		parts = append(parts, share(f.AbortPercent)+" are answered "+answer)
	}
	if f.BytesPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%s of the answers go at %s a second", share(f.SlowPercent), size(f.BytesPerSecond)))
	}
	if f.Break.Kind != resilience.NoBreak {
		parts = append(parts, fmt.Sprintf("%s have %s", share(f.BreakPercent), breaks[f.Break.Kind]))
	}
	if f.ByHeader {
		parts = append(parts, "callers may ask for it by header")
	}
	if f.MaxActive > 0 {
		parts = append(parts, fmt.Sprintf("%d calls at a time at most", f.MaxActive))
	}
	return strings.Join(parts, ", ")
}

var breaks = map[resilience.BreakKind]string{
	resilience.ConnectionRefused: "nobody listening", resilience.BodyReset: "the body reset in its middle",
	resilience.SlowBody: "the body stop again and again", resilience.CorruptCertificate: "a certificate that can't be verified",
}

func bandwidths(b resilience.Bandwidths) string {
	var parts []string
	if n := b.Request.BytesPerSecond; n > 0 {
		parts = append(parts, size(n)+" of requests a second")
	}
	if n := b.Response.BytesPerSecond; n > 0 {
		parts = append(parts, size(n)+" of answers a second")
	}
	return strings.Join(parts, ", ")
}

func fallback(f *resilience.Fallback) string {
	if f == nil {
		return ""
	}
	var parts []string
	if f.MaxAge > 0 {
		parts = append(parts, "the last good answer of the last "+span(f.MaxAge))
	}
	if a := f.Answer; a != nil && a.GRPC {
		parts = append(parts, fmt.Sprintf("gRPC status %d", a.Code))
	} else if a != nil {
		parts = append(parts, fmt.Sprintf("HTTP %d", a.Status))
	}
	return strings.Join(parts, ", else ")
}

func share(f resilience.Fraction) string {
	per := f.Per
	if per == 0 {
		per = 100
	}
	return fmt.Sprintf("%.6g %%", 100*float64(f.Numerator)/float64(per))
}

// size is in the greatest unit of which it has a whole number.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	i := 0
	for ; i < len(units)-1 && n%1024 == 0 && n > 0; i++ {
		n /= 1024
	}
	return fmt.Sprintf("%d %s", n, units[i])
}

func positive(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return span(d)
}

// span leaves out minutes and seconds that are 0.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

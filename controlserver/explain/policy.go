package explain

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Policy says a route's policy in words.
func Policy(p resilience.Policy) string {
	timeout := "no timeout"
	if p.Timeout > 0 {
		timeout = "timeout " + p.Timeout.String()
	}
	if p.Retry.Attempts == 0 {
		return timeout + ", no retries"
	}
	parts := []string{timeout, fmt.Sprintf("up to %d retries on %s", p.Retry.Attempts, conditions(p.Retry))}
	if p.Retry.TryTimeout > 0 {
		parts = append(parts, p.Retry.TryTimeout.String()+" a try")
	}
	if p.Retry.Base > 0 {
		parts = append(parts, "pauses from "+p.Retry.Base.String()+" on")
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

// Cluster says what bounds a cluster and what takes its hosts out of service, a line
// each, leaving out what goes without saying.
func Cluster(c resolver.Cluster) []string {
	var lines []string
	if l := limits(c); len(l) > 0 {
		lines = append(lines, "limits: "+strings.Join(l, ", "))
	}
	if b := c.Budget; b != nil {
		lines = append(lines, fmt.Sprintf("retry budget: %.4g %% of the calls in flight, at least %d", b.Percent, b.MinConcurrent))
	}
	if c.Outlier != nil {
		lines = append(lines, "outlier detection: "+outlier(c.Outlier))
	}
	return lines
}

func limits(c resolver.Cluster) (out []string) {
	if d := c.ConnectTimeout; d > 0 && d != publish.ConnectTimeout {
		out = append(out, d.String()+" to connect")
	}
	if c.Thresholds == nil {
		return out
	}
	t := c.Thresholds[resilience.DefaultPriority]
	add := func(n uint32, what string) {
		if n != math.MaxUint32 {
			out = append(out, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(t.MaxConnections, "connections")
	add(t.MaxPending, "calls waiting")
	add(t.MaxRequests, "calls in flight")
	if c.Budget == nil {
		add(t.MaxRetries, "retries in flight")
	}
	return out
}

func outlier(o *balancer.Outlier) string {
	var causes []string
	add := func(n *uint32, byDefault uint32, enforcing *uint32, share uint32, what string) {
		count, percent := given(n, byDefault), given(enforcing, share)
		if count == 0 || percent == 0 {
			return
		}
		text := fmt.Sprintf("%d %s", count, what)
		if percent < 100 {
			text += fmt.Sprintf(" (%d %% of times)", percent)
		}
		causes = append(causes, text)
	}
	add(o.Consecutive5xx, 5, o.Enforcing5xx, 100, "errors")
	add(o.ConsecutiveGateway, 5, o.EnforcingGateway, 0, "gateway errors")
	if o.SplitLocalOrigin {
		add(o.ConsecutiveLocalOrigin, 5, o.EnforcingLocalOrigin, 100, "calls without an answer")
	}
	var out []string
	if len(causes) > 0 {
		out = append(out, "after "+strings.Join(causes, " or ")+" in a row")
	}
	if o.SuccessRate != nil {
		out = append(out, "for a success rate far below the others'")
	}
	if o.FailurePercentage != nil {
		out = append(out, "for a high percentage of failures")
	}
	if len(out) == 0 {
		return "ejects nothing"
	}
	text := strings.Join(out, ", ") + fmt.Sprintf(" a host is out for %s times how often it was, at most %d %% of hosts (or one); looked at every %s",
		either(o.BaseEjection, 30*time.Second), given(o.MaxEjectionPercent, 10), either(o.Interval, 10*time.Second))
	if o.MinHealthPercent > 0 {
		text += fmt.Sprintf("; with less than %d %% left all are used", o.MinHealthPercent)
	}
	return text
}

func given(n *uint32, byDefault uint32) uint32 {
	if n == nil {
		return byDefault
	}
	return *n
}

func either(d, byDefault time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return byDefault
}

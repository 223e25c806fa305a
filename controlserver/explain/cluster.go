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
)

// Cluster says what bounds a cluster and what takes it and its hosts out of service, leaving out what goes without saying.
func Cluster(c publish.Cluster) []Line {
	l := lines{from: c.From, off: c.Off}
	l.say(publish.Admission, resilience.NoAdmission, admission(c.Admission))
	l.say(publish.Breaker, resilience.NoBreakers, breaker(c.Breaker))
	if c.ConnectTimeout != publish.ConnectTimeout {
		l.say(publish.ConnectTime, 0, positive(c.ConnectTimeout))
	}
	if t := c.Thresholds; t != nil {
		most := func(part publish.Part, n uint32) {
			if n != math.MaxUint32 {
				l.say(part, resilience.NoThresholds, strconv.FormatUint(uint64(n), 10))
			}
		}
		t := t[resilience.DefaultPriority]
		most(publish.MaxConnections, t.MaxConnections)
		most(publish.MaxPending, t.MaxPending)
		most(publish.MaxRequests, t.MaxRequests)
		if c.Budget == nil {
			most(publish.MaxRetries, t.MaxRetries)
		}
	}
	if b := c.Budget; b != nil {
		whole := "in flight"
		if b.Interval > 0 {
			whole = "of each " + span(b.Interval)
		}
		l.say(publish.Budget, resilience.NoBudgets, fmt.Sprintf("%.4g %% of the calls %s, at least %d", b.Percent, whole, b.MinConcurrent))
	}
	l.say(publish.HostBreaker, resilience.NoBreakers, breaker(c.HostBreaker))
	if c.Outlier != nil {
		l.say(publish.Outlier, resilience.NoOutliers, outlier(c.Outlier))
	}
	return l.switches(ofClusters)
}

func admission(a *resilience.Admission) string {
	if a == nil {
		return ""
	}
	return fmt.Sprintf("calls are refused, %.4g %% of them at most, when less than %.4g %% succeed over %s",
		number(a.MaxPercent, 80), number(a.Threshold, 95), span(either(a.Window, 30*time.Second)))
}

func breaker(t *resilience.Trip) string {
	if t == nil {
		return ""
	}
	var when []string
	if t.Failures > 0 {
		when = append(when, fmt.Sprintf("%d failures in a row", t.Failures))
	}
	if t.Percent > 0 {
		when = append(when, fmt.Sprintf("%.4g %% of at least %d calls in %s failed", t.Percent, number(t.Volume, 20), span(either(t.Window, 10*time.Second))))
	}
	if len(when) == 0 {
		return "never opens"
	}
	return fmt.Sprintf("opens for %s after %s", span(either(t.Open, 5*time.Second)), strings.Join(when, " or "))
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
		span(either(o.BaseEjection, 30*time.Second)), given(o.MaxEjectionPercent, 10), span(either(o.Interval, 10*time.Second)))
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

func number[N uint32 | float64](n, byDefault N) N {
	if n > 0 {
		return n
	}
	return byDefault
}

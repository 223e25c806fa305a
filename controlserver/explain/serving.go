package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/resilience"
)

// Serving says what a server does with the calls it takes, in the order in which it does, leaving out what goes without saying.
func Serving(s publish.Serving, limits Limits) []Line {
	l := lines{from: s.From, off: s.Off}
	l.say(publish.Rate, resilience.NoRates, rate(s.Rate))
	l.say(publish.GlobalRate, resilience.NoGlobalRates, limits.say(s.Global))
	l.say(publish.Concurrency, resilience.NoConcurrency, concurrency(s.Serving))
	l.say(publish.Shedding, resilience.NoShedding, shedding(s.Shedding))
	l.say(publish.Late, resilience.NoDeadlines, late(s.Late))
	l.say(publish.Fault, resilience.NoFaults, fault(s.Fault))
	l.say(publish.Bandwidth, resilience.NoBandwidths, bandwidths(s.Bandwidth))
	l.say(publish.HealthPaths, 0, strings.Join(s.HealthPaths, " "))
	return l.switches(ofServers)
}

func concurrency(s resilience.Serving) string {
	a := s.Adaptive
	switch {
	case s.MaxRequests > 0:
		return fmt.Sprintf("%d calls in flight at most", s.MaxRequests)
	case a == nil && s.Shedding != nil:
		a = &resilience.Adaptive{}
	case a == nil:
		return ""
	}
	return fmt.Sprintf("%d to %d calls in flight at most, by how much slower they are than when there are few", number(a.Min, 3), number(a.Max, 1000))
}

func shedding(s *resilience.Shedding) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("calls beyond that wait for %s, or %s when the queue has not drained for that long; the least critical ones for less",
		span(either(s.Interval, 100*time.Millisecond)), span(either(s.Target, 5*time.Millisecond)))
}

func late(l *resilience.Lateness) string {
	if l == nil {
		return ""
	}
	text := "work is refused when its deadline has passed"
	if l.Tolerance > 0 {
		text += " for " + span(l.Tolerance)
	}
	return text + fmt.Sprintf(", %.4g %% of the calls at most", number(l.MaxPercent, 20))
}
